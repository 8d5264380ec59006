/*
 * job_evaluate.h
 *		Rewards of responses that the policy generated.
 */
#pragma once

#include "job_run.h"

/* A generated response, in UTF-8, borrowed, to the prompt of a row. */
typedef struct Response
{
	int64 row; /* number in run->validation, from 0 */
	const char *utf8;
	size_t length;
} Response;

/*
 * reward[count] of the responses, each in the place of its row's own; NaN
 * where the reward is NULL.  NaN and infinite rewards raise.  In transactions
 * of its own, READ ONLY, as the job's owner.
 */
extern void evaluate_responses(JobRun *run, const Response *responses,
                               int count, double *reward);

/* The column "reward" of rows [first, first + count): the data policy. */
extern void evaluate_stored(JobRun *run, JobRows *rows, int64 first, int count,
                            double *reward);

/* Raises unless the reward is a finite number; what names where it came from:
 * "row 12". */
extern void evaluate_check(double reward, const char *what);
