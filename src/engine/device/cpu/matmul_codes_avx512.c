/*
 * matmul_codes_avx512.c
 *		Products with weights of small whole numbers by AVX512-VNNI: vpdpwssd
 *		adds the products of 16 pairs to 16 sums.
 */
#include "device/cpu/matmul_codes.h"

#ifdef __x86_64__
#include "device/cpu/pairs_avx512.h"

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))
#define VNNI_PART VNNI static inline __attribute__((always_inline))

/* Rows that are summed at once: 14 registers for sums of a block, 14 for those
 * of all, two of a panel, one of a row. */
#define TILE_ROWS 7
#define HALVES (CODE_COLS / 16)

#define FINITE_MOST 0x7f7fffff

VNNI static void
pack_row(CodeRow *to, const float *row, int64_t blocks)
{
	const __m512i no_sign = _mm512_set1_epi32(0x7fffffff);
	const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);

	for (int64_t b = 0; b < blocks; b++, row += QUANT_CODES)
	{
		__m512 low = _mm512_loadu_ps(row);
		__m512 high = _mm512_loadu_ps(row + 16);
		/* As whole numbers, infinities and NaN are the largest. */
		int32_t bits = _mm512_reduce_max_epi32(_mm512_max_epi32(
			_mm512_and_si512(_mm512_castps_si512(low), no_sign),
			_mm512_and_si512(_mm512_castps_si512(high), no_sign)));
		bool is_finite = bits <= FINITE_MOST;
		float most, factor;
		__m512i codes;

		__builtin_memcpy(&most, &bits, sizeof(most));
		factor = is_finite && most >= CODE_LEAST ? INT16_MAX / most : 0;
		/* In turns four numbers of low and four of high, to be sorted. */
		codes = _mm512_packs_epi32(
			_mm512_cvtps_epi32(_mm512_mul_ps(low, _mm512_set1_ps(factor))),
			_mm512_cvtps_epi32(_mm512_mul_ps(high, _mm512_set1_ps(factor))));
		/* What is not finite makes no code. */
		codes =
			_mm512_maskz_permutexvar_epi64(factor > 0 ? 0xff : 0, order, codes);
		_mm512_storeu_si512(to[b].pair, codes);
		to[b].scale = !is_finite   ? __builtin_nanf("")
		              : factor > 0 ? most / INT16_MAX
		                           : 0;
		to[b].sum =
			to[b].scale * (float) _mm512_reduce_add_epi32(
							  _mm512_madd_epi16(codes, _mm512_set1_epi16(1)));
	}
}

/* GCC 12 keeps sums of the intrinsic in memory. */
VNNI_PART __m512i
add_products(__m512i sums, __m512i a, __m512i b)
{
	__asm__("vpdpwssd %2, %1, %0" : "+v"(sums) : "v"(a), "v"(b));
	return sums;
}

/* Adds a block's products; rows, halves and has_least are constants. */
VNNI_PART void
add_block(__m512 total[TILE_ROWS][HALVES], int rows, int halves,
          const CodeRow *a, const CodePanel *panel, int64_t blocks,
          bool has_least)
{
	__m512i sum[TILE_ROWS][HALVES];

#pragma GCC unroll 7
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
			sum[i][h] = _mm512_setzero_si512();
	for (int p = 0; p < CODE_PAIRS; p++)
	{
		__m512i codes[HALVES];

		for (int h = 0; h < halves; h++)
			codes[h] = _mm512_cvtepi8_epi16(_mm256_loadu_si256(
				(const __m256i *) (const void *) panel->code[p][16 * h]));
#pragma GCC unroll 7
		for (int i = 0; i < rows; i++)
		{
			__m512i pair = _mm512_set1_epi32((int32_t) a[i * blocks].pair[p]);

			for (int h = 0; h < halves; h++)
				sum[i][h] = add_products(sum[i][h], pair, codes[h]);
		}
	}
#pragma GCC unroll 7
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
		{
			__m512 scale = _mm512_mul_ps(_mm512_loadu_ps(panel->scale + 16 * h),
			                             _mm512_set1_ps(a[i * blocks].scale));

			total[i][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][h]), scale,
			                              total[i][h]);
			if (has_least)
				total[i][h] = _mm512_fmadd_ps(
					_mm512_loadu_ps(panel->least + 16 * h),
					_mm512_set1_ps(a[i * blocks].sum), total[i][h]);
		}
}

VNNI_PART void
tile_of(int rows, int halves, bool has_least, float *c, int64_t c_stride,
        const CodeRow *a, const uint8_t *b, int64_t blocks, int cols,
        float beta, const uint8_t *ahead, int lines)
{
	size_t bytes = code_panel_bytes(has_least);
	__m512 total[TILE_ROWS][HALVES];

#pragma GCC unroll 7
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
			total[i][h] = _mm512_setzero_ps();
	for (int64_t k = 0; k < blocks; k++)
	{
		add_block(total, rows, halves, a + k,
		          (const CodePanel *) (const void *) b, blocks, has_least);
		b += bytes;
		for (int line = 0; line < lines; line++, ahead += 64)
			_mm_prefetch(ahead, _MM_HINT_T1);
	}
#pragma GCC unroll 7
	for (int i = 0; i < rows; i++)
		for (int h = 0; h < halves; h++)
			put_sums(c + i * c_stride + 16 * h, total[i][h], cols - 16 * h,
			         beta);
}

#define TILE(ROWS)                                                             \
	case ROWS:                                                                 \
		if (cols > 16 && has_least)                                            \
			tile_of(ROWS, 2, true, c, c_stride, a, b, blocks, cols, beta,      \
			        ahead, lines);                                             \
		else if (cols > 16)                                                    \
			tile_of(ROWS, 2, false, c, c_stride, a, b, blocks, cols, beta,     \
			        ahead, lines);                                             \
		else if (has_least)                                                    \
			tile_of(ROWS, 1, true, c, c_stride, a, b, blocks, cols, beta,      \
			        ahead, lines);                                             \
		else                                                                   \
			tile_of(ROWS, 1, false, c, c_stride, a, b, blocks, cols, beta,     \
			        ahead, lines);                                             \
		break

VNNI static void
tile(float *c, int64_t c_stride, const CodeRow *a, const uint8_t *b,
     int64_t blocks, bool has_least, int rows, int cols, float beta,
     const uint8_t *ahead, int lines)
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
	}
}

static const CodeKernels kernels = {TILE_ROWS, pack_row, tile};

const CodeKernels *
codes_avx512(void)
{
	return __builtin_cpu_supports("avx512vnni") &&
	               __builtin_cpu_supports("avx512bw")
	           ? &kernels
	           : NULL;
}

#else

const CodeKernels *
codes_avx512(void)
{
	return NULL;
}
#endif
