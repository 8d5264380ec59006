/*
 * pairs_avx512.h
 *		What kernels of AVX-512 have in common that multiply packed factors.
 */
#pragma once

#include <immintrin.h>

#define AVX512_PART                                                            \
	__attribute__((target("avx512f,avx512bw"), always_inline)) static inline

/* The first `count` of 16 lanes; all, or none, where that is out of range. */
AVX512_PART __mmask16
lanes(int count)
{
	if (count >= 16)
		return 0xffff;
	return count <= 0 ? 0 : (__mmask16) ((1u << count) - 1);
}

/* at[16] = beta at + sums, but of `count` numbers at most; beta 0: not read. */
AVX512_PART void
put_sums(float *at, __m512 sums, int count, float beta)
{
	__mmask16 mask = lanes(count);
	__m512 before = _mm512_maskz_loadu_ps(beta == 0 ? 0 : mask, at);

	_mm512_mask_storeu_ps(at, mask,
	                      _mm512_fmadd_ps(before, _mm512_set1_ps(beta), sums));
}

/* One more in the upper byte of whole numbers whose lower one is negative, as
 * int16_amx() has them; and back. */
AVX512_PART __m512i
split_pairs(__m512i pairs)
{
	__m512i sign = _mm512_and_si512(pairs, _mm512_set1_epi16(0x80));

	return _mm512_add_epi16(pairs, _mm512_slli_epi16(sign, 1));
}

AVX512_PART __m512i
whole_pairs(__m512i pairs)
{
	__m512i sign = _mm512_and_si512(pairs, _mm512_set1_epi16(0x80));

	return _mm512_sub_epi16(pairs, _mm512_slli_epi16(sign, 1));
}

/* Turns 16 rows of 16 pairs into columns: pairs of 32 bits in four steps,
 * by 1, 2, 4 and 8 places. */
AVX512_PART void
transpose(__m512i row[16])
{
	__m512i part[16];

	for (int i = 0; i < 16; i += 2)
	{
		part[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
		part[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
	}
	for (int i = 0; i < 16; i += 4)
	{
		row[i] = _mm512_unpacklo_epi64(part[i], part[i + 2]);
		row[i + 1] = _mm512_unpackhi_epi64(part[i], part[i + 2]);
		row[i + 2] = _mm512_unpacklo_epi64(part[i + 1], part[i + 3]);
		row[i + 3] = _mm512_unpackhi_epi64(part[i + 1], part[i + 3]);
	}
	for (int i = 0; i < 16; i += 8)
		for (int j = 0; j < 4; j++)
		{
			part[i + j] =
				_mm512_shuffle_i32x4(row[i + j], row[i + 4 + j], 0x88);
			part[i + 4 + j] =
				_mm512_shuffle_i32x4(row[i + j], row[i + 4 + j], 0xdd);
		}
	for (int j = 0; j < 8; j++)
	{
		row[j] = _mm512_shuffle_i32x4(part[j], part[8 + j], 0x88);
		row[8 + j] = _mm512_shuffle_i32x4(part[j], part[8 + j], 0xdd);
	}
}
