/*
 * dataset.h
 *		The rows of a job, in a file that a crash leaves whole or not at all.
 *
 * Scoring appends the rows that the method selects, with all that training
 * needs of them; finishing puts the file in its place.  From then on a job
 * depends on nothing else: it is mapped, and a resumed job reads the very same
 * rows.
 */
#pragma once

#include "base/dtype.h"
#include "base/file.h"
#include "method/group.h"
#include "method/objective.h"

/* What a row is to the next: the source gives pairs, or rows that stand for
 * themselves. */
typedef enum DatasetRole
{
	ROW_ALONE,
	ROW_CHOSEN,  /* the next row is the rejected one */
	ROW_REJECTED /* the row before is the chosen one */
} DatasetRole;

typedef struct DatasetRow
{
	int64_t row_number;     /* in the source, from 1 */
	int32_t tokens;         /* of prompt and response */
	int32_t prompt;         /* tokens of the prompt; the rest are targets */
	const int32_t *ids;     /* [tokens] */
	const float *ref_logp;  /* [tokens - prompt] of the reference, or NULL */
	double reward;          /* NaN: none */
	double value;           /* NaN: none */
	double advantage;       /* NaN: none */
	uint64_t prompt_key[2]; /* a hash of the prompt's text */
	DatasetRole role;
} DatasetRow;

/* ------------------------------------------------------------ writing */

typedef struct DatasetWriter
{
	FileWriter file;
	uint64_t checksum;
	int64_t selected;
} DatasetWriter;

/* products: how the model multiplies whose numbers the rows hold. */
extern bool dataset_writer_open(DatasetWriter *writer, const char *path,
                                DType products, Failure *failure);
extern void dataset_add(DatasetWriter *writer, const DatasetRow *row);

/* rows: how many there were, selected or not. */
extern bool dataset_finish(DatasetWriter *writer, int64_t rows,
                           Failure *failure);

/* Forgets an unfinished file; a zeroed writer is accepted. */
extern void dataset_writer_close(DatasetWriter *writer);

/* ------------------------------------------------------------ reading */

typedef struct Dataset
{
	int64_t rows;      /* scored */
	int32_t selected;  /* in the file */
	uint64_t checksum; /* of all of it */
	DType products;    /* as the reference multiplied */
	DatasetRow *row;   /* [selected], views into the mapped file */
	Groups groups;     /* of rows, by dataset_group(): what a step draws */
} Dataset;

/* Lives in arena.  The rows are not grouped yet. */
extern bool dataset_open(Arena *arena, const char *path, Dataset *dataset,
                         Failure *failure);

/*
 * Groups the rows: with options NULL each row is one, otherwise they become
 * pairs or lists, whether the source gave pairs or rows with rewards.  The
 * same rows and options give the same groups.
 */
extern bool dataset_group(Arena *arena, Dataset *dataset,
                          const GroupOptions *options, Failure *failure);

/* Tokens of all rows of a group. */
extern int64_t dataset_group_tokens(const Dataset *dataset, int32_t group);

/* Room for rows as an objective sees them. */
typedef struct GroupTables
{
	int32_t *place;    /* [rows + 1] */
	float *ref_logp;   /* [targets of all] */
	double *reward;    /* [rows] */
	double *advantage; /* [rows] */
} GroupTables;

/* These rows as one group, written into the tables; logp[targets of all], one
 * row after the other.  Without a reference where one row has none. */
extern ObjectiveGroup dataset_view_group(const GroupTables *tables,
                                         const DatasetRow *const *row,
                                         int count, const float *logp);
