/*
 * attention_tiles.h
 *		Tiles of bf16 in shared memory, and their products on tensor cores.
 *
 * DIM is a head's dimension rounded up to what kernels are built for; columns
 * past the head's own are 0.  A warp owns 16 rows of a product.  Its lane
 * holds of a result, with g = lane / 4 and t = lane % 4, for each 8 columns
 * the columns 2 t and 2 t + 1 of row g, then of row g + 8 (warp.h).
 */
#pragma once

#include "cuda/attention.h"

/* Rows of a warp and of its block. */
#define WARP_ROWS 16
#define TILE_ROWS (ATTENTION_WARPS * WARP_ROWS)

#define LOG2_E 1.44269504088896340736f
#define LN_2 0.69314718055994530942f

/* Numbers from one row of a tile to the next: eight rows of load_tiles() lie
 * in different banks. */
#define TILE_WIDTH(dim) ((dim) + 8)

/* Bytes of so many rows. */
#define TILE_BYTES(rows, dim) ((rows) *TILE_WIDTH(dim) * sizeof(Bf16))

/* Which row of a warp's 16 element i of 4 belongs to, and which of 8 columns. */
static __device__ __forceinline__ int
element_row(int i)
{
	return warp_lane() / 4 + i / 2 * 8;
}

static __device__ __forceinline__ int
element_column(int i)
{
	return warp_lane() % 4 * 2 + i % 2;
}

/* Four neighbours of a row, 0 past the head's end; row NULL: zeros. */
static __device__ __forceinline__ float4
load_quad(const float *row, int at, int head_dim, bool is_aligned)
{
	float4 quad = {0, 0, 0, 0};

	if (row == NULL || at >= head_dim)
		return quad;
	if (is_aligned)
		return *(const float4 *) (const void *) (row + at);
	quad.x = row[at];
	if (at + 1 < head_dim)
		quad.y = row[at + 1];
	if (at + 2 < head_dim)
		quad.z = row[at + 2];
	if (at + 3 < head_dim)
		quad.w = row[at + 3];
	return quad;
}

/* Loads that a thread has on their way at once. */
#define LOADS 8

/* Of a tile, a thread's quads. */
#define QUADS_EACH(dim, rows) ((rows) * ((dim) / 4) / ATTENTION_THREADS)

/* With short heads registers have room for the tiles that come next. */
#define IS_AHEAD(dim) ((dim) <= 64)

/* What a thread has loaded, or is loading, of a tile. */
template <int COUNT> struct Loaded
{
	float4 quad[COUNT];
};

/* Tiles of rows of x, columns [column, column + head_dim). */
typedef struct TileSource
{
	Tensor x;
	int64_t column;
	int head_dim;
} TileSource;

/* A thread's quads from number `begin` on, of rows at positions from `first`
 * on; 0 past the end. */
template <int DIM, int COUNT>
static __device__ __forceinline__ void
fetch_quads(Loaded<COUNT> &loaded, const TileSource &source, const Span &span,
            int first, int begin)
{
	const Tensor &x = source.x;
	bool is_aligned =
		(((uintptr_t) x.data | (uintptr_t) (x.stride * 4) |
	      (uintptr_t) (source.column * 4) | (uintptr_t) (source.head_dim * 4)) &
	     15) == 0;

#pragma unroll
	for (int i = 0; i < COUNT; i++)
	{
		int place = (begin + i) * ATTENTION_THREADS + (int) threadIdx.x;
		int64_t token = token_at(span, first + place / (DIM / 4));

		loaded.quad[i] =
			load_quad(token < 0 ? NULL : row_of(x, token) + source.column,
		              place % (DIM / 4) * 4, source.head_dim, is_aligned);
	}
}

template <int DIM, int COUNT>
static __device__ __forceinline__ void
put_quads(Shared<Bf16> tile, const Loaded<COUNT> &loaded, int begin)
{
	Shared<uint2> pairs = shared_as<uint2>(tile);

#pragma unroll
	for (int i = 0; i < COUNT; i++)
	{
		int place = (begin + i) * ATTENTION_THREADS + (int) threadIdx.x;
		const float4 &quad = loaded.quad[i];

		pairs[place / (DIM / 4) * (TILE_WIDTH(DIM) / 4) + place % (DIM / 4)] =
			uint2{pack_bf16(quad.x, quad.y), pack_bf16(quad.z, quad.w)};
	}
}

/* tile[ROWS] = rows at so many positions.  Many loads are asked for before the
 * first is waited for. */
template <int DIM, int ROWS>
static __device__ __forceinline__ void
load_tile(Shared<Bf16> tile, const TileSource &source, const Span &span,
          int first)
{
	constexpr int EACH = QUADS_EACH(DIM, ROWS);
	constexpr int STEP = EACH <= LOADS       ? EACH
	                     : EACH % LOADS == 0 ? LOADS
	                                         : EACH / 2;

	static_assert(EACH % STEP == 0 &&
	                  EACH * ATTENTION_THREADS == ROWS * (DIM / 4),
	              "all threads load alike");
#pragma unroll
	for (int begin = 0; begin < EACH; begin += STEP)
	{
		Loaded<STEP> loaded;

		fetch_quads<DIM, STEP>(loaded, source, span, first, begin);
		put_quads<DIM, STEP>(tile, loaded, begin);
	}
}

/*
 * Two tiles that a kernel passes over together.  Where IS_AHEAD, fetch() begins
 * to load them into registers and put() brings them into shared memory, else
 * put() does both.
 */
template <int DIM, int ROWS> struct TilePair
{
	static constexpr int EACH = IS_AHEAD(DIM) ? QUADS_EACH(DIM, ROWS) : 1;

	TileSource source[2];
	Shared<Bf16> tile[2];
	Loaded<EACH> loaded[2];

	/* To the columns of another head. */
	__device__ __forceinline__ void
	move(int64_t column)
	{
		source[0].column = column;
		source[1].column = column;
	}

	__device__ __forceinline__ void
	fetch(const Span &span, int first)
	{
		if constexpr (IS_AHEAD(DIM))
		{
			fetch_quads<DIM, EACH>(loaded[0], source[0], span, first, 0);
			fetch_quads<DIM, EACH>(loaded[1], source[1], span, first, 0);
		}
	}

	__device__ __forceinline__ void
	put(const Span &span, int first)
	{
		if constexpr (IS_AHEAD(DIM))
		{
			put_quads<DIM, EACH>(tile[0], loaded[0], 0);
			put_quads<DIM, EACH>(tile[1], loaded[1], 0);
		}
		else
		{
			load_tile<DIM, ROWS>(tile[0], source[0], span, first);
			load_tile<DIM, ROWS>(tile[1], source[1], span, first);
		}
	}
};

/* result[16, COLS] = 16 rows of left from `row` on @ right[COLS]^T */
template <int DIM, int COLS>
static __device__ __forceinline__ void
multiply_rows(float result[COLS / 8][4], Shared<Bf16> left, int row,
              Shared<Bf16> right)
{
	int lane = warp_lane();

#pragma unroll
	for (int n = 0; n < COLS / 8; n++)
#pragma unroll
		for (int i = 0; i < 4; i++)
			result[n][i] = 0;
#pragma unroll
	for (int k = 0; k < DIM; k += 16)
	{
		uint32_t a[4];

		load_tiles<false>(a, left + ((row + lane % 16) * TILE_WIDTH(DIM) + k +
		                             lane / 16 * 8));
#pragma unroll
		for (int n = 0; n < COLS; n += 16)
		{
			uint32_t b[4];

			load_tiles<false>(
				b, right + ((n + lane / 16 * 8 + lane % 8) * TILE_WIDTH(DIM) +
			                k + lane / 8 % 2 * 8));
			mma_bf16(result[n / 8], a, b);
			mma_bf16(result[n / 8 + 1], a, b + 2);
		}
	}
}

/* result[16, DIM] += weight[16, ROWS], rounded to bf16, @ right[ROWS] */
template <int DIM, int ROWS>
static __device__ __forceinline__ void
add_weighed_rows(float result[DIM / 8][4], const float weight[ROWS / 8][4],
                 Shared<Bf16> right)
{
	int lane = warp_lane();

#pragma unroll
	for (int k = 0; k < ROWS; k += 16)
	{
		const float *low = weight[k / 8];
		const float *high = weight[k / 8 + 1];
		uint32_t a[4] = {pack_bf16(low[0], low[1]), pack_bf16(low[2], low[3]),
		                 pack_bf16(high[0], high[1]),
		                 pack_bf16(high[2], high[3])};

#pragma unroll
		for (int n = 0; n < DIM; n += 16)
		{
			uint32_t b[4];

			load_tiles<true>(b, right + ((k + lane % 16) * TILE_WIDTH(DIM) + n +
			                             lane / 16 * 8));
			mma_bf16(result[n / 8], a, b);
			mma_bf16(result[n / 8 + 1], a, b + 2);
		}
	}
}

/* The two rows of a lane, times factor[2], to where they belong. */
template <int DIM>
static __device__ __forceinline__ void
store_rows(const Tensor &to, int64_t column, int head_dim, const Span &span,
           int first, const float result[DIM / 8][4], const float factor[2])
{
#pragma unroll
	for (int half = 0; half < 2; half++)
	{
		int64_t token = token_at(span, first + element_row(2 * half));

		if (token < 0)
			continue;
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
#pragma unroll
			for (int i = 2 * half; i < 2 * half + 2; i++)
				if (n * 8 + element_column(i) < head_dim)
					row_of(to, token)[column + n * 8 + element_column(i)] =
						result[n][i] * factor[half];
	}
}
