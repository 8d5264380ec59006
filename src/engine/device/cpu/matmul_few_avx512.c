/*
 * matmul_few_avx512.c
 *		Dot products with rows of weights, by AVX-512.
 */
#include "device/cpu/matmul_few.h"

#ifdef __x86_64__
#pragma GCC target("arch=x86-64-v4")

#include <immintrin.h>
#include <string.h>

typedef __m512 Vector;

#define LANES 16
#define W_ROWS 4
#define VECTORS (DOT_PAD / LANES)
#define TILE 4
#define STRIP 4

#define vector_zero() _mm512_setzero_ps()
#define vector_all(number) _mm512_set1_ps(number)
#define vector_load(at) _mm512_loadu_ps(at)
#define vector_store(at, x) _mm512_storeu_ps(at, x)
#define vector_load_part(at, n)                                                \
	_mm512_maskz_loadu_ps((__mmask16) ((1u << (n)) - 1), at)
#define vector_fma(a, b, c) _mm512_fmadd_ps(a, b, c)

/* The sum of two vectors' chosen quarters, or of chosen numbers in each. */
#define ADD_QUARTERS(a, b, first, second)                                      \
	_mm512_add_ps(_mm512_shuffle_f32x4(a, b, first),                           \
	              _mm512_shuffle_f32x4(a, b, second))
#define ADD_NUMBERS(a, b, first, second)                                       \
	_mm512_add_ps(_mm512_shuffle_ps(a, b, first),                              \
	              _mm512_shuffle_ps(a, b, second))

/* Each step halves what is left to be added of each vector, and leaves half
 * as many vectors: lanes l and l + 8, l + 4, l + 2, l + 1. */
INLINE void
vector_sums(float *out, const Vector *v)
{
	Vector half[8];
	Vector quarter[4];
	Vector eighth[2];

	/* The steps leave sum 4 q + t in number q of quarter t. */
#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
	{
		int a = i % 2 * 8 + i / 2;

		half[i] = ADD_QUARTERS(v[a], v[a + 4], 0x44, 0xEE);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		quarter[i] = ADD_QUARTERS(half[2 * i], half[2 * i + 1], 0x88, 0xDD);
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++)
		eighth[i] = ADD_NUMBERS(quarter[2 * i], quarter[2 * i + 1], 0x44, 0xEE);
	_mm512_storeu_ps(out, ADD_NUMBERS(eighth[0], eighth[1], 0x88, 0xDD));
}

/* --------------------------------------------- numbers as they are stored */

/* Has what is computed so far rounded, and not fused into a later sum: the
 * numbers are those that dtype_read() gives. */
INLINE Vector
rounded(Vector x)
{
	__asm__("" : "+v"(x));
	return x;
}

INLINE Vector
broadcast_half(const uint8_t *at)
{
	int16_t half;

	memcpy(&half, at, sizeof(half));
	return _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_set1_epi16(half)));
}

INLINE __m512i
widen_bytes(const uint8_t *at)
{
	return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) at));
}

INLINE void
read_f16(Vector number[VECTORS], const uint8_t *block)
{
	for (int v = 0; v < 2; v++)
		number[v] = _mm512_cvtph_ps(
			_mm256_loadu_si256((const __m256i *) (block + 32 * v)));
}

INLINE void
read_bf16(Vector number[VECTORS], const uint8_t *block)
{
	for (int v = 0; v < 2; v++)
		number[v] = _mm512_castsi512_ps(
			_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
								  (const __m256i *) (block + 32 * v))),
		                      16));
}

INLINE void
read_q8_0(Vector number[VECTORS], const uint8_t *block)
{
	Vector d = broadcast_half(block);

	for (int v = 0; v < 2; v++)
		number[v] = rounded(_mm512_mul_ps(
			d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
				   _mm_loadu_si128((const __m128i *) (block + 2 + 16 * v))))));
}

/* 0 to 15, what four bits can say. */
INLINE Vector
four_bits(void)
{
	return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* Numbers of a table by the low halves of 16 bytes, and by the high ones. */
INLINE void
look_up(Vector number[VECTORS], Vector table, const uint8_t *bytes)
{
	__m512i index = widen_bytes(bytes);

	number[0] = _mm512_permutexvar_ps(index, table);
	number[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(index, 4), table);
}

INLINE void
read_q4_0(Vector number[VECTORS], const uint8_t *block)
{
	Vector codes = _mm512_sub_ps(four_bits(), _mm512_set1_ps(8));

	look_up(number, rounded(_mm512_mul_ps(broadcast_half(block), codes)),
	        block + 2);
}

INLINE void
read_q4_1(Vector number[VECTORS], const uint8_t *block)
{
	Vector scaled = rounded(_mm512_mul_ps(broadcast_half(block), four_bits()));

	look_up(number, rounded(_mm512_add_ps(scaled, broadcast_half(block + 2))),
	        block + 4);
}

/* The same with a fifth bit: a table for where it is 0, and for 1. */
INLINE void
look_up_five(Vector number[VECTORS], Vector low, Vector high,
             const uint8_t *block)
{
	__m512i index = widen_bytes(block + 4);
	uint32_t fifth;

	memcpy(&fifth, block, sizeof(fifth));
	number[0] = _mm512_mask_permutexvar_ps(_mm512_permutexvar_ps(index, low),
	                                       (__mmask16) fifth, index, high);
	index = _mm512_srli_epi32(index, 4);
	number[1] =
		_mm512_mask_permutexvar_ps(_mm512_permutexvar_ps(index, low),
	                               (__mmask16) (fifth >> 16), index, high);
}

INLINE void
read_q5_0(Vector number[VECTORS], const uint8_t *block)
{
	Vector d = broadcast_half(block);
	Vector low = _mm512_sub_ps(four_bits(), _mm512_set1_ps(16));

	look_up_five(number, rounded(_mm512_mul_ps(d, low)),
	             rounded(_mm512_mul_ps(d, four_bits())), block + 2);
}

INLINE void
read_q5_1(Vector number[VECTORS], const uint8_t *block)
{
	Vector d = broadcast_half(block);
	Vector m = broadcast_half(block + 2);
	Vector high = _mm512_add_ps(four_bits(), _mm512_set1_ps(16));

	look_up_five(
		number,
		rounded(_mm512_add_ps(rounded(_mm512_mul_ps(d, four_bits())), m)),
		rounded(_mm512_add_ps(rounded(_mm512_mul_ps(d, high)), m)), block + 4);
}

#define DOT_KERNELS dots_avx512
#include "device/cpu/matmul_few_loops.h"
#endif
