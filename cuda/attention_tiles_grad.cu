/*
 * attention_tiles_grad.cu
 *		Attention on tensor cores, backward.
 *
 * Scores are computed anew from the log-sum-exp of each row, once for the
 * gradient of queries and once for that of keys and values, so that every
 * gradient has one writer and its sums one order.  With p the softmax of a
 * score and dp = dout . v, a score's own gradient is p (dp - delta).
 */
#include "cuda/attention_tiles.h"

/* Keys, or queries, that stand across from a block's rows at a time: what
 * shared memory and registers have room for. */
#define ROWS_ACROSS(dim) ((dim) > 128 ? 16 : (dim) > 32 ? 32 : 64)

/* p and the gradient of a score, from the products q . k and dout . v. */
static __device__ __forceinline__ void
score_grad(const AttentionShape &shape, bool is_seen, float lse, float delta,
           float *score, float *dproduct)
{
	float p = is_seen ? exp2f((shape.scale * *score - lse) * LOG2_E) : 0;

	*score = p;
	*dproduct = is_seen ? p * (*dproduct - delta) * shape.scale : 0;
}

template <int DIM>
static __global__ void
__launch_bounds__(ATTENTION_THREADS, 2)
	attention_tiles_query_grad_kernel(AttentionShape shape, AttentionGrad grad)
{
	constexpr int ACROSS = ROWS_ACROSS(DIM);
	Piece piece = piece_of(shape, TILE_ROWS);
	const Span &span = piece.span;
	int head = (int) blockIdx.y;
	int64_t column = (int64_t) head * shape.head_dim;
	int64_t kv_column = kv_column_of(shape, head);
	Shared<Bf16> queries = dynamic_shared<Bf16>();
	Shared<Bf16> douts = queries + TILE_ROWS * TILE_WIDTH(DIM);
	Shared<Bf16> keys = douts + TILE_ROWS * TILE_WIDTH(DIM);
	Shared<Bf16> values = keys + ACROSS * TILE_WIDTH(DIM);
	int row = warp_number() * WARP_ROWS;
	int first = piece.first + row;
	int last = min(piece.first + TILE_ROWS, span.end) - 1;
	int until = seen_until(shape, span, last);
	TilePair<DIM, ACROSS> across = {
		{TileSource{grad.k, kv_column, shape.head_dim},
	     TileSource{grad.v, kv_column, shape.head_dim}},
		{keys, values},
		{}};
	const float whole[2] = {1, 1};
	float lse[2] = {};
	float delta[2] = {};
	float dq[DIM / 8][4] = {};

	if (piece.first >= span.end)
		return;
#pragma unroll
	for (int half = 0; half < 2; half++)
	{
		int64_t token = token_at(span, first + element_row(2 * half));

		if (token < 0)
			continue;
		lse[half] = row_of(grad.lse, token)[head];
		delta[half] = row_of(grad.delta, token)[head];
	}
	load_tile<DIM, TILE_ROWS>(
		queries, TileSource{grad.q, column, shape.head_dim}, span, piece.first);
	load_tile<DIM, TILE_ROWS>(douts,
	                          TileSource{grad.dout, column, shape.head_dim},
	                          span, piece.first);
	across.fetch(span, seen_from(shape, piece.first));
	for (int from = seen_from(shape, piece.first); from < until; from += ACROSS)
	{
		float score[ACROSS / 8][4];
		float dscore[ACROSS / 8][4];

		__syncthreads();
		across.put(span, from);
		__syncthreads();
		if (from + ACROSS < until)
			across.fetch(span, from + ACROSS);
		if (from >= seen_until(shape, span, first + WARP_ROWS - 1))
			continue;
		multiply_rows<DIM, ACROSS>(score, queries, row, keys);
		multiply_rows<DIM, ACROSS>(dscore, douts, row, values);
#pragma unroll
		for (int n = 0; n < ACROSS / 8; n++)
#pragma unroll
			for (int i = 0; i < 4; i++)
			{
				int query = first + element_row(i);
				int key = from + n * 8 + element_column(i);

				score_grad(
					shape, query < span.end && sees(shape, span, query, key),
					lse[i / 2], delta[i / 2], &score[n][i], &dscore[n][i]);
			}
		add_weighed_rows<DIM, ACROSS>(dq, dscore, keys);
	}
	store_rows<DIM>(grad.dq, column, shape.head_dim, span, first, dq, whole);
}

/* What a kernel computes of two gradients: with long heads the registers hold
 * the sums of one. */
enum
{
	GRAD_KEYS = 1,
	GRAD_VALUES = 2,
	GRAD_BOTH = 3
};

/* lse, then delta, of the queries across, which are columns here. */
template <int ACROSS>
static __device__ __forceinline__ void
load_query_sums(Shared<float> sums, const AttentionGrad &grad, const Span &span,
                int first, int head)
{
	int place = (int) threadIdx.x;
	int64_t token = token_at(span, first + place % ACROSS);

	if (place < 2 * ACROSS)
		sums[place] = token < 0 ? 0
		                        : row_of(place < ACROSS ? grad.lse : grad.delta,
		                                 token)[head];
}

/* Rows are keys of one kv head; what stands across are the queries that see
 * them, of all heads that read it and of all sequences that continue this
 * one. */
template <int DIM, int WANTED>
static __global__ void
__launch_bounds__(ATTENTION_THREADS, 1)
	attention_tiles_key_grad_kernel(AttentionShape shape, AttentionGrad grad)
{
	constexpr int ACROSS = ROWS_ACROSS(DIM);
	SHARED(float, sums, 2 * ACROSS);
	Piece piece = piece_of(shape, TILE_ROWS);
	int group = shape.heads / shape.kv_heads;
	int first_head = (int) blockIdx.y * group;
	int64_t kv_column = (int64_t) blockIdx.y * shape.head_dim;
	Shared<Bf16> keys = dynamic_shared<Bf16>();
	Shared<Bf16> values = keys + TILE_ROWS * TILE_WIDTH(DIM);
	Shared<Bf16> queries = values + TILE_ROWS * TILE_WIDTH(DIM);
	Shared<Bf16> douts = queries + ACROSS * TILE_WIDTH(DIM);
	int row = warp_number() * WARP_ROWS;
	int mine = piece.first + row;
	int last = min(piece.first + TILE_ROWS, piece.span.end) - 1;
	TilePair<DIM, ACROSS> across = {{TileSource{grad.q, 0, shape.head_dim},
	                                 TileSource{grad.dout, 0, shape.head_dim}},
	                                {queries, douts},
	                                {}};
	const float whole[2] = {1, 1};
	float dk[WANTED & GRAD_KEYS ? DIM / 8 : 1][4] = {};
	float dv[WANTED & GRAD_VALUES ? DIM / 8 : 1][4] = {};

	if (piece.first >= piece.span.end)
		return;
	load_tile<DIM, TILE_ROWS>(keys,
	                          TileSource{grad.k, kv_column, shape.head_dim},
	                          piece.span, piece.first);
	load_tile<DIM, TILE_ROWS>(values,
	                          TileSource{grad.v, kv_column, shape.head_dim},
	                          piece.span, piece.first);
	for (int c = piece.sequence; reaches(shape, c, piece.sequence); c++)
	{
		Span span = span_of(shape, c);
		int from;
		int until;
		int pieces;

		seeing(shape, span, piece.first, last, &from, &until);
		pieces = max(0, (until - from + ACROSS - 1) / ACROSS);
		across.move(first_head * shape.head_dim);
		if (pieces > 0)
			across.fetch(span, from);
		for (int step = 0; step < pieces * group; step++)
		{
			int first = from + step % pieces * ACROSS;
			int next = step + 1;
			float score[ACROSS / 8][4];
			float dscore[ACROSS / 8][4];

			__syncthreads();
			load_query_sums<ACROSS>(sums, grad, span, first,
			                        first_head + step / pieces);
			across.put(span, first);
			__syncthreads();
			across.move((first_head + next / pieces) * shape.head_dim);
			if (next < pieces * group)
				across.fetch(span, from + next % pieces * ACROSS);
			multiply_rows<DIM, ACROSS>(score, keys, row, queries);
			multiply_rows<DIM, ACROSS>(dscore, values, row, douts);
#pragma unroll
			for (int n = 0; n < ACROSS / 8; n++)
#pragma unroll
				for (int i = 0; i < 4; i++)
				{
					int query = n * 8 + element_column(i);
					int key = mine + element_row(i);

					score_grad(shape,
					           first + query < span.end && key <= last &&
					               sees(shape, span, first + query, key),
					           sums[query], sums[ACROSS + query], &score[n][i],
					           &dscore[n][i]);
				}
			if constexpr ((WANTED & GRAD_VALUES) != 0)
				add_weighed_rows<DIM, ACROSS>(dv, score, douts);
			if constexpr ((WANTED & GRAD_KEYS) != 0)
				add_weighed_rows<DIM, ACROSS>(dk, dscore, queries);
		}
	}
	if constexpr ((WANTED & GRAD_KEYS) != 0)
		store_rows<DIM>(grad.dk, kv_column, shape.head_dim, piece.span, mine,
		                dk, whole);
	if constexpr ((WANTED & GRAD_VALUES) != 0)
		store_rows<DIM>(grad.dv, kv_column, shape.head_dim, piece.span, mine,
		                dv, whole);
}

/* ----------------------------------------------------------------- launches */

template <int DIM, int WANTED>
static void
start_key_grad(Device *device, const AttentionShape *shape,
               const AttentionGrad *grad)
{
	LAUNCH(device, (attention_tiles_key_grad_kernel<DIM, WANTED>),
	       attention_grid(shape, TILE_ROWS, shape->kv_heads), ATTENTION_THREADS,
	       TILE_BYTES(2 * (TILE_ROWS + ROWS_ACROSS(DIM)), DIM), *shape, *grad);
}

template <int DIM>
static void
start(Device *device, const AttentionShape *shape, const AttentionGrad *grad)
{
	LAUNCH(device, attention_tiles_query_grad_kernel<DIM>,
	       attention_grid(shape, TILE_ROWS, shape->heads), ATTENTION_THREADS,
	       TILE_BYTES(2 * (TILE_ROWS + ROWS_ACROSS(DIM)), DIM), *shape, *grad);
	if constexpr (DIM <= 128)
		start_key_grad<DIM, GRAD_BOTH>(device, shape, grad);
	else
	{
		start_key_grad<DIM, GRAD_KEYS>(device, shape, grad);
		start_key_grad<DIM, GRAD_VALUES>(device, shape, grad);
	}
}

void
attention_tiles_grad(Device *device, const AttentionShape *shape,
                     const AttentionGrad *grad)
{
	if (shape->head_dim <= 32)
		start<32>(device, shape, grad);
	else if (shape->head_dim <= 64)
		start<64>(device, shape, grad);
	else if (shape->head_dim <= 96)
		start<96>(device, shape, grad);
	else if (shape->head_dim <= 128)
		start<128>(device, shape, grad);
	else
		start<256>(device, shape, grad);
}
