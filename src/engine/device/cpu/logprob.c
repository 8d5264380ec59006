/*
 * logprob.c
 *		Log-probabilities of chosen tokens from logits, and their gradient.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"

#include <math.h>

CPU_KERNEL static float
row_max(const float *x, int64_t n)
{
	float largest = x[0];

#pragma omp simd reduction(max : largest)
	for (int64_t j = 0; j < n; j++)
		largest = x[j] > largest ? x[j] : largest;
	return largest;
}

/* Sum of exp(x - shift), groups of 256 in fp32, their sum in double. */
CPU_KERNEL static double
row_exp_sum(const float *x, int64_t n, float shift)
{
	double total = 0;

	for (int64_t start = 0; start < n; start += 256)
	{
		int64_t end = start + 256 < n ? start + 256 : n;
		float part = 0;

#pragma omp simd reduction(+ : part)
		for (int64_t j = start; j < end; j++)
			part += exp_f32(x[j] - shift);
		total += part;
	}
	return total;
}

void
cpu_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
            const int32_t *target)
{
	float *out = logp.data;
	float *total = lse.data;

	(void) device;
#pragma omp parallel for schedule(static) if (logits.rows * logits.cols >      \
                                              CPU_PARALLEL_MIN / 4)
	for (int64_t i = 0; i < logits.rows; i++)
	{
		const float *row = cpu_row(logits, i);
		float largest = row_max(row, logits.cols);
		double sum = log(row_exp_sum(row, logits.cols, largest));

		total[i] = (float) (largest + sum);
		out[i] = (float) ((double) row[target[i]] - largest - sum);
	}
}

CPU_KERNEL static void
logprob_grad_row(float *row, int64_t n, float lse, float coefficient)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		row[j] = -coefficient * exp_f32(row[j] - lse);
}

void
cpu_logprob_grad(Device *device, Tensor logits, Tensor lse,
                 const int32_t *target, Tensor coefficient)
{
	const float *total = lse.data;
	const float *factor = coefficient.data;

	(void) device;
#pragma omp parallel for schedule(static) if (logits.rows * logits.cols >      \
                                              CPU_PARALLEL_MIN / 4)
	for (int64_t i = 0; i < logits.rows; i++)
	{
		float *row = cpu_row(logits, i);

		logprob_grad_row(row, logits.cols, total[i], factor[i]);
		row[target[i]] += factor[i];
	}
}
