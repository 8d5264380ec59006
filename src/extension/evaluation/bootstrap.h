/*
 * bootstrap.h
 *		Paired bootstrap: how sure the difference of two measures is.
 */
#pragma once

#define BOOTSTRAP_RESAMPLES 10000

/*
 * What two policies got at the same prompts.  A measure is made of sums over
 * prompts: a mean of sums and ones, a perplexity of negative log-probabilities
 * and tokens.
 */
typedef struct PairedSample
{
	int count;
	double *a_sum; /* [count] */
	double *a_weight;
	double *b_sum;
	double *b_weight;
} PairedSample;

/* The measure of all prompts together: of the sum of sums and of weights. */
typedef double (*PairedMeasure)(double sum, double weight);

extern double measure_mean(double sum, double weight);
extern double measure_perplexity(double sum, double weight);

/* The measure of a, and of b, over all prompts. */
extern void paired_measure(const PairedSample *sample, PairedMeasure measure,
                           double *a, double *b);

/*
 * The percentile interval of 95 % of a - b over resamples of the prompts,
 * BOOTSTRAP_RESAMPLES of them (fewer, down to a thousand, of more than 50,000
 * prompts).  The draws follow from seed alone, so that measures with the same
 * number of prompts see the same resamples.  NaN for fewer than two prompts,
 * and where a resample has no finite difference.
 */
extern void paired_interval(const PairedSample *sample, PairedMeasure measure,
                            uint64 seed, double *low, double *high);
