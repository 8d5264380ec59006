/*
 * bench.h
 *		Clocks, memory and the end of a benchmark that fails.
 */
#pragma once

#include "base/failure.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static inline double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static inline double
peak_mib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) usage.ru_maxrss / 1024;
}

static inline void
check(bool done, const Failure *failure)
{
	if (done)
		return;
	fprintf(stderr, "%s\n%s\n", failure->message, failure->context);
	exit(1);
}
