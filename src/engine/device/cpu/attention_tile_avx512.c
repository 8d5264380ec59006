/*
 * attention_tile_avx512.c
 *		The products inside attention, by AVX-512.
 */
#include "device/cpu/attention_tile.h"

#ifdef __x86_64__
#pragma GCC target("arch=x86-64-v4")

#include <immintrin.h>

typedef __m512 Vector;

#define LANES 16
#define ROWS 8
#define VECTORS 2

#define vector_all(x) _mm512_set1_ps(x)
#define vector_load(at) _mm512_loadu_ps(at)
#define vector_store(at, x) _mm512_storeu_ps(at, x)
#define vector_fma(a, b, c) _mm512_fmadd_ps(a, b, c)

#include "device/cpu/attention_tile_loops.h"

const AttentionTiles attention_tiles_avx512 = {ROWS, multiply};
#endif
