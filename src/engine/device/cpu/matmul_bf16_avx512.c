/*
 * matmul_bf16_avx512.c
 *		Products of bf16 by AVX512-BF16: vdpbf16ps adds the products of 16
 *		pairs to 16 sums.
 */
#include "device/cpu/matmul_bf16.h"

#ifdef __x86_64__
#include "device/cpu/pairs_avx512.h"

#define AVX512_BF16                                                            \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define AVX512_BF16_PART                                                       \
	AVX512_BF16 static inline __attribute__((always_inline))

/* 32 numbers from the first `depth` of source as pairs, zeros behind them. */
AVX512_BF16_PART __m512i
read_pairs(const float *source, int depth)
{
	__m512 low, high;

	if (depth >= 32)
		return (__m512i) _mm512_cvtne2ps_pbh(_mm512_loadu_ps(source + 16),
		                                     _mm512_loadu_ps(source));
	low = _mm512_maskz_loadu_ps(lanes(depth), source);
	high = _mm512_maskz_loadu_ps(lanes(depth - 16), source + 16);
	return (__m512i) _mm512_cvtne2ps_pbh(high, low);
}

/* Pairs of two numbers each, one above the other where there is a second one,
 * of the columns of a mask. */
AVX512_BF16_PART __m512i
read_column_pairs(const float *source, int64_t stride, bool is_whole,
                  __mmask16 cols)
{
	__m512 low = _mm512_maskz_loadu_ps(cols, source);
	__m512 high = is_whole ? _mm512_maskz_loadu_ps(cols, source + stride)
	                       : _mm512_setzero_ps();
	/* All of low, then all of high; in turns. */
	__m512i rounded = (__m512i) _mm512_cvtne2ps_pbh(high, low);
	const __m512i order = _mm512_set_epi16(
		31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
		6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);

	return _mm512_permutexvar_epi16(order, rounded);
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

/* Up to 16 rows, and 32 numbers of which `depth` are there. */
AVX512_BF16_PART void
turn_rows(uint32_t *to, int64_t to_stride, const float *source, int64_t stride,
          int rows, int depth)
{
	__mmask16 mask = lanes(rows);
	__m512i block[16];

	for (int q = 0; q < 16; q++, source += 2 * stride, depth -= 2)
		block[q] = depth > 0
		               ? read_column_pairs(source, stride, depth > 1, mask)
		               : _mm512_setzero_si512();
	transpose(block);
	for (int j = 0; j < 16 && j < rows; j++)
		_mm512_storeu_si512(to + j * to_stride, block[j]);
}

/* Source is read row by row, which processors see coming. */
AVX512_BF16 static void
rows_across(uint32_t *to, int64_t to_stride, const float *source,
            int64_t stride, int rows, int depth)
{
	for (int p = 0; p < depth; p += 32)
		for (int i = 0; i < rows; i += 16)
			turn_rows(to + i * to_stride + p / 2, to_stride,
			          source + p * stride + i, stride, rows - i, depth - p);
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
	__mmask16 mask[] = {lanes(cols), lanes(cols - 16)};
	int p = 0;

	for (; p < depth; p += 2, source += 2 * stride, to += BF16_COLS)
		for (int half = 0; half < 2; half++)
			_mm512_storeu_si512(to + 16 * half,
			                    read_column_pairs(source + 16 * half, stride,
			                                      p + 1 < depth, mask[half]));
	for (; p % 32 != 0; p += 2, to += BF16_COLS)
	{
		_mm512_storeu_si512(to, _mm512_setzero_si512());
		_mm512_storeu_si512(to + 16, _mm512_setzero_si512());
	}
}

/* Of 16 pairs the 8 pairs that the first numbers make with their neighbours'
 * first, then those of the second numbers.  Whole ones are multiplied as the
 * upper halves of 32 bits. */
AVX512_BF16_PART __m512i
pair_columns(__m512i pairs, const __m512 *scale)
{
	const __m512i order = _mm512_set_epi16(
		31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26,
		24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
	__m512i low, high;

	if (scale == NULL)
		return _mm512_permutexvar_epi16(order, pairs);
	low = _mm512_slli_epi32(pairs, 16);
	high = _mm512_and_si512(pairs, _mm512_set1_epi32((int) 0xffff0000));
	return (__m512i) _mm512_cvtne2ps_pbh(
		_mm512_mul_ps(_mm512_cvtepi32_ps(high), *scale),
		_mm512_mul_ps(_mm512_cvtepi32_ps(low), *scale));
}

/* to[4][8][2]: pairs of columns first, first + 1, first + 2 and first + 3 of 8
 * rows that pair_columns() gave, each column's two beside each other. */
AVX512_BF16_PART void
turn_quarter(uint32_t *to, const __m512i row[8], int first)
{
	const __m512i units =
		_mm512_add_epi32(_mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10,
	                                       18, 26, 3, 11, 19, 27),
	                     _mm512_set1_epi32(first));
	__m512i part[4], half[4];

	for (int i = 0; i < 4; i++)
		part[i] = _mm512_permutex2var_epi32(row[2 * i], units, row[2 * i + 1]);
	for (int i = 0; i < 4; i += 2)
	{
		half[i] = _mm512_shuffle_i32x4(part[i], part[i + 1], 0x44);
		half[i + 1] = _mm512_shuffle_i32x4(part[i], part[i + 1], 0xee);
	}
	for (int i = 0; i < 2; i++)
	{
		_mm512_storeu_si512(to + 2 * i * BF16_COLS,
		                    _mm512_shuffle_i32x4(half[i], half[2 + i], 0x88));
		_mm512_storeu_si512(to + (2 * i + 1) * BF16_COLS,
		                    _mm512_shuffle_i32x4(half[i], half[2 + i], 0xdd));
	}
}

AVX512_BF16 static void
turn(uint32_t *to, const uint32_t *lines, const float *scale)
{
	__m512i row[8];

	for (int half = 0; half < BF16_COLS; half += 16)
	{
		__m512 factors = scale == NULL
		                     ? _mm512_setzero_ps()
		                     : _mm512_mul_ps(_mm512_loadu_ps(scale + half),
		                                     _mm512_set1_ps(1 / 65536.0f));

		for (int first = 0; first < 16; first += 8)
		{
			uint32_t *block = to + half / 2 * BF16_COLS + 2 * first;

			for (int q = 0; q < 8; q++)
				row[q] = pair_columns(
					_mm512_loadu_si512(lines + (first + q) * BF16_COLS + half),
					scale == NULL ? NULL : &factors);
			turn_quarter(block, row, 0);
			turn_quarter(block + 4 * BF16_COLS, row, 4);
		}
	}
}

typedef __m512 Sums;

AVX512_BF16_PART Sums
no_sums(void)
{
	return _mm512_setzero_ps();
}

AVX512_BF16_PART Sums
add_products(Sums sums, __m512i a, __m512i b)
{
	return _mm512_dpbf16_ps(sums, (__m512bh) a, (__m512bh) b);
}

AVX512_BF16_PART __m512
result(Sums sums, const uint32_t *row_end, const uint32_t *panel_end)
{
	(void) row_end;
	(void) panel_end;
	return sums;
}

#define TILE_TARGET AVX512_BF16
#include "device/cpu/pairs_tile.h"

static const PairKernels kernels = {
	.rows = TILE_ROWS,
	.step = 1,
	.row_size = 1,
	.rows_along = rows_along,
	.rows_across = rows_across,
	.panel_along = panel_along,
	.panel_across = panel_across,
	.turn = turn,
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
