/*
 * attention_plain.cu
 *		Attention in fp32, forward and backward, for any shape.
 *
 * A warp owns some rows: queries, or in the gradient of keys and values keys.
 * It takes what stands across from them 32 at a time: a lane computes the
 * score of one of these, and then sums up its columns of the result over all.
 * Nothing is added from two sides.
 */
#include "cuda/attention.h"

/* Rows of a warp and of its block. */
#define ROWS 4
#define BLOCK_ROWS (ATTENTION_WARPS * ROWS)

/* Columns of a head that one lane sums up, 32 apart. */
#define PARTS (HEAD_DIM_MAX / WARP)

/* What is summed up: columns lane + 32 c of each row. */
typedef float Sums[ROWS][PARTS];

/* tile[count][width] = columns of x at so many positions; 0 past the end */
static __device__ __forceinline__ void
load_rows(Shared<float> tile, int count, int width, const Tensor &x,
          int64_t column, int head_dim, const Span &span, int first)
{
	for (int r = warp_number(); r < count; r += ATTENTION_WARPS)
	{
		int64_t token = token_at(span, first + r);

		for (int d = warp_lane(); d < head_dim; d += WARP)
			tile[r * width + d] = token < 0 ? 0 : row_of(x, token)[column + d];
	}
}

static __device__ __forceinline__ float
dot(Shared<float> a, Shared<float> b, int count)
{
	float sum = 0;

	for (int d = 0; d < count; d++)
		sum += a[d] * b[d];
	return sum;
}

/* sums[r] += the 32 lanes' weights times the rows of a tile */
static __device__ __forceinline__ void
add_weighed(float *sums, float weight, Shared<float> tile, int width,
            int head_dim)
{
	for (int j = 0; j < WARP; j++)
	{
		float of = __shfl_sync(ALL_LANES, weight, j);

#pragma unroll
		for (int c = 0; c < PARTS; c++)
			if (warp_lane() + c * WARP < head_dim)
				sums[c] += of * tile[j * width + warp_lane() + c * WARP];
	}
}

static __device__ __forceinline__ void
store_sums(const Tensor &to, int64_t token, int64_t column, const float *sums,
           float factor, int head_dim)
{
#pragma unroll
	for (int c = 0; c < PARTS; c++)
		if (warp_lane() + c * WARP < head_dim)
			row_of(to, token)[column + warp_lane() + c * WARP] =
				sums[c] * factor;
}

/* ------------------------------------------------- scores by distance */

/* Which column of the scores belongs to a head and a distance. */
static __device__ __forceinline__ int64_t
bucket_column(const RelativeScores &relative, int head, int distance)
{
	return (int64_t) head * relative.buckets +
	       relative.bucket[distance + relative.reach];
}

static __device__ __forceinline__ float
relative_score(const RelativeScores &relative, int head, const Span &span,
               int query, int key)
{
	int64_t column;
	float score = 0;

	if (relative.bucket == NULL)
		return 0;
	column = bucket_column(relative, head, query - key);
	if (relative.query.data != NULL)
		score += row_of(relative.query, token_at(span, query))[column];
	if (relative.key.data != NULL)
		score += row_of(relative.key, token_at(span, key))[column];
	return score;
}

/*
 * dto[token] += what the lanes, each with its column (-1: none), have for it.
 * The same lane adds all of a column, in the order of lanes.
 */
static __device__ __forceinline__ void
add_to_buckets(const Tensor &to, int64_t token, int column, float value)
{
	if (to.data == NULL)
		return;
	for (int j = 0; j < WARP; j++)
	{
		float of = __shfl_sync(ALL_LANES, value, j);
		int at = __shfl_sync(ALL_LANES, column, j);

		if (at >= 0 && at % WARP == warp_lane())
			row_of(to, token)[at] += of;
	}
}

/* ------------------------------------------------------------------ forward */

static __global__ void
__launch_bounds__(ATTENTION_THREADS)
	attention_plain_kernel(AttentionShape shape, RelativeScores relative,
                           Tensor out, Tensor q, Tensor k, Tensor v, Tensor lse)
{
	Piece piece = piece_of(shape, BLOCK_ROWS);
	const Span &span = piece.span;
	int head = (int) blockIdx.y;
	int head_dim = shape.head_dim;
	int width = head_dim + 1; /* lanes read rows side by side */
	int64_t column = (int64_t) head * head_dim;
	int64_t kv_column = kv_column_of(shape, head);
	Shared<float> queries = dynamic_shared<float>();
	Shared<float> keys = queries + BLOCK_ROWS * head_dim;
	Shared<float> values = keys + WARP * width;
	int mine = piece.first + warp_number() * ROWS;
	int last = min(piece.first + BLOCK_ROWS, span.end) - 1;
	float most[ROWS];
	float total[ROWS] = {};
	Sums sums = {};

	if (piece.first >= span.end)
		return;
#pragma unroll
	for (int r = 0; r < ROWS; r++)
		most[r] = -INFINITY;
	load_rows(queries, BLOCK_ROWS, head_dim, q, column, head_dim, span,
	          piece.first);
	for (int from = seen_from(shape, piece.first);
	     from < seen_until(shape, span, last); from += WARP)
	{
		int key = from + warp_lane();

		__syncthreads();
		load_rows(keys, WARP, width, k, kv_column, head_dim, span, from);
		load_rows(values, WARP, width, v, kv_column, head_dim, span, from);
		__syncthreads();
#pragma unroll
		for (int r = 0; r < ROWS; r++)
		{
			bool is_seen =
				mine + r < span.end && sees(shape, span, mine + r, key);
			float score = -INFINITY;
			float before = most[r];
			float keep;
			float weight;

			if (is_seen)
				score = shape.scale *
				        (dot(queries + (warp_number() * ROWS + r) * head_dim,
				             keys + warp_lane() * width, head_dim) +
				         relative_score(relative, head, span, mine + r, key));
			most[r] = fmaxf(before, warp_max(score));
			if (most[r] == -INFINITY)
				continue;
			keep = expf(before - most[r]);
			weight = is_seen ? expf(score - most[r]) : 0;
			total[r] = total[r] * keep + warp_sum(weight);
#pragma unroll
			for (int c = 0; c < PARTS; c++)
				sums[r][c] *= keep;
			add_weighed(sums[r], weight, values, width, head_dim);
		}
	}
#pragma unroll
	for (int r = 0; r < ROWS; r++)
	{
		int64_t token = token_at(span, mine + r);

		if (token < 0)
			continue;
		store_sums(out, token, column, sums[r], 1 / total[r], head_dim);
		if (warp_lane() == 0)
			row_of(lse, token)[head] = most[r] + logf(total[r]);
	}
}

/* ----------------------------------------------------------------- backward */

/*
 * The gradient of queries.  With p the softmax of a score and dp = dout . v,
 * a score's own gradient is p (dp - delta).
 */
static __global__ void
__launch_bounds__(ATTENTION_THREADS)
	attention_plain_query_grad_kernel(AttentionShape shape,
                                      RelativeScores relative,
                                      AttentionGrad grad)
{
	Piece piece = piece_of(shape, BLOCK_ROWS);
	const Span &span = piece.span;
	int head = (int) blockIdx.y;
	int head_dim = shape.head_dim;
	int width = head_dim + 1;
	int64_t column = (int64_t) head * head_dim;
	int64_t kv_column = kv_column_of(shape, head);
	Shared<float> queries = dynamic_shared<float>();
	Shared<float> douts = queries + BLOCK_ROWS * head_dim;
	Shared<float> keys = douts + BLOCK_ROWS * head_dim;
	Shared<float> values = keys + WARP * width;
	int mine = piece.first + warp_number() * ROWS;
	int last = min(piece.first + BLOCK_ROWS, span.end) - 1;
	Sums dq = {};

	if (piece.first >= span.end)
		return;
	load_rows(queries, BLOCK_ROWS, head_dim, grad.q, column, head_dim, span,
	          piece.first);
	load_rows(douts, BLOCK_ROWS, head_dim, grad.dout, column, head_dim, span,
	          piece.first);
	for (int from = seen_from(shape, piece.first);
	     from < seen_until(shape, span, last); from += WARP)
	{
		int key = from + warp_lane();

		__syncthreads();
		load_rows(keys, WARP, width, grad.k, kv_column, head_dim, span, from);
		load_rows(values, WARP, width, grad.v, kv_column, head_dim, span, from);
		__syncthreads();
#pragma unroll
		for (int r = 0; r < ROWS; r++)
		{
			int64_t token = token_at(span, mine + r);
			int row = (warp_number() * ROWS + r) * head_dim;
			int bucket = -1;
			float dscore = 0;

			if (token < 0)
				continue;
			if (sees(shape, span, mine + r, key))
			{
				float score =
					dot(queries + row, keys + warp_lane() * width, head_dim) +
					relative_score(relative, head, span, mine + r, key);
				float p =
					expf(shape.scale * score - row_of(grad.lse, token)[head]);

				dscore =
					shape.scale * p *
					(dot(douts + row, values + warp_lane() * width, head_dim) -
				     row_of(grad.delta, token)[head]);
				if (relative.bucket != NULL)
					bucket =
						(int) bucket_column(relative, head, mine + r - key);
			}
			add_weighed(dq[r], dscore, keys, width, head_dim);
			add_to_buckets(relative.dquery, token, bucket, dscore);
		}
	}
#pragma unroll
	for (int r = 0; r < ROWS; r++)
		if (mine + r < span.end)
			store_sums(grad.dq, token_at(span, mine + r), column, dq[r], 1,
			           head_dim);
}

/* One key of a warp, its row in the block's tiles, and what 32 queries of a
 * head add to its gradients. */
static __device__ __forceinline__ void
add_key_grads(const AttentionShape &shape, const RelativeScores &relative,
              const AttentionGrad &grad, const Span &span, int head, int query,
              int key, int64_t key_token, Shared<float> key_row,
              Shared<float> value_row, Shared<float> queries,
              Shared<float> douts, float *dk, float *dv)
{
	int head_dim = shape.head_dim;
	int width = head_dim + 1;
	int64_t token = token_at(span, query);
	int bucket = -1;
	float p = 0;
	float dscore = 0;

	if (token >= 0 && sees(shape, span, query, key))
	{
		float score = dot(key_row, queries + warp_lane() * width, head_dim) +
		              relative_score(relative, head, span, query, key);

		p = expf(shape.scale * score - row_of(grad.lse, token)[head]);
		dscore = shape.scale * p *
		         (dot(value_row, douts + warp_lane() * width, head_dim) -
		          row_of(grad.delta, token)[head]);
		if (relative.bucket != NULL)
			bucket = (int) bucket_column(relative, head, query - key);
	}
	add_weighed(dv, p, douts, width, head_dim);
	add_weighed(dk, dscore, queries, width, head_dim);
	add_to_buckets(relative.dkey, key_token, bucket, dscore);
}

/* The gradients of keys and values: rows are keys of one kv head, and what
 * stands across are the queries that see them, of all heads that read it and
 * of all sequences that continue this one. */
static __global__ void
__launch_bounds__(ATTENTION_THREADS)
	attention_plain_key_grad_kernel(AttentionShape shape,
                                    RelativeScores relative, AttentionGrad grad)
{
	Piece piece = piece_of(shape, BLOCK_ROWS);
	int group = shape.heads / shape.kv_heads;
	int head_dim = shape.head_dim;
	int width = head_dim + 1;
	int64_t kv_column = (int64_t) blockIdx.y * head_dim;
	Shared<float> keys = dynamic_shared<float>();
	Shared<float> values = keys + BLOCK_ROWS * head_dim;
	Shared<float> queries = values + BLOCK_ROWS * head_dim;
	Shared<float> douts = queries + WARP * width;
	int mine = piece.first + warp_number() * ROWS;
	int last = min(piece.first + BLOCK_ROWS, piece.span.end) - 1;
	Sums dk = {};
	Sums dv = {};

	if (piece.first >= piece.span.end)
		return;
	load_rows(keys, BLOCK_ROWS, head_dim, grad.k, kv_column, head_dim,
	          piece.span, piece.first);
	load_rows(values, BLOCK_ROWS, head_dim, grad.v, kv_column, head_dim,
	          piece.span, piece.first);
	for (int c = piece.sequence; reaches(shape, c, piece.sequence); c++)
	{
		Span span = span_of(shape, c);
		int from;
		int until;

		seeing(shape, span, piece.first, last, &from, &until);
		for (int h = 0; h < group; h++)
			for (int first = from; first < until; first += WARP)
			{
				int head = (int) blockIdx.y * group + h;
				int64_t column = (int64_t) head * head_dim;

				__syncthreads();
				load_rows(queries, WARP, width, grad.q, column, head_dim, span,
				          first);
				load_rows(douts, WARP, width, grad.dout, column, head_dim, span,
				          first);
				__syncthreads();
#pragma unroll
				for (int r = 0; r < ROWS; r++)
				{
					int row = (warp_number() * ROWS + r) * head_dim;

					if (mine + r <= last)
						add_key_grads(shape, relative, grad, span, head,
						              first + warp_lane(), mine + r,
						              token_at(piece.span, mine + r),
						              keys + row, values + row, queries, douts,
						              dk[r], dv[r]);
				}
			}
	}
#pragma unroll
	for (int r = 0; r < ROWS; r++)
		if (mine + r <= last)
		{
			int64_t token = token_at(piece.span, mine + r);

			store_sums(grad.dk, token, kv_column, dk[r], 1, head_dim);
			store_sums(grad.dv, token, kv_column, dv[r], 1, head_dim);
		}
}

/* ----------------------------------------------------------------- launches */

static RelativeScores
relative_of(const AttentionShape *shape)
{
	return shape->relative == NULL ? (RelativeScores){} : *shape->relative;
}

/* Bytes of some tiles of a block's rows, and of two of 32 rows. */
static size_t
shared_bytes(const AttentionShape *shape, int tiles)
{
	return sizeof(float) * (size_t) (tiles * BLOCK_ROWS * shape->head_dim +
	                                 2 * WARP * (shape->head_dim + 1));
}

void
attention_plain(Device *device, const AttentionShape *shape, Tensor out,
                Tensor q, Tensor k, Tensor v, Tensor lse)
{
	LAUNCH(device, attention_plain_kernel,
	       attention_grid(shape, BLOCK_ROWS, shape->heads), ATTENTION_THREADS,
	       shared_bytes(shape, 1), *shape, relative_of(shape), out, q, k, v,
	       lse);
}

void
attention_plain_grad(Device *device, const AttentionShape *shape,
                     const AttentionGrad *grad)
{
	LAUNCH(device, attention_plain_query_grad_kernel,
	       attention_grid(shape, BLOCK_ROWS, shape->heads), ATTENTION_THREADS,
	       shared_bytes(shape, 2), *shape, relative_of(shape), *grad);
	LAUNCH(device, attention_plain_key_grad_kernel,
	       attention_grid(shape, BLOCK_ROWS, shape->kv_heads),
	       ATTENTION_THREADS, shared_bytes(shape, 2), *shape,
	       relative_of(shape), *grad);
}
