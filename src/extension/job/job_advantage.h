/*
 * job_advantage.h
 *		What scoring finds of each row, on its way to alol_advantage.
 */
#pragma once

#include "job/job_run.h"
#include "reward/reward.h"

/* Rows that are scored in one go. */
#define SCORE_CHUNK 256

/* Why a row is not used. */
typedef enum ScoreSkip
{
	SCORE_USED,
	SCORE_HELD, /* a validation row: it is not the job's to train on */
	SCORE_NULL_PROMPT,
	SCORE_NULL_RESPONSE,
	SCORE_NULL_REWARD,
	SCORE_NULL_VALUE,
	SCORE_NULL_ADVANTAGE,
	SCORE_EMPTY_PROMPT,
	SCORE_EMPTY_RESPONSE,
	SCORE_SKIPS /* how many there are */
} ScoreSkip;

typedef struct ScoredRow
{
	int64 number; /* in the source, from 1 */
	ScoreSkip skip;
	bool is_measured; /* held out, but sent: methods that rank look at it */
	char *key;
	uint8 flags; /* WIRE_ROW_ */
	double reward;
	double value;
	double advantage;
	double ref_logprob; /* NaN: none */
	uint32 tokens;
	bool selected;
} ScoredRow;

/* What a method that compares responses made of the rows. */
typedef struct ScoredGroups
{
	int64 count;       /* pairs or lists */
	int64 prompts;     /* that rows had */
	int64 lone;        /* prompts with one response */
	int64 equal;       /* prompts whose responses have one reward */
	int64 equal_pairs; /* further pairs of equal rewards */
} ScoredGroups;

typedef struct ScoredChunk
{
	JobRows *rows;      /* of the source, or of the validation */
	bool is_validation; /* whose rows are all held out */
	int count;
	ScoredRow row[SCORE_CHUNK];
	int components;     /* named ones of the reward */
	double *component;  /* [count, components] */
	const char **names; /* [components] */
} ScoredChunk;

/* Inserts a line for each row but the held ones, in a transaction; where it is
 * there its reward stays. */
extern void advantages_write(const Job *job, const ScoredChunk *chunk);

/* The rewards that rows [first, first + count), from 0, were found to have;
 * isnull where there is none.  Needs a transaction. */
extern void advantages_read(const Job *job, int64 first, int count,
                            double *reward, bool *isnull);

/* Marks the rows of these numbers as selected, in transactions. */
extern void advantages_select(const Job *job, const int64 *number, int64 count);

/* Forgets what an earlier, unfinished scoring left. */
extern void advantages_delete(const Job *job);

/* Sums over all rows of a job. */
typedef struct ScoreTotals
{
	int64 rows; /* without held ones */
	int64 skipped[SCORE_SKIPS];
	int64 scored; /* used, with a reward or advantage, or neither needed */
	int64 selected;
	ScoredGroups groups;
	int64 measured; /* have what the method selects by */
	double sum;     /* of it: advantage or reward */
	double low;
	double high;
	double reward_sum; /* of measured rows; NaN where they have none */
	double value_sum;
} ScoreTotals;

extern void totals_add(ScoreTotals *totals, const Method *method,
                       const ScoredChunk *chunk);

/* Writes metrics and notices; raises when no row is selected, unless training
 * has begun: then it ends. */
extern void totals_report(JobRun *run, const ScoreTotals *totals);
