/*
 * matmul_bf16_avx512.c
 *		Products of bf16 by AVX512-BF16: vdpbf16ps adds the products of 16
 *		pairs to 16 sums.
 */
#include "device/cpu/matmul_bf16.h"

#ifdef __x86_64__
#include "device/cpu/pairs_avx512.h"

#define ROWS 14 /* whose sums fill the registers */

#define AVX512_BF16                                                            \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define AVX512_BF16_PART                                                       \
	AVX512_BF16 static inline __attribute__((always_inline))

/* 32 numbers from the first `depth` of source as pairs, zeros behind them. */
AVX512_BF16_PART __m512i
read_pairs(const float *source, int depth)
{
	__m512 low = _mm512_maskz_loadu_ps(lanes(depth), source);
	__m512 high = _mm512_maskz_loadu_ps(lanes(depth - 16), source + 16);

	return (__m512i) _mm512_cvtne2ps_pbh(high, low);
}

/* Pairs of two numbers each, one above the other, for `cols` of 16 columns. */
AVX512_BF16_PART __m512i
read_column_pairs(const float *source, int64_t stride, int depth, int cols)
{
	__m512 low = _mm512_maskz_loadu_ps(lanes(cols), source);
	__m512 high =
		_mm512_maskz_loadu_ps(depth > 1 ? lanes(cols) : 0, source + stride);
	__m512i low_bits = _mm512_cvtepu16_epi32((__m256i) _mm512_cvtneps_pbh(low));
	__m512i high_bits =
		_mm512_cvtepu16_epi32((__m256i) _mm512_cvtneps_pbh(high));

	return _mm512_or_si512(low_bits, _mm512_slli_epi32(high_bits, 16));
}

AVX512_BF16 static void
rows_along(uint32_t *to, int64_t to_stride, const float *source, int64_t stride,
           int rows, int depth)
{
	for (int i = 0; i < rows; i++)
		for (int p = 0; p < depth; p += 32)
			_mm512_storeu_si512(to + i * to_stride + p / 2,
			                    read_pairs(source + i * stride + p, depth - p));
}

AVX512_BF16 static void
rows_across(uint32_t *to, int64_t to_stride, const float *source,
            int64_t stride, int rows, int depth)
{
	__m512i block[16];

	for (int i = 0; i < rows; i += 16)
		for (int p = 0; p < depth; p += 32)
		{
			for (int q = 0; q < 16; q++)
				block[q] = read_column_pairs(source + (p + 2 * q) * stride + i,
				                             stride, depth - p - 2 * q,
				                             p + 2 * q < depth ? rows - i : 0);
			transpose(block);
			for (int j = 0; j < 16 && i + j < rows; j++)
				_mm512_storeu_si512(to + (i + j) * to_stride + p / 2, block[j]);
		}
}

AVX512_BF16 static void
panel_along(uint32_t *to, const float *source, int64_t stride, int cols,
            int depth)
{
	__m512i block[16];

	for (int p = 0; p < depth; p += 32)
		for (int half = 0; half < BF16_COLS; half += 16)
		{
			for (int j = 0; j < 16; j++)
				block[j] = half + j < cols
				               ? read_pairs(source + (half + j) * stride + p,
				                            depth - p)
				               : _mm512_setzero_si512();
			transpose(block);
			for (int q = 0; q < 16; q++)
				_mm512_storeu_si512(to + (p / 2 + q) * BF16_COLS + half,
				                    block[q]);
		}
}

AVX512_BF16 static void
panel_across(uint32_t *to, const float *source, int64_t stride, int cols,
             int depth)
{
	int padded = (depth + 31) / 32 * 32;

	for (int p = 0; p < padded; p += 2)
		for (int half = 0; half < BF16_COLS; half += 16)
			_mm512_storeu_si512(to + p / 2 * BF16_COLS + half,
			                    read_column_pairs(source + p * stride + half,
			                                      stride, depth - p,
			                                      p < depth ? cols - half : 0));
}

/* The tile of `rows` rows, a constant, and one or two times 16 columns. */
AVX512_BF16_PART void
tile_of(int rows, int halves, float *c, int64_t c_stride, const uint32_t *a,
        int64_t a_stride, const uint32_t *b, int64_t pairs, int cols,
        float beta)
{
	__m512 sum[ROWS][2];

#pragma GCC unroll 14
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
		{
			sum[i][h] = _mm512_setzero_ps();
			_mm_prefetch(c + i * c_stride + 16 * h, _MM_HINT_T0);
		}
	for (int64_t p = 0; p < pairs; p++)
	{
		__m512bh panel[2];

		for (int h = 0; h < halves; h++)
			panel[h] = (__m512bh) _mm512_loadu_si512(b + 16 * h);
#pragma GCC unroll 14
		for (int i = 0; i < rows; i++)
		{
			__m512bh pair = (__m512bh) _mm512_set1_epi32((int) a[i * a_stride]);

			for (int h = 0; h < halves; h++)
				sum[i][h] = _mm512_dpbf16_ps(sum[i][h], pair, panel[h]);
		}
		a++;
		b += BF16_COLS;
	}
#pragma GCC unroll 14
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
		{
			float *at = c + i * c_stride + 16 * h;
			__mmask16 mask = lanes(cols - 16 * h);
			__m512 before = _mm512_maskz_loadu_ps(beta == 0 ? 0 : mask, at);

			_mm512_mask_storeu_ps(
				at, mask,
				_mm512_fmadd_ps(before, _mm512_set1_ps(beta), sum[i][h]));
		}
}

#define TILE(ROWS)                                                             \
	case ROWS:                                                                 \
		if (cols > 16)                                                         \
			tile_of(ROWS, 2, c, c_stride, a, a_stride, b, pairs, cols, beta);  \
		else                                                                   \
			tile_of(ROWS, 1, c, c_stride, a, a_stride, b, pairs, cols, beta);  \
		break

AVX512_BF16 static void
tile(float *c, int64_t c_stride, const uint32_t *a, int64_t a_stride,
     const uint32_t *b, int64_t pairs, int rows, int cols, float beta)
{
	switch (rows)
	{
		TILE(1);
		TILE(2);
		TILE(3);
		TILE(4);
		TILE(5);
		TILE(6);
		TILE(7);
		TILE(8);
		TILE(9);
		TILE(10);
		TILE(11);
		TILE(12);
		TILE(13);
		TILE(14);
	}
}

static const PairKernels kernels = {
	.rows = ROWS,
	.rows_along = rows_along,
	.rows_across = rows_across,
	.panel_along = panel_along,
	.panel_across = panel_across,
	.tile = tile,
};

const PairKernels *
bf16_avx512(void)
{
	return __builtin_cpu_supports("avx512bf16") &&
	               __builtin_cpu_supports("avx512bw") &&
	               __builtin_cpu_supports("avx512dq") &&
	               __builtin_cpu_supports("avx512vl")
	           ? &kernels
	           : NULL;
}

#else

const PairKernels *
bf16_avx512(void)
{
	return 0;
}
#endif
