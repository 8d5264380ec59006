/*
 * attention_tile_avx512.c
 *		The products inside attention, by AVX-512.
 */
#include "device/cpu/attention_tile.h"

#ifdef __x86_64__
#pragma GCC target("arch=x86-64-v4")

#include "device/cpu/pairs_avx512.h"

typedef __m512 Vector;

#define LANES 16
#define ROWS 8
#define VECTORS 2

#define vector_all(x) _mm512_set1_ps(x)
#define vector_load(at) _mm512_loadu_ps(at)
#define vector_store(at, x) _mm512_storeu_ps(at, x)
#define vector_fma(a, b, c) _mm512_fmadd_ps(a, b, c)

#include "device/cpu/attention_tile_loops.h"

static void
turn(float *tile, const float *x, int64_t stride, int depth)
{
	__m512i block[16];

	for (int d = 0; d < depth; d += 16)
		for (int half = 0; half < 32; half += 16)
		{
			for (int j = 0; j < 16; j++)
				block[j] = _mm512_maskz_loadu_epi32(
					lanes(depth - d), x + (half + j) * stride + d);
			transpose(block);
			for (int q = 0; q < 16 && d + q < depth; q++)
				_mm512_storeu_si512(tile + (d + q) * 32 + half, block[q]);
		}
}

const AttentionTiles attention_tiles_avx512 = {ROWS, multiply, turn};
#endif
