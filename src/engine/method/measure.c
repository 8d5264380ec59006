/*
 * measure.c
 *		How good predictions are: ranking, calibration, correlation.
 */
#include "method/measure.h"

#include <math.h>
#include <stdlib.h>

typedef struct Ranked
{
	double number;
	int index;
} Ranked;

static int
compare_ranked(const void *a, const void *b)
{
	const Ranked *left = a, *right = b;

	return (left->number > right->number) - (left->number < right->number);
}

/* rank[count] from 1, in arena; equal numbers share the mean of theirs. */
static double *
rank(Arena *arena, const double *number, int count)
{
	Ranked *sorted = arena_alloc(arena, (size_t) count * sizeof(Ranked));
	double *ranks = arena_alloc(arena, (size_t) count * sizeof(double));

	for (int i = 0; i < count; i++)
		sorted[i] = (Ranked){number[i], i};
	qsort(sorted, (size_t) count, sizeof(Ranked), compare_ranked);
	for (int first = 0, next; first < count; first = next)
	{
		next = first + 1;
		while (next < count && sorted[next].number == sorted[first].number)
			next++;
		for (int i = first; i < next; i++)
			ranks[sorted[i].index] = (first + 1 + next) / 2.0;
	}
	return ranks;
}

/* The Mann-Whitney statistic, out of ranks. */
double
measure_auc(Arena *arena, const double *score, const bool *is_positive,
            int count)
{
	double *ranks = rank(arena, score, count);
	double sum = 0;
	double positive = 0;

	for (int i = 0; i < count; i++)
	{
		if (!is_positive[i])
			continue;
		sum += ranks[i];
		positive++;
	}
	if (positive == 0 || positive == count)
		return NAN;
	return (sum - positive * (positive + 1) / 2) /
	       (positive * (count - positive));
}

double
measure_calibration(const double *confidence, const bool *is_hit, int count)
{
	double gap[MEASURE_BINS] = {0};
	double total = 0;

	for (int i = 0; i < count; i++)
	{
		int bin = (int) (confidence[i] * MEASURE_BINS);

		gap[bin < MEASURE_BINS ? bin : MEASURE_BINS - 1] +=
			confidence[i] - is_hit[i];
	}
	for (int i = 0; i < MEASURE_BINS; i++)
		total += fabs(gap[i]);
	return total / count;
}

double
measure_mean(const double *number, int count)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += number[i];
	return sum / count;
}

double
measure_spread(const double *number, double center, int count)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += (number[i] - center) * (number[i] - center);
	return sum / count;
}

double
measure_pearson(const double *a, const double *b, int count)
{
	double mean_a = measure_mean(a, count);
	double mean_b = measure_mean(b, count);
	double spread =
		measure_spread(a, mean_a, count) * measure_spread(b, mean_b, count);
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += (a[i] - mean_a) * (b[i] - mean_b);
	return spread > 0 ? sum / count / sqrt(spread) : NAN;
}

double
measure_spearman(Arena *arena, const double *a, const double *b, int count)
{
	return measure_pearson(rank(arena, a, count), rank(arena, b, count), count);
}
