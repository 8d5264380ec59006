/*
 * matmul_int16_portable.c
 *		Products of whole numbers of 16 bits, for any machine.
 */
#include "device/cpu/matmul_bf16.h"

#include "base/kernel.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ROWS 14

/* Above it a factor's reciprocal would no longer be a normal number. */
#define FACTOR_MOST 1e34

float
int16_factor(const float *source, int64_t step, int depth, Int16Limits limits)
{
	double squares = 0;
	double most = 0;

	for (int p = 0; p < depth; p++)
	{
		double number = fabs((double) source[p * step]);

		squares += number * number;
		most = number > most ? number : most;
	}
	if (!(squares <= DBL_MAX))
		return NAN;
	return squares == 0
	           ? 0
	           : (float) fmin(FACTOR_MOST, fmin(limits.length / sqrt(squares),
	                                            limits.most / most));
}

/* What takes numbers back that were multiplied by it. */
static float
scale_of(float factor)
{
	return factor == 0 ? 0 : 1 / factor;
}

/* Number p of depth, or 0 behind them, and where they are not finite. */
static inline uint32_t
number_at(const float *source, int64_t step, int p, int depth, float factor)
{
	if (p >= depth || isnan(factor))
		return 0;
	return (uint16_t) (int16_t) lrintf(source[p * step] * factor);
}

static inline uint32_t
pair_at(const float *source, int64_t step, int p, int depth, float factor)
{
	return number_at(source, step, p, depth, factor) |
	       number_at(source, step, p + 1, depth, factor) << 16;
}

static inline int
padded_pairs(int depth)
{
	return (depth + 2 * BF16_PAIRS - 1) / (2 * BF16_PAIRS) * BF16_PAIRS;
}

static void
rows_along(uint32_t *to, int64_t to_stride, const float *source, int64_t stride,
           int rows, int depth)
{
	int pairs = padded_pairs(depth);

	for (int i = 0; i < rows; i++)
	{
		const float *row = source + i * stride;
		float factor = int16_factor(row, 1, depth, INT16_LIMITS);
		float scale = scale_of(factor);

		for (int p = 0; p < pairs; p++)
			to[i * to_stride + p] = pair_at(row, 1, 2 * p, depth, factor);
		memcpy(to + i * to_stride + pairs, &scale, sizeof(scale));
	}
}

/* The panel of columns whose numbers lie `step` apart. */
static inline void
pack_panel(uint32_t *to, const float *source, int64_t stride, int64_t step,
           int cols, int depth)
{
	int pairs = padded_pairs(depth);

	memset(to, 0, (size_t) (pairs + 1) * BF16_COLS * sizeof(*to));
	for (int j = 0; j < cols; j++)
	{
		const float *column = source + j * stride;
		float factor = int16_factor(column, step, depth, INT16_LIMITS);
		float scale = scale_of(factor);

		for (int p = 0; p < pairs; p++)
			to[p * BF16_COLS + j] = pair_at(column, step, 2 * p, depth, factor);
		memcpy(to + pairs * BF16_COLS + j, &scale, sizeof(scale));
	}
}

static void
panel_along(uint32_t *to, const float *source, int64_t stride, int cols,
            int depth)
{
	pack_panel(to, source, stride, 1, cols, depth);
}

static void
panel_across(uint32_t *to, const float *source, int64_t stride, int cols,
             int depth)
{
	pack_panel(to, source, 1, stride, cols, depth);
}

CPU_KERNEL static void
tile(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
     const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
     const PairsAhead *ahead)
{
	float scale[BF16_COLS];

	(void) ahead;
	memcpy(scale, b + pairs * BF16_COLS, sizeof(scale));
	for (int i = 0; i < rows; i++)
	{
		const uint32_t *row = a + i * a_stride;
		int32_t sum[BF16_COLS] = {0};
		float row_scale;

		memcpy(&row_scale, row + pairs, sizeof(row_scale));
		for (int64_t p = 0; p < pairs; p++)
		{
			const uint32_t *panel = b + p * BF16_COLS;
			int32_t low = (int16_t) row[p];
			int32_t high = (int16_t) (row[p] >> 16);

#pragma omp simd
			for (int j = 0; j < BF16_COLS; j++)
				sum[j] += low * (int16_t) panel[j] +
				          high * (int16_t) (panel[j] >> 16);
		}
		for (int j = 0; j < cols; j++)
		{
			float *at = c + i * c_stride + j;

			*at = (float) sum[j] * (row_scale * scale[j]) +
			      (beta == 0 ? 0 : beta * *at);
		}
	}
}

const PairKernels int16_portable = {
	.rows = ROWS,
	.step = BF16_PAIRS,
	.row_size = 1,
	.has_scales = true,
	.rows_along = rows_along,
	.panel_along = panel_along,
	.panel_across = panel_across,
	.tile = tile,
};
