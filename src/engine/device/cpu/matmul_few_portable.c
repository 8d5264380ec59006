/*
 * matmul_few_portable.c
 *		Dot products with rows of weights, for any machine.
 */
#include "device/cpu/matmul_few.h"

#define LANES 8

static float
dot(const float *x, const float *w, int64_t depth)
{
	float sum[LANES] = {0};
	int64_t at = 0;

	for (; at + LANES <= depth; at += LANES)
		for (int l = 0; l < LANES; l++)
			sum[l] += x[at + l] * w[at + l];
	for (int l = 0; at + l < depth; l++)
		sum[l] += x[at + l] * w[at + l];
	for (int half = LANES / 2; half > 0; half /= 2)
		for (int l = 0; l < half; l++)
			sum[l] += sum[l + half];
	return sum[0];
}

static void
dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
     int64_t x_rows, const float *w, int64_t w_stride, int64_t w_rows,
     int64_t depth, float beta)
{
	for (int64_t j = 0; j < w_rows; j++)
		for (int64_t i = 0; i < x_rows; i++)
		{
			float *at = out + i * out_stride + j;
			float sum = dot(x + i * x_stride, w + j * w_stride, depth);

			*at = beta == 0 ? sum : beta * *at + sum;
		}
}

static void
columns(float *out, int64_t out_stride, const float *x, int64_t x_stride,
        int64_t x_rows, const float *w, int64_t w_stride, int64_t depth,
        int64_t cols, float beta)
{
	for (int64_t i = 0; i < x_rows; i++)
	{
		float *at = out + i * out_stride;

		for (int64_t j = 0; j < cols; j++)
			at[j] = beta == 0 ? 0 : beta * at[j];
		for (int64_t d = 0; d < depth; d++)
			for (int64_t j = 0; j < cols; j++)
				at[j] += x[i * x_stride + d] * w[d * w_stride + j];
	}
}

const DotKernels dots_portable = {.dots = dots, .columns = columns};
