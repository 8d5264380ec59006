/*
 * attention_tiles.cu
 *		Attention on tensor cores, forward (Dao et al., FlashAttention, arXiv
 *		2205.14135): a block keeps 64 queries and passes over the keys that
 *		they see, with a running maximum and sum of each row.
 */
#include "cuda/attention_tiles.h"

/* Keys at a time: what shared memory and registers have room for. */
#define TILE_KEYS(dim) ((dim) > 128 ? 32 : 64)

/* Over the four lanes that share a row. */
static __device__ __forceinline__ float
row_max(float x)
{
	x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
	return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

static __device__ __forceinline__ float
row_sum(float x)
{
	x += __shfl_xor_sync(ALL_LANES, x, 1);
	return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

/* Scores of 16 rows to weights by base 2, and what was summed up so far to
 * the same maximum. */
template <int DIM, int KEYS>
static __device__ __forceinline__ void
soften(const AttentionShape &shape, const Span &span, int first, int from,
       float score[KEYS / 8][4], float most[2], float sum[2],
       float result[DIM / 8][4])
{
	float factor = shape.scale * LOG2_E;

#pragma unroll
	for (int half = 0; half < 2; half++)
	{
		int query = first + element_row(2 * half);
		int begin = seen_from(shape, query);
		int end = seen_until(shape, span, query);
		float highest = most[half];
		float keep;
		float total = 0;

#pragma unroll
		for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
			for (int i = 2 * half; i < 2 * half + 2; i++)
			{
				int key = from + n * 8 + element_column(i);

				score[n][i] = key >= begin && key < end ? score[n][i] * factor
				                                        : -INFINITY;
				highest = fmaxf(highest, score[n][i]);
			}
		highest = row_max(highest);
		/* A row that has seen nothing yet has weights of 0. */
		keep = highest == -INFINITY ? 1 : exp2f(most[half] - highest);
		most[half] = highest;
		highest = highest == -INFINITY ? 0 : highest;
#pragma unroll
		for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
			for (int i = 2 * half; i < 2 * half + 2; i++)
			{
				score[n][i] = exp2f(score[n][i] - highest);
				total += score[n][i];
			}
		sum[half] = sum[half] * keep + row_sum(total);
#pragma unroll
		for (int n = 0; n < DIM / 8; n++)
		{
			result[n][2 * half] *= keep;
			result[n][2 * half + 1] *= keep;
		}
	}
}

template <int DIM>
static __global__ void
__launch_bounds__(ATTENTION_THREADS, 2)
	attention_tiles_kernel(AttentionShape shape, Tensor out, Tensor q, Tensor k,
                           Tensor v, Tensor lse)
{
	constexpr int KEYS = TILE_KEYS(DIM);
	Piece piece = piece_of(shape, TILE_ROWS);
	const Span &span = piece.span;
	int head = (int) blockIdx.y;
	int64_t column = (int64_t) head * shape.head_dim;
	int64_t kv_column = kv_column_of(shape, head);
	Shared<Bf16> queries = dynamic_shared<Bf16>();
	Shared<Bf16> keys = queries + TILE_ROWS * TILE_WIDTH(DIM);
	Shared<Bf16> values = keys + KEYS * TILE_WIDTH(DIM);
	int first = piece.first + warp_number() * WARP_ROWS;
	int last = min(piece.first + TILE_ROWS, span.end) - 1;
	int until = seen_until(shape, span, last);
	TilePair<DIM, KEYS> across = {{TileSource{k, kv_column, shape.head_dim},
	                               TileSource{v, kv_column, shape.head_dim}},
	                              {keys, values},
	                              {}};
	float most[2] = {-INFINITY, -INFINITY};
	float sum[2] = {};
	float result[DIM / 8][4] = {};

	if (piece.first >= span.end)
		return;
	load_tile<DIM, TILE_ROWS>(queries, TileSource{q, column, shape.head_dim},
	                          span, piece.first);
	across.fetch(span, seen_from(shape, piece.first));
	for (int from = seen_from(shape, piece.first); from < until; from += KEYS)
	{
		float score[KEYS / 8][4];

		__syncthreads();
		across.put(span, from);
		__syncthreads();
		if (from + KEYS < until)
			across.fetch(span, from + KEYS);
		/* Past what the last row of this warp sees. */
		if (from >= seen_until(shape, span, first + WARP_ROWS - 1))
			continue;
		multiply_rows<DIM, KEYS>(score, queries, warp_number() * WARP_ROWS,
		                         keys);
		soften<DIM, KEYS>(shape, span, first, from, score, most, sum, result);
		add_weighed_rows<DIM, KEYS>(result, score, values);
	}
#pragma unroll
	for (int half = 0; half < 2; half++)
	{
		int64_t token = token_at(span, first + element_row(2 * half));

		if (token >= 0 && warp_lane() % 4 == 0)
			row_of(lse, token)[head] = (most[half] + log2f(sum[half])) * LN_2;
		sum[half] = 1 / sum[half];
	}
	store_rows<DIM>(out, column, shape.head_dim, span, first, result, sum);
}

template <int DIM>
static void
start(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
      Tensor k, Tensor v, Tensor lse)
{
	LAUNCH(device, attention_tiles_kernel<DIM>,
	       attention_grid(shape, TILE_ROWS, shape->heads), ATTENTION_THREADS,
	       TILE_BYTES(TILE_ROWS + 2 * TILE_KEYS(DIM), DIM), *shape, out, q, k,
	       v, lse);
}

void
attention_tiles(Device *device, const AttentionShape *shape, Tensor out,
                Tensor q, Tensor k, Tensor v, Tensor lse)
{
	if (shape->head_dim <= 32)
		start<32>(device, shape, out, q, k, v, lse);
	else if (shape->head_dim <= 64)
		start<64>(device, shape, out, q, k, v, lse);
	else if (shape->head_dim <= 96)
		start<96>(device, shape, out, q, k, v, lse);
	else if (shape->head_dim <= 128)
		start<128>(device, shape, out, q, k, v, lse);
	else
		start<256>(device, shape, out, q, k, v, lse);
}
