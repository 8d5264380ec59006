/*
 * job_rows.h
 *		The rows of a job out of its files: prompts, responses, what is held
 *		out.
 *
 * Which rows are held out follows from prompts and seed alone, so that a
 * resumed job finds the same ones: rows with the same prompt go together.
 */
#pragma once

#include "utils/jsonb.h"

#include "source/source.h"
#include "source/spool.h"
#include "wire/frame.h"

typedef struct JobRows
{
	SpoolReader *spool;
	Source *names; /* its columns, found by the job's settings */
	int64 count;
	uint64 seed;
	bool holds_texts; /* where there is no prompt, the response is held out */
	bool has_held;    /* some rows are held out for validation */
	uint64 held_max;  /* those whose prompt hashes up to here */
} JobRows;

/* Opens a finished file; lives in the current memory context.  Needs a
 * transaction. */
extern JobRows *rows_open(const char *path, Jsonb *settings);

/* Marks about a twentieth of the distinct prompts as held out, at least one
 * where there are two. */
extern void rows_hold_out(JobRows *rows);

/* Of a row; NULL where it is.  palloc'd, in the database's encoding. */
extern char *rows_prompt(const JobRows *rows, HeapTuple row);
/* Are the prompts chats? */
extern bool rows_have_chats(const JobRows *rows);
/* For error_context_stack: what is wrong is in the row of this number (int64,
 * from 1). */
extern void rows_error_callback(void *number);
extern char *rows_response(const JobRows *rows, HeapTuple row);

/* The two responses of a pair; false where one is NULL. */
extern bool rows_pair(const JobRows *rows, HeapTuple row, char **chosen,
                      char **rejected);

/* Appends the prompt of row number (from 0) in UTF-8; needs a transaction. */
extern void rows_put_prompt(const JobRows *rows, int64 number,
                            WireBuffer *payload);

/* True when a row with this prompt is not trained on. */
extern bool rows_is_held(const JobRows *rows, const char *prompt);

/*
 * The distinct prompts among the rows (only_held: among those held out), as
 * the numbers (from 0) of the first row of each, in their order; palloc'd.
 */
extern int64 *rows_distinct(const JobRows *rows, bool only_held, int *count);

/* Leaves at most limit of these rows, drawn by the seed, in their order. */
extern void rows_draw(const JobRows *rows, int64 *numbers, int *count,
                      int limit);
