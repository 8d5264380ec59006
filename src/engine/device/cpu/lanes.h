/*
 * lanes.h
 *		Sums and maxima over vectors of LANES numbers, in an order of their own
 *		that compilers vectorise.
 */
#pragma once

#define LANES 16

/* x[j] = larger of x[j], x[j + half], and their sum, for j < half. */
#define FOLD_MAX(x, half)                                                      \
	for (int j = 0; j < (half); j++)                                           \
	(x)[j] = (x)[j + (half)] > (x)[j] ? (x)[j + (half)] : (x)[j]
#define FOLD_SUM(x, half)                                                      \
	for (int j = 0; j < (half); j++)                                           \
	(x)[j] += (x)[j + (half)]

/* By halves, so that it takes four steps; x is used up. */
static inline float
lanes_max(float *x)
{
	FOLD_MAX(x, 8);
	FOLD_MAX(x, 4);
	FOLD_MAX(x, 2);
	FOLD_MAX(x, 1);
	return x[0];
}

static inline float
lanes_sum(float *x)
{
	FOLD_SUM(x, 8);
	FOLD_SUM(x, 4);
	FOLD_SUM(x, 2);
	FOLD_SUM(x, 1);
	return x[0];
}

/* to[n] = factor * from[n].  Heads may be short, so by eights. */
static inline void
scale_numbers(float *to, const float *from, int n, float factor)
{
	int done = 0;

	for (; done + 8 <= n; done += 8)
	{
#pragma omp simd
		for (int d = 0; d < 8; d++)
			to[done + d] = factor * from[done + d];
	}
	for (; done < n; done++)
		to[done] = factor * from[done];
}

/* n rounded up to a multiple of `to`. */
static inline int
padded(int n, int to)
{
	return (n + to - 1) / to * to;
}
