/*
 * matmul_bf16_portable.c
 *		Products of bf16 where the processor knows no such numbers: right, but
 *		slower than fp32.
 */
#include "device/cpu/matmul_bf16.h"

#include "base/kernel.h"

#include <string.h>

#define ROWS 14

/* The upper half of a number's bits, rounded; a NaN stays one. */
static inline uint32_t
rounded(float number)
{
	uint32_t bits;

	memcpy(&bits, &number, sizeof(bits));
	if ((bits & 0x7fffffff) > 0x7f800000)
		return (bits >> 16) | 0x40;
	return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

static inline float
widened(uint32_t bits)
{
	float number;

	memcpy(&number, &bits, sizeof(number));
	return number;
}

/* Number p of depth, or 0 behind them. */
static inline uint32_t
pair_at(const float *source, int64_t step, int p, int depth)
{
	uint32_t low = p < depth ? rounded(source[p * step]) : 0;
	uint32_t high = p + 1 < depth ? rounded(source[(p + 1) * step]) : 0;

	return low | high << 16;
}

static inline int
padded_depth(int depth)
{
	return (depth + 2 * BF16_PAIRS - 1) / (2 * BF16_PAIRS) * (2 * BF16_PAIRS);
}

static void
rows_along(uint32_t *to, int64_t to_stride, const float *source, int64_t stride,
           int rows, int depth)
{
	for (int i = 0; i < rows; i++)
		for (int p = 0; p < padded_depth(depth); p += 2)
			to[i * to_stride + p / 2] =
				pair_at(source + i * stride, 1, p, depth);
}

static void
rows_across(uint32_t *to, int64_t to_stride, const float *source,
            int64_t stride, int rows, int depth)
{
	for (int p = 0; p < padded_depth(depth); p += 2)
		for (int i = 0; i < rows; i++)
			to[i * to_stride + p / 2] = pair_at(source + i, stride, p, depth);
}

static void
panel_along(uint32_t *to, const float *source, int64_t stride, int cols,
            int depth)
{
	memset(to, 0, (size_t) padded_depth(depth) / 2 * BF16_COLS * sizeof(*to));
	for (int j = 0; j < cols; j++)
		for (int p = 0; p < depth; p += 2)
			to[p / 2 * BF16_COLS + j] =
				pair_at(source + j * stride, 1, p, depth);
}

static void
panel_across(uint32_t *to, const float *source, int64_t stride, int cols,
             int depth)
{
	memset(to, 0, (size_t) padded_depth(depth) / 2 * BF16_COLS * sizeof(*to));
	for (int p = 0; p < depth; p += 2)
		for (int j = 0; j < cols; j++)
			to[p / 2 * BF16_COLS + j] = pair_at(source + j, stride, p, depth);
}

/* bf16 of half a pair. */
static inline uint32_t
half_as_bf16(uint32_t half, const float *scale)
{
	return scale == NULL ? half : rounded((float) (int16_t) half * *scale);
}

static void
turn(uint32_t *to, const uint32_t *lines, const float *scale)
{
	for (int q = 0; q < BF16_PAIRS; q++, lines += BF16_COLS)
		for (int j = 0; j < BF16_COLS; j += 2)
		{
			uint32_t *at = to + j / 2 * BF16_COLS + 2 * q;
			const float *one = scale == NULL ? NULL : scale + j;
			const float *two = scale == NULL ? NULL : scale + j + 1;

			at[0] = half_as_bf16(lines[j] & 0xffff, one) |
			        half_as_bf16(lines[j + 1] & 0xffff, two) << 16;
			at[1] = half_as_bf16(lines[j] >> 16, one) |
			        half_as_bf16(lines[j + 1] >> 16, two) << 16;
		}
}

CPU_KERNEL static void
tile(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
     const uint32_t *b, int64_t pairs, int rows, int cols, float beta,
     const PairsAhead *ahead)
{
	(void) ahead;
	for (int i = 0; i < rows; i++)
	{
		float sum[BF16_COLS] = {0};

		for (int64_t p = 0; p < pairs; p++)
		{
			const uint32_t *panel = b + p * BF16_COLS;
			float low = widened(a[i * a_stride + p] << 16);
			float high = widened(a[i * a_stride + p] & 0xffff0000);

			/* The products are exact, so fused or not makes no difference. */
#pragma omp simd
			for (int j = 0; j < BF16_COLS; j++)
			{
				sum[j] += high * widened(panel[j] & 0xffff0000);
				sum[j] += low * widened(panel[j] << 16);
			}
		}
		for (int j = 0; j < cols; j++)
		{
			float *at = c + i * c_stride + j;

			*at = sum[j] + (beta == 0 ? 0 : beta * *at);
		}
	}
}

const PairKernels bf16_portable = {
	.rows = ROWS,
	.step = 1,
	.row_size = 1,
	.rows_along = rows_along,
	.rows_across = rows_across,
	.panel_along = panel_along,
	.panel_across = panel_across,
	.turn = turn,
	.tile = tile,
};
