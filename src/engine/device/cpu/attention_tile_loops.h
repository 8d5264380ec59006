/*
 * attention_tile_loops.h
 *		Tiles of products by vectors that the including file defines: Vector,
 *		LANES, ROWS and VECTORS of a tile, vector_load(), vector_store(),
 *		vector_all(), vector_fma().
 */
#include "base/kernel.h"
#include "device/cpu/attention_tile.h"

/* A tile of up to ROWS by VECTORS vectors; both are constants where it is
 * called, so that sums stay in registers. */
INLINE void
tile(float *c, int64_t c_stride, TileLeft left, const float *right,
     int64_t right_stride, int depth, const int rows, const int vectors,
     bool adds)
{
	Vector sum[ROWS][VECTORS];
	/* One for four rows, as many as an address can tell apart. */
	const float *at[(ROWS + 3) / 4];

#pragma GCC unroll 16
	for (int r = 0; r < rows; r += 4)
		at[r / 4] = left.data + r * left.stride;
#pragma GCC unroll 16
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
			sum[r][v] = vector_all(0);
	for (int k = 0; k < depth; k++)
	{
		Vector factor[VECTORS];

#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
			factor[v] = vector_load(right + v * LANES);
#pragma GCC unroll 16
		for (int r = 0; r < rows; r++)
		{
			Vector x = vector_all(at[r / 4][r % 4 * left.stride]);

#pragma GCC unroll 8
			for (int v = 0; v < vectors; v++)
				sum[r][v] = vector_fma(x, factor[v], sum[r][v]);
		}
#pragma GCC unroll 16
		for (int r = 0; r < rows; r += 4)
			at[r / 4] += left.step;
		right += right_stride;
	}
#pragma GCC unroll 16
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
		{
			float *to = c + r * c_stride + v * LANES;

			if (adds)
				sum[r][v] += vector_load(to);
			vector_store(to, sum[r][v]);
		}
}

/* All rows of `vectors` vectors. */
INLINE void
columns(float *c, int64_t c_stride, TileLeft left, const float *right,
        int64_t right_stride, int depth, int rows, const int vectors, bool adds)
{
	for (; rows >= ROWS; rows -= ROWS)
	{
		tile(c, c_stride, left, right, right_stride, depth, ROWS, vectors,
		     adds);
		c += ROWS * c_stride;
		left.data += ROWS * left.stride;
	}
#define REST(n)                                                                \
	case n:                                                                    \
		tile(c, c_stride, left, right, right_stride, depth, n, vectors, adds); \
		break;
	switch (rows)
	{
		REST(1)
		REST(2)
		REST(3)
#if ROWS > 4
		REST(4)
		REST(5)
#endif
#if ROWS > 6
		REST(6)
		REST(7)
#endif
		default:
			break;
	}
#undef REST
}

static void
multiply(float *c, int64_t c_stride, TileLeft left, const float *right,
         int64_t right_stride, int depth, int rows, int cols, bool adds)
{
	int done = 0;

	for (; cols - done >= VECTORS * LANES; done += VECTORS * LANES)
		columns(c + done, c_stride, left, right + done, right_stride, depth,
		        rows, VECTORS, adds);
#if VECTORS * LANES > 16
	if (done < cols)
		columns(c + done, c_stride, left, right + done, right_stride, depth,
		        rows, 16 / LANES, adds);
#endif
}
