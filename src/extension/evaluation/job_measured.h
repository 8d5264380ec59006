/*
 * job_measured.h
 *		What an evaluation finds of each row, on its way to alol_evaluation.
 */
#pragma once

#include "evaluation/job_evaluate.h"

/* Rows that are generated for in one go; where a resumed job goes on. */
#define MEASURE_CHUNK 64

typedef enum MeasureSkip
{
	MEASURE_USED,
	MEASURE_NULL_PROMPT,
	MEASURE_EMPTY_PROMPT /* no token, and the model has none to begin with */
} MeasureSkip;

typedef struct MeasuredRow
{
	int64 number; /* in the source, from 1 */
	MeasureSkip skip;
	char *key;    /* NULL: none */
	char *prompt; /* in the database's encoding */
	Response response;
	double reward;     /* NaN: NULL, or none is asked for */
	double *component; /* [components]; NULL: there are none */
	bool has_reference;
	double ref_logprob; /* NaN: none */
	uint32 ref_tokens;
} MeasuredRow;

typedef struct MeasuredChunk
{
	int64 first; /* row number, from 0 */
	int count;
	MeasuredRow row[MEASURE_CHUNK];
	Components component;
} MeasuredChunk;

/*
 * Writes a chunk: its rows, its responses as samples of step 0, and that the
 * job goes on behind it, in one transaction.
 */
extern void measured_insert(Job *job, const MeasuredChunk *chunk);

/* Sums all rows up in metrics of step 0, with notices of what is missing. */
extern void measured_report(JobRun *run);
