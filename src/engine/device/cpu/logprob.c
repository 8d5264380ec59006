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

static void
logprob_row(const float *row, int64_t n, int32_t target, float *lse,
            float *logp)
{
	float largest = row_max(row, n);
	double sum = log(row_exp_sum(row, n, largest));

	*lse = (float) (largest + sum);
	*logp = (float) ((double) row[target] - largest - sum);
}

void
cpu_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
            const int32_t *target)
{
	float *out = logp.data;
	float *total = lse.data;

	(void) device;
	CPU_EACH(i, logits.rows, 1,
	         logits.rows * logits.cols > CPU_PARALLEL_MIN / 4,
	         logprob_row(cpu_row(logits, i), logits.cols, target[i], &total[i],
	                     &out[i]));
}

CPU_KERNEL static void
logprob_grad_row(float *row, int64_t n, int32_t target, float lse,
                 float coefficient)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		row[j] = -coefficient * exp_f32(row[j] - lse);
	row[target] += coefficient;
}

void
cpu_logprob_grad(Device *device, Tensor logits, Tensor lse,
                 const int32_t *target, Tensor coefficient)
{
	const float *total = lse.data;
	const float *factor = coefficient.data;

	(void) device;
	CPU_EACH(i, logits.rows, 1,
	         logits.rows * logits.cols > CPU_PARALLEL_MIN / 4,
	         logprob_grad_row(cpu_row(logits, i), logits.cols, target[i],
	                          total[i], factor[i]));
}
