/*
 * job_compare.h
 *		Two evaluations of the same prompts, compared.
 */
#pragma once

#include "nodes/pg_list.h"

/* A metric of both; NaN and -1 where there is nothing. */
typedef struct Compared
{
	const char *metric;
	double a;
	double b;
	double low; /* of a - b, 95 % */
	double high;
	int64 wins; /* prompts at which a is better */
	int64 ties;
	int64 losses;
	int64 prompts;
} Compared;

/*
 * Compared's of jobs that are evaluations, and that the caller may see, in the
 * current memory context; NIL when they have no row in common.  by_key tells
 * how rows were paired (NULL: of no interest).
 */
extern List *evaluations_compare(int64 a, int64 b, uint64 seed, bool *by_key);
