/*
 * bootstrap.c
 *		Paired bootstrap: how sure the difference of two measures is.
 *
 * Prompts are drawn with replacement, both policies' results of each together
 * (Efron and Tibshirani 1993, chapter 13: percentile intervals; Koehn 2004
 * for policies compared on the same inputs).
 */
#include "alol.h"

#include <math.h>

#include "miscadmin.h"

#include "evaluation/bootstrap.h"

#define RESAMPLES_MIN 1000
#define DRAWS_MAX 500000000.0
#define TAIL 0.025

double
measure_mean(double sum, double weight)
{
	return sum / weight;
}

double
measure_perplexity(double sum, double weight)
{
	return exp(sum / weight);
}

void
paired_measure(const PairedSample *sample, PairedMeasure measure, double *a,
               double *b)
{
	double sums[4] = {0};

	for (int i = 0; i < sample->count; i++)
	{
		sums[0] += sample->a_sum[i];
		sums[1] += sample->a_weight[i];
		sums[2] += sample->b_sum[i];
		sums[3] += sample->b_weight[i];
	}
	*a = measure(sums[0], sums[1]);
	*b = measure(sums[2], sums[3]);
}

/* ------------------------------------------------------------- resampling */

/* Number n of the stream of seed (splitmix64): each can be had on its own. */
static uint64
draw(uint64 seed, uint64 n)
{
	uint64 z = seed + (n + 1) * UINT64CONST(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static double
resampled_difference(const PairedSample *sample, PairedMeasure measure,
                     uint64 seed, uint64 first)
{
	double sums[4] = {0};

	for (int i = 0; i < sample->count; i++)
	{
		/* The upper half of the product: even to one part in 2^32. */
		int at =
			(int) (((draw(seed, first + i) >> 32) * (uint64) sample->count) >>
		           32);

		sums[0] += sample->a_sum[at];
		sums[1] += sample->a_weight[at];
		sums[2] += sample->b_sum[at];
		sums[3] += sample->b_weight[at];
	}
	return measure(sums[0], sums[1]) - measure(sums[2], sums[3]);
}

static int
compare_numbers(const void *a, const void *b)
{
	double left = *(const double *) a;
	double right = *(const double *) b;

	return left < right ? -1 : left > right;
}

/* Between the two nearest, as percentile_cont() does. */
static double
percentile(const double *sorted, int count, double fraction)
{
	double at = fraction * (count - 1);
	int below = (int) at;

	if (below + 1 >= count)
		return sorted[count - 1];
	return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

void
paired_interval(const PairedSample *sample, PairedMeasure measure, uint64 seed,
                double *low, double *high)
{
	int resamples = BOOTSTRAP_RESAMPLES;
	double *difference = palloc(resamples * sizeof(double));

	*low = *high = NAN;
	if (sample->count < 2)
		return;
	if ((double) resamples * sample->count > DRAWS_MAX)
		resamples = Max((int) (DRAWS_MAX / sample->count), RESAMPLES_MIN);
	for (int i = 0; i < resamples; i++)
	{
		CHECK_FOR_INTERRUPTS();
		difference[i] = resampled_difference(sample, measure, seed,
		                                     (uint64) i * sample->count);
		if (!isfinite(difference[i]))
			return;
	}
	qsort(difference, resamples, sizeof(double), compare_numbers);
	*low = percentile(difference, resamples, TAIL);
	*high = percentile(difference, resamples, 1 - TAIL);
	pfree(difference);
}
