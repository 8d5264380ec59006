/*
 * attention_tile_avx2.c
 *		The products inside attention, by AVX2 and FMA.
 */
#include "device/cpu/attention_tile.h"

#ifdef __x86_64__
#pragma GCC target("arch=x86-64-v3")

#include <immintrin.h>

typedef __m256 Vector;

#define LANES 8
#define ROWS 6
#define VECTORS 2

#define vector_all(x) _mm256_set1_ps(x)
#define vector_load(at) _mm256_loadu_ps(at)
#define vector_store(at, x) _mm256_storeu_ps(at, x)
#define vector_fma(a, b, c) _mm256_fmadd_ps(a, b, c)

#include "device/cpu/attention_tile_loops.h"

const AttentionTiles attention_tiles_avx2 = {ROWS, multiply, NULL};
#endif
