/*
 * job_evaluate.h
 *		Responses that the policy generates, and their rewards.
 */
#pragma once

#include "job/job_run.h"

/* The named components of rewards. */
typedef struct Components
{
	int count;          /* 0: the reward has no names */
	const char **names; /* [count] */
	double *value;      /* [rows, count]; NaN for NULL */
} Components;

/* A generated response, in UTF-8, borrowed, to the prompt of a row. */
typedef struct Response
{
	int64 row; /* its number, from 0 */
	const char *utf8;
	size_t length;
	uint32 tokens;  /* of generate_responses(), the end included; 0: the */
	bool has_ended; /* prompt is empty.  By itself, not by a limit. */
} Response;

/* How to generate. */
typedef struct Generating
{
	bool is_greedy; /* else at temperature 1, unless the job says otherwise */
	int64 seed;
	EngineEvent on_event; /* gets WIRE_PROGRESS; NULL: nobody does */
	void *argument;
} Generating;

/*
 * responses[count]: the policy's, to the prompts of rows[count] of
 * run->validation, which are not NULL.  They live in the current memory
 * context.  Option "generation" of the job has the last word on how.
 */
extern void generate_responses(JobRun *run, const Generating *how,
                               const int64 *rows, int count,
                               Response *responses);

/*
 * reward[count] of the responses to rows, each in the place of its row's own; NaN
 * where the reward is NULL.  NaN and infinite rewards raise.  component, if
 * not NULL, receives the named components in the current memory context.  In
 * transactions of its own, READ ONLY, as the job's owner.
 */
extern void evaluate_responses(JobRun *run, JobRows *rows,
                               const Response *responses, int count,
                               double *reward, Components *component);

/* The column "reward" of rows [first, first + count): the data policy. */
extern void evaluate_stored(JobRun *run, JobRows *rows, int64 first, int count,
                            double *reward);

/* Raises unless the reward is a finite number; what names where it came from:
 * "row 12". */
extern void evaluate_check(double reward, const char *what);
