/*
 * matmul_int16_avx512.c
 *		Products of whole numbers of 16 bits by AVX512-VNNI: vpdpwssd adds the
 *		products of 16 pairs to 16 sums.  And how factors are packed, for it
 *		and for AMX (`is_split`, a constant).
 */
#include "device/cpu/matmul_bf16.h"

#ifdef __x86_64__
#include "device/cpu/pairs_avx512.h"

#include <math.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vnni")))
#define VNNI_PART VNNI static inline __attribute__((always_inline))

/* Sums of squares outside lose numbers to fp32's range. */
#define SQUARES_LEAST 1e-24f
#define SQUARES_MOST 1e36f

/* Adds the squares of 16 numbers, and takes their maximum. */
VNNI_PART void
look_at(__m512 numbers, __m512 *squares, __m512 *most)
{
	*squares = _mm512_fmadd_ps(numbers, numbers, *squares);
	/* The one of larger magnitude, without its sign. */
	*most = _mm512_range_ps(*most, numbers, 0xb);
}

/* The squares of a row added up, and its largest numbers, in 16 parts. */
VNNI_PART void
look_along(const float *source, int depth, __m512 *sum, __m512 *largest)
{
	__m512 squares[4], most[4];
	int p = 0;

	for (int i = 0; i < 4; i++)
	{
		squares[i] = _mm512_setzero_ps();
		most[i] = _mm512_setzero_ps();
	}
	for (; p + 64 <= depth; p += 64)
		for (int i = 0; i < 4; i++)
			look_at(_mm512_loadu_ps(source + p + 16 * i), &squares[i],
			        &most[i]);
	for (; p < depth; p += 16)
		look_at(_mm512_maskz_loadu_ps(lanes(depth - p), source + p),
		        &squares[0], &most[0]);
	*sum = _mm512_add_ps(_mm512_add_ps(squares[0], squares[1]),
	                     _mm512_add_ps(squares[2], squares[3]));
	*largest = _mm512_max_ps(_mm512_max_ps(most[0], most[1]),
	                         _mm512_max_ps(most[2], most[3]));
}

/* row[0] becomes the sums of 16 rows of 16 parts, or the largest of each: a
 * row's halves become one, then its quarters, and so on, of two rows at a time,
 * and what that leaves is sorted. */
#define FOLD(row, fold)                                                        \
	do                                                                         \
	{                                                                          \
		for (int i = 0; i < 8; i++)                                            \
			row[i] = fold(_mm512_shuffle_f32x4(row[i], row[i + 8], 0x44),      \
			              _mm512_shuffle_f32x4(row[i], row[i + 8], 0xee));     \
		for (int i = 0; i < 4; i++)                                            \
			row[i] = fold(_mm512_shuffle_f32x4(row[i], row[i + 4], 0x88),      \
			              _mm512_shuffle_f32x4(row[i], row[i + 4], 0xdd));     \
		for (int i = 0; i < 2; i++)                                            \
			row[i] = fold(unpack_low(row[i], row[i + 2]),                      \
			              unpack_high(row[i], row[i + 2]));                    \
		row[0] = fold(_mm512_shuffle_ps(row[0], row[1], 0x88),                 \
		              _mm512_shuffle_ps(row[0], row[1], 0xdd));                \
		row[0] = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, \
		                                                 11, 4, 6, 5, 7, 12,   \
		                                                 14, 13, 15),          \
		                               row[0]);                                \
	} while (0)

VNNI_PART __m512
unpack_low(__m512 a, __m512 b)
{
	return _mm512_castpd_ps(
		_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

VNNI_PART __m512
unpack_high(__m512 a, __m512 b)
{
	return _mm512_castpd_ps(
		_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* int16_factor() of 16 vectors by their sums of squares and largest numbers, 0
 * behind the first `count`: vector i begins at source[i * stride], and its
 * numbers are `step` apart. */
VNNI_PART void
make_factors(float factor[16], __m512 squares, __m512 most, const float *source,
             int64_t stride, int64_t step, int count, int depth, bool is_split)
{
	Int16Limits limits = is_split ? INT16_SPLIT_LIMITS : INT16_LIMITS;
	__mmask16 is_usual =
		_mm512_cmp_ps_mask(squares, _mm512_set1_ps(SQUARES_LEAST), _CMP_GE_OQ) &
		_mm512_cmp_ps_mask(squares, _mm512_set1_ps(SQUARES_MOST), _CMP_LE_OQ);

	_mm512_storeu_ps(
		factor,
		_mm512_min_ps(_mm512_div_ps(_mm512_set1_ps(limits.length),
	                                _mm512_sqrt_ps(squares)),
	                  _mm512_div_ps(_mm512_set1_ps(limits.most), most)));
	for (int i = 0; i < 16; i++)
		if (!(is_usual >> i & 1))
			factor[i] = i < count ? int16_factor(source + i * stride, step,
			                                     depth, limits)
			                      : 0;
}

/* int16_factor() of 16 rows, 0 behind the first `rows`. */
VNNI_PART void
factors_along(float factor[16], const float *source, int64_t stride, int rows,
              int depth, bool is_split)
{
	__m512 squares[16], most[16];

	for (int i = 0; i < 16; i++)
		if (i < rows)
			look_along(source + i * stride, depth, &squares[i], &most[i]);
		else
			squares[i] = most[i] = _mm512_setzero_ps();
	FOLD(squares, _mm512_add_ps);
	FOLD(most, _mm512_max_ps);
	make_factors(factor, squares[0], most[0], source, stride, 1, rows, depth,
	             is_split);
}

/* 32 numbers as pairs of whole ones.  What a factor of NaN makes of them does
 * not matter: the scale is NaN. */
VNNI_PART __m512i
make_pairs(__m512 low, __m512 high, __m512 factor)
{
	/* In turns four numbers of low and four of high, to be sorted. */
	__m512i mixed =
		_mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(low, factor)),
	                       _mm512_cvtps_epi32(_mm512_mul_ps(high, factor)));

	return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7),
	                                mixed);
}

/* Those of the first `depth` of source, zeros behind them. */
VNNI_PART __m512i
read_pairs(const float *source, int depth, __m512 factor)
{
	if (depth >= 32)
		return make_pairs(_mm512_loadu_ps(source), _mm512_loadu_ps(source + 16),
		                  factor);
	return make_pairs(_mm512_maskz_loadu_ps(lanes(depth), source),
	                  _mm512_maskz_loadu_ps(lanes(depth - 16), source + 16),
	                  factor);
}

/* Pairs of two numbers each, one above the other, for `cols` of 16 columns. */
VNNI_PART __m512i
read_column_pairs(const float *source, int64_t stride, int depth, int cols,
                  __m512 factor)
{
	__m512 low = _mm512_maskz_loadu_ps(lanes(cols), source);
	__m512 high =
		_mm512_maskz_loadu_ps(depth > 1 ? lanes(cols) : 0, source + stride);

	__m512i low_whole = _mm512_cvtps_epi32(_mm512_mul_ps(low, factor));
	__m512i high_whole = _mm512_cvtps_epi32(_mm512_mul_ps(high, factor));

	return _mm512_or_si512(
		_mm512_and_si512(low_whole, _mm512_set1_epi32(0xffff)),
		_mm512_slli_epi32(high_whole, 16));
}

/* 16 pairs of a row. */
VNNI_PART void
put_row_pairs(uint32_t *to, __m512i pairs, bool is_split)
{
	if (is_split)
	{
		pairs = split_pairs(pairs);
		_mm512_storeu_si512(
			to + BF16_PAIRS,
			_mm512_andnot_si512(_mm512_set1_epi16(0xff), pairs));
		pairs = _mm512_or_si512(_mm512_slli_epi16(pairs, 8),
		                        _mm512_srli_epi16(pairs, 8));
	}
	_mm512_storeu_si512(to, pairs);
}

/* Pairs of 16 columns. */
VNNI_PART void
put_panel_pairs(uint32_t *to, __m512i pairs, bool is_split)
{
	_mm512_storeu_si512(to, is_split ? split_pairs(pairs) : pairs);
}

/* What takes 16 factors back. */
VNNI_PART __m512
scales_of(const float factor[16])
{
	__m512 factors = _mm512_loadu_ps(factor);
	__mmask16 is_zero =
		_mm512_cmp_ps_mask(factors, _mm512_setzero_ps(), _CMP_EQ_OQ);

	return _mm512_mask_div_ps(_mm512_setzero_ps(), ~is_zero, _mm512_set1_ps(1),
	                          factors);
}

VNNI_PART void
pack_rows_along(uint32_t *to, int64_t to_stride, const float *source,
                int64_t stride, int rows, int depth, bool is_split)
{
	int size = is_split ? 2 : 1;
	int pairs = (depth + 31) / 32 * 16 * size;
	float factor[16];
	float scale[16];

	for (int i = 0; i < rows; i++, to += to_stride, source += stride)
	{
		__m512 factors;

		if (i % 16 == 0)
		{
			factors_along(factor, source, stride, rows - i, depth, is_split);
			_mm512_storeu_ps(scale, scales_of(factor));
		}
		factors = _mm512_set1_ps(factor[i % 16]);
		for (int p = 0; p < depth; p += 32)
			put_row_pairs(to + p / 2 * size,
			              read_pairs(source + p, depth - p, factors), is_split);
		__builtin_memcpy(to + pairs, &scale[i % 16], sizeof(float));
	}
}

VNNI_PART void
pack_panel_along(uint32_t *to, const float *source, int64_t stride, int cols,
                 int depth, bool is_split)
{
	int pairs = (depth + 31) / 32 * 16;
	float factor[16];
	__m512i block[16];

	for (int half = 0; half < BF16_COLS; half += 16)
	{
		factors_along(factor, source, stride, cols - half, depth, is_split);
		_mm512_storeu_ps((float *) to + pairs * BF16_COLS, scales_of(factor));
		for (int p = 0; p < depth; p += 32)
		{
			for (int j = 0; j < 16; j++)
				block[j] = half + j < cols
				               ? read_pairs(source + j * stride + p, depth - p,
				                            _mm512_set1_ps(factor[j]))
				               : _mm512_setzero_si512();
			transpose(block);
			for (int q = 0; q < 16; q++)
				put_panel_pairs(to + (p / 2 + q) * BF16_COLS, block[q],
				                is_split);
		}
		source += 16 * stride;
		to += 16;
	}
}

/* int16_factor() of `cols` of 16 columns. */
VNNI_PART void
factors_across(float factor[16], const float *source, int64_t stride, int cols,
               int depth, bool is_split)
{
	__m512 squares = _mm512_setzero_ps();
	__m512 most = _mm512_setzero_ps();

	for (int p = 0; p < depth; p++)
		look_at(_mm512_maskz_loadu_ps(lanes(cols), source + p * stride),
		        &squares, &most);
	make_factors(factor, squares, most, source, 1, stride, cols, depth,
	             is_split);
}

VNNI_PART void
pack_panel_across(uint32_t *to, const float *source, int64_t stride, int cols,
                  int depth, bool is_split)
{
	int padded = (depth + 31) / 32 * 32;

	for (int half = 0; half < BF16_COLS; half += 16)
	{
		float factor[16];

		factors_across(factor, source + half, stride, cols - half, depth,
		               is_split);
		for (int p = 0; p < padded; p += 2)
			put_panel_pairs(to + p / 2 * BF16_COLS + half,
			                read_column_pairs(source + p * stride + half,
			                                  stride, depth - p,
			                                  p < depth ? cols - half : 0,
			                                  _mm512_loadu_ps(factor)),
			                is_split);
		_mm512_storeu_ps((float *) to + padded / 2 * BF16_COLS + half,
		                 scales_of(factor));
	}
}

#define PACKING(name, is_split)                                                \
	VNNI static void rows_along_##name(uint32_t *to, int64_t to_stride,        \
	                                   const float *source, int64_t stride,    \
	                                   int rows, int depth)                    \
	{                                                                          \
		pack_rows_along(to, to_stride, source, stride, rows, depth, is_split); \
	}                                                                          \
	VNNI static void panel_along_##name(uint32_t *to, const float *source,     \
	                                    int64_t stride, int cols, int depth)   \
	{                                                                          \
		pack_panel_along(to, source, stride, cols, depth, is_split);           \
	}                                                                          \
	VNNI static void panel_across_##name(uint32_t *to, const float *source,    \
	                                     int64_t stride, int cols, int depth)  \
	{                                                                          \
		pack_panel_across(to, source, stride, cols, depth, is_split);          \
	}

PACKING(whole, false)
PACKING(split, true)

typedef __m512i Sums;

VNNI_PART Sums
no_sums(void)
{
	return _mm512_setzero_si512();
}

/* GCC 12 keeps sums of the intrinsic in memory. */
VNNI_PART Sums
add_products(Sums sums, __m512i a, __m512i b)
{
	__asm__("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
	return sums;
}

/* Behind the pairs there are the scales. */
VNNI_PART __m512
result(Sums sums, const uint32_t *row_end, const uint32_t *panel_end)
{
	__m512 row = _mm512_castsi512_ps(_mm512_set1_epi32((int) *row_end));

	return _mm512_mul_ps(_mm512_cvtepi32_ps(sums),
	                     _mm512_mul_ps(row, _mm512_loadu_ps(panel_end)));
}

#define TILE_TARGET VNNI
#include "device/cpu/pairs_tile.h"

static const PairKernels whole_kernels = {
	.rows = TILE_ROWS,
	.step = BF16_PAIRS,
	.row_size = 1,
	.has_scales = true,
	.rows_along = rows_along_whole,
	.panel_along = panel_along_whole,
	.panel_across = panel_across_whole,
	.tile = tile,
};

static const PairKernels split_kernels = {
	.step = BF16_PAIRS,
	.row_size = 2,
	.has_scales = true,
	.rows_along = rows_along_split,
	.panel_along = panel_along_split,
	.panel_across = panel_across_split,
};

static bool
has_vnni(void)
{
	return __builtin_cpu_supports("avx512vnni") &&
	       __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq");
}

const PairKernels *
int16_avx512(void)
{
	return has_vnni() ? &whole_kernels : NULL;
}

const PairKernels *
int16_split_avx512(void)
{
	return has_vnni() ? &split_kernels : NULL;
}

#else

const PairKernels *
int16_avx512(void)
{
	return 0;
}

const PairKernels *
int16_split_avx512(void)
{
	return 0;
}
#endif
