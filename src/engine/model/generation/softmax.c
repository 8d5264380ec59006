/*
 * softmax.c
 *		From the logits of a whole vocabulary to weights of tokens.
 *
 * A vocabulary is long enough for the C library's exponential to take longer
 * than a small model.
 */
#include "model/generation/softmax.h"

#include "base/kernel.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Numbers that are looked at before it is asked what was found. */
#define RUN 256

CPU_KERNEL static float
largest_number(const float *x, int count)
{
	float largest = x[0];

#pragma omp simd reduction(max : largest)
	for (int i = 0; i < count; i++)
		largest = x[i] > largest ? x[i] : largest;
	return largest;
}

CPU_KERNEL static bool
run_has(const float *x, float wanted)
{
	int found = 0;

#pragma omp simd reduction(| : found)
	for (int i = 0; i < RUN; i++)
		found |= x[i] == wanted;
	return found != 0;
}

int
softmax_largest(const float *logits, int count)
{
	float largest = largest_number(logits, count);
	int i = 0;

	while (i + RUN <= count && !run_has(logits + i, largest))
		i += RUN;
	while (i < count - 1 && logits[i] != largest)
		i++;
	return i;
}

/*
 * e^x for x <= 0, 0 below -708: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by
 * its Taylor polynomial, whose next term is below 1e-17.
 */
static inline double
exp_of_negative(double x)
{
	const double shift = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds */
	double clamped = x < -708 ? -708 : x;
	double n = clamped * 1.4426950408889634 + shift;
	uint64_t bits;
	double r, p, scale;

	memcpy(&bits, &n, sizeof(bits));
	n -= shift;
	r = clamped - n * 0.693147180369123816490;
	r = r - n * 1.90821492927058770002e-10;
	p = 1.0 / 6227020800;
	p = p * r + 1.0 / 479001600;
	p = p * r + 1.0 / 39916800;
	p = p * r + 1.0 / 3628800;
	p = p * r + 1.0 / 362880;
	p = p * r + 1.0 / 40320;
	p = p * r + 1.0 / 5040;
	p = p * r + 1.0 / 720;
	p = p * r + 1.0 / 120;
	p = p * r + 1.0 / 24;
	p = p * r + 1.0 / 6;
	p = p * r + 0.5;
	p = p * r + 1;
	p = p * r + 1;
	/* The last bits of n + shift hold n; unsigned, for a NaN's sake. */
	bits = (bits + 1023) << 52;
	memcpy(&scale, &bits, sizeof(scale));
	return x < -708 ? 0 : p * scale;
}

CPU_KERNEL double
softmax_weights(double *weight, const float *logits, int count, double largest,
                double temperature)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < count; i++)
	{
		weight[i] =
			exp_of_negative(((double) logits[i] - largest) / temperature);
		sum += weight[i];
	}
	return sum;
}

CPU_KERNEL double
softmax_sum(const float *logits, int count, double largest)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < count; i++)
		sum += exp_of_negative((double) logits[i] - largest);
	return sum;
}
