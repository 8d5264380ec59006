/*
 * source.h
 *		What a user calls a source: a table, a view or one SELECT, as text.
 *
 * The text is parsed, never pasted: what is not one read-only query raises
 * before anything runs.  Names are resolved with the current user's
 * search_path, and permissions are those of the current user.
 */
#pragma once

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/jsonb.h"

typedef struct Source
{
	char *text;            /* as the user gave it */
	const char *argument;  /* what errors call it: "source", "validation" */
	char *query;           /* one SELECT, without a semicolon; pass it to SPI
	                       * read-only, or put it between parentheses (with a
	                       * newline after it: it may end in a comment) */
	TupleDesc columns;     /* of the result, without constraints */
	bool allows_temporary; /* its expressions may use temporary objects, too */

	/* Attribute numbers, 0 where there is no such column. */
	AttrNumber key;
	AttrNumber prompt;
	AttrNumber response;
	AttrNumber reward;
	AttrNumber value;
	AttrNumber advantage;
	AttrNumber chosen;
	AttrNumber rejected;

	/* The names they were sought by. */
	char *prompt_column;
	char *response_column;
	char *chosen_column;
	char *rejected_column;
} Source;

/*
 * Parses a source for a job: temporary objects are refused, as the job's
 * worker cannot see them.  argument is for messages.  options (may be NULL)
 * may hold prompt_column, response_column, key_column, chosen_column and
 * rejected_column; a column that is named there must exist.  All is palloc'd
 * in the current memory context.  Needs a transaction and pushes a snapshot
 * of its own where there is none.
 */
extern Source *source_open(const char *text, const char *argument,
                           Jsonb *options);

/* The same for a source that is read in this very session. */
extern Source *source_open_session(const char *text, const char *argument,
                                   Jsonb *options);

/* Raises unless there is a prompt column of a text type or of chats and, if response, a
 * response column as well. */
extern void source_require(const Source *source, bool response);

/* The same for texts that may do without a prompt, unless needs_prompt: a
 * response column, or both halves of pairs. */
extern void source_require_texts(const Source *source, bool pairs,
                                 bool needs_prompt);

/* The first column of this name, or 0. */
extern AttrNumber source_find_column(TupleDesc columns, const char *name);

/* The column of this name; raises where there is none. */
extern AttrNumber source_column(const Source *source, const char *name);

/* True when it brings pairs: it has both columns, chosen and rejected. */
extern bool source_has_pairs(const Source *source);

/* Raises unless prompt and both halves of its pairs have a text type. */
extern void source_require_pairs(const Source *source);

/*
 * One column of a row as text in the database's encoding, or NULL: palloc'd.
 * attribute 0 gives NULL.
 */
extern char *source_text(HeapTuple row, TupleDesc columns,
                         AttrNumber attribute);

/* True for the types whose values are numbers here: integers, floats, numeric,
 * boolean, and domains over them. */
extern bool number_type(Oid type);

/* A value of such a type; true is 1. */
extern double number_from_datum(Datum value, Oid type);

/*
 * One column of a row as a number; false when it is NULL.  The column's type
 * was checked by source_require_number().
 */
extern bool source_number(HeapTuple row, TupleDesc columns,
                          AttrNumber attribute, double *number);

/* Raises unless the column has a type that is a number; name is for
 * messages ("value"). */
extern void source_require_number(const Source *source, AttrNumber attribute,
                                  const char *name);
