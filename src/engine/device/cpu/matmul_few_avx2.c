/*
 * matmul_few_avx2.c
 *		Dot products with rows of weights, by AVX2 and FMA.
 */
#include "device/cpu/matmul_few.h"

#ifdef __x86_64__
#pragma GCC target("arch=x86-64-v3")

#include <immintrin.h>
#include <string.h>

typedef __m256 Vector;

#define LANES 8
#define W_ROWS 4
#define VECTORS (DOT_PAD / LANES)
#define TILE 2
#define STRIP 2

#define vector_zero() _mm256_setzero_ps()
#define vector_all(number) _mm256_set1_ps(number)
#define vector_load(at) _mm256_loadu_ps(at)
#define vector_store(at, x) _mm256_storeu_ps(at, x)
#define vector_fma(a, b, c) _mm256_fmadd_ps(a, b, c)

INLINE Vector
vector_load_part(const float *at, int64_t n)
{
	const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_maskload_ps(
		at, _mm256_cmpgt_epi32(_mm256_set1_epi32((int) n), number));
}

#define ADD_HALVES(a, b)                                                       \
	_mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20),                          \
	              _mm256_permute2f128_ps(a, b, 0x31))
#define ADD_NUMBERS(a, b, first, second)                                       \
	_mm256_add_ps(_mm256_shuffle_ps(a, b, first),                              \
	              _mm256_shuffle_ps(a, b, second))

/* Each step halves what is left to be added of each vector, and leaves half
 * as many vectors: lanes l and l + 4, l + 2, l + 1. */
INLINE void
vector_sums(float *out, const Vector *v)
{
	Vector half[4];
	Vector quarter[2];

	/* The steps leave sum 4 t + q in number q of half t. */
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++)
		half[i] = ADD_HALVES(v[i], v[i + 4]);
#pragma GCC unroll 2
	for (int i = 0; i < 2; i++)
		quarter[i] = ADD_NUMBERS(half[2 * i], half[2 * i + 1], 0x44, 0xEE);
	_mm256_storeu_ps(out, ADD_NUMBERS(quarter[0], quarter[1], 0x88, 0xDD));
}

/* --------------------------------------------- numbers as they are stored */

/* Has what is computed so far rounded, and not fused into a later sum: the
 * numbers are those that dtype_read() gives. */
INLINE Vector
rounded(Vector x)
{
	__asm__("" : "+x"(x));
	return x;
}

INLINE Vector
broadcast_half(const uint8_t *at)
{
	int16_t half;

	memcpy(&half, at, sizeof(half));
	return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_set1_epi16(half)));
}

/* Eight bytes, not negative. */
INLINE __m256i
widen_bytes(const uint8_t *at)
{
	return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) at));
}

INLINE void
read_f16(Vector number[VECTORS], const uint8_t *block)
{
	for (int v = 0; v < 4; v++)
		number[v] = _mm256_cvtph_ps(
			_mm_loadu_si128((const __m128i *) (block + 16 * v)));
}

INLINE void
read_bf16(Vector number[VECTORS], const uint8_t *block)
{
	for (int v = 0; v < 4; v++)
		number[v] = _mm256_castsi256_ps(
			_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(
								  (const __m128i *) (block + 16 * v))),
		                      16));
}

INLINE void
read_q8_0(Vector number[VECTORS], const uint8_t *block)
{
	Vector d = broadcast_half(block);

	for (int v = 0; v < 4; v++)
		number[v] = rounded(_mm256_mul_ps(
			d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
				   _mm_loadl_epi64((const __m128i *) (block + 2 + 8 * v))))));
}

/* The halves of 16 bytes, the low ones first, less `zero`. */
INLINE void
read_halves(Vector number[VECTORS], const uint8_t *bytes, int zero)
{
	const __m256i low = _mm256_set1_epi32(15);
	const __m256i less = _mm256_set1_epi32(zero);

	for (int v = 0; v < 2; v++)
	{
		__m256i both = widen_bytes(bytes + 8 * v);

		number[v] = _mm256_cvtepi32_ps(
			_mm256_sub_epi32(_mm256_and_si256(both, low), less));
		number[2 + v] = _mm256_cvtepi32_ps(
			_mm256_sub_epi32(_mm256_srli_epi32(both, 4), less));
	}
}

/* Adds 16 to the numbers whose fifth bit is set. */
INLINE void
add_fifth(Vector number[VECTORS], const uint8_t *bits)
{
	const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);

	for (int v = 0; v < 4; v++)
	{
		__m256i is_set = _mm256_cmpeq_epi32(
			_mm256_and_si256(_mm256_set1_epi32(bits[v]), bit), bit);

		number[v] =
			_mm256_add_ps(number[v], _mm256_and_ps(_mm256_castsi256_ps(is_set),
		                                           _mm256_set1_ps(16)));
	}
}

INLINE void
scale(Vector number[VECTORS], Vector d)
{
	for (int v = 0; v < 4; v++)
		number[v] = rounded(_mm256_mul_ps(d, number[v]));
}

INLINE void
shift(Vector number[VECTORS], Vector m)
{
	for (int v = 0; v < 4; v++)
		number[v] = rounded(_mm256_add_ps(number[v], m));
}

INLINE void
read_q4_0(Vector number[VECTORS], const uint8_t *block)
{
	read_halves(number, block + 2, 8);
	scale(number, broadcast_half(block));
}

INLINE void
read_q4_1(Vector number[VECTORS], const uint8_t *block)
{
	read_halves(number, block + 4, 0);
	scale(number, broadcast_half(block));
	shift(number, broadcast_half(block + 2));
}

INLINE void
read_q5_0(Vector number[VECTORS], const uint8_t *block)
{
	read_halves(number, block + 6, 16);
	add_fifth(number, block + 2);
	scale(number, broadcast_half(block));
}

INLINE void
read_q5_1(Vector number[VECTORS], const uint8_t *block)
{
	read_halves(number, block + 8, 0);
	add_fifth(number, block + 4);
	scale(number, broadcast_half(block));
	shift(number, broadcast_half(block + 2));
}

#define DOT_KERNELS dots_avx2
#include "device/cpu/matmul_few_loops.h"
#endif
