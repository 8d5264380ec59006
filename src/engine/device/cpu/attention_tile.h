/*
 * attention_tile.h
 *		The products inside attention, for several instruction sets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A factor by its columns or its rows. */
typedef struct TileLeft
{
	const float *data; /* number k of row r is data[r * stride + k * step] */
	int64_t stride;
	int64_t step;
} TileLeft;

typedef struct AttentionTiles
{
	int rows; /* that are computed side by side */
	/*
	 * c[rows, cols] = left[rows, depth] @ right[depth, cols], or adds the
	 * product to c.  Any number of rows; cols is 16 or 32.  Each number is
	 * summed in the order of depth, by fused operations where there are any:
	 * it does not depend on what else is computed.
	 */
	void (*multiply)(float *c, int64_t c_stride, TileLeft left,
	                 const float *right, int64_t right_stride, int depth,
	                 int rows, int cols, bool adds);
	/* tile[depth][32] = the columns of x, 32 rows of depth numbers.  NULL:
	 * there is nothing faster than one by one. */
	void (*turn)(float *tile, const float *x, int64_t stride, int depth);
} AttentionTiles;

extern const AttentionTiles attention_tiles_portable;
#ifdef __x86_64__
extern const AttentionTiles attention_tiles_avx2;
extern const AttentionTiles attention_tiles_avx512;
#endif
