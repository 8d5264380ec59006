/*
 * attention_cached.cu
 *		Attention of one new token against a cache.
 *
 * What it costs is the way of keys and values from memory: threads load 16
 * bytes at a time and several times before they use any.  A block takes up to
 * four query heads that read the same keys; long caches are cut into parts, by
 * their own length alone, and the block that ends last joins them in order.
 */
#include "cuda/attention.h"

#define CACHED_THREADS 256

/* Keys of a step, and the lanes that multiply one of them. */
#define CHUNK 128
#define KEY_LANES 4
#define KEYS_APART (CACHED_THREADS / KEY_LANES)
#define KEYS (CHUNK / KEYS_APART)

/* Values that a thread has on their way. */
#define VALUES_AHEAD(heads) ((heads) > 2 ? 6 : 8)

/* Query heads of a block at most. */
#define BLOCK_HEADS 4

/* Keys of a part at least, and parts of a row at most. */
#define PART_KEYS 512
#define PARTS_MOST 32

/* What a block computes: query heads [head, head + heads) of a row, and the
 * keys [begin, end) of those that it sees. */
typedef struct Share
{
	int head;
	int heads;
	int kv_head;
	int begin;
	int end;
	int parts; /* of the row */
} Share;

/* A head of keys and values in the rows that a token sees. */
typedef struct Seen
{
	const float *k;
	const float *v;
	int64_t k_stride;
	int64_t v_stride;
	int head_dim;
	int fours; /* of a row, the last one filled up with zeros */
} Seen;

/* Which values a thread weighs: four columns, of every subsets-th key.  The
 * last few threads may have no subset, and weigh for nobody. */
typedef struct Columns
{
	int four;
	int subset;
	int subsets;
} Columns;

static __device__ __forceinline__ Share
share_of(const AttentionShape &shape, int most_heads, int seen)
{
	int group = shape.heads / shape.kv_heads;
	int blocks = (group + most_heads - 1) / most_heads;
	int in_group = (int) blockIdx.y % blocks * most_heads;
	int chunks = (seen + CHUNK * PARTS_MOST - 1) / (CHUNK * PARTS_MOST);
	int size = max(PART_KEYS, chunks * CHUNK);
	Share share;

	share.kv_head = (int) blockIdx.y / blocks;
	share.head = share.kv_head * group + in_group;
	share.heads = min(most_heads, group - in_group);
	share.begin = (int) blockIdx.z * size;
	share.end = min(seen, share.begin + size);
	share.parts = max(1, (seen + size - 1) / size);
	return share;
}

/* Numbers [4 i, 4 i + 4) of a row. */
template <bool is_wide>
static __device__ __forceinline__ float4
four_of(const float *row, int i, int head_dim)
{
	const float *from = row + 4 * i;
	int count = head_dim - 4 * i;

	if (is_wide)
		return *(const float4 *) (const void *) from;
	return float4{from[0], count > 1 ? from[1] : 0, count > 2 ? from[2] : 0,
	              count > 3 ? from[3] : 0};
}

static __device__ __forceinline__ float
dot(const float4 &a, const float4 &b, float sum)
{
	return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

static __device__ __forceinline__ Seen
seen_of(const AttentionShape &shape, const Tensor &k, const Tensor &v,
        int64_t row, int kv_head)
{
	int64_t column = (int64_t) kv_head * shape.head_dim;

	return Seen{
		row_of(k, row) + column, row_of(v, row) + column, k.stride, v.stride,
		shape.head_dim,          (shape.head_dim + 3) / 4};
}

/* queries[heads, HEAD_DIM_MAX] = this block's, scaled, and zeros where a row
 * is filled up or there is no such head. */
template <int heads>
static __device__ __forceinline__ void
load_queries(Shared<float> queries, const float *q, int count, float scale,
             const Seen &seen)
{
	int width = seen.fours * 4;

	for (int i = (int) threadIdx.x; i < heads * width; i += CACHED_THREADS)
	{
		int h = i / width;
		int d = i % width;
		bool is_one = h < count && d < seen.head_dim;

		queries[h * HEAD_DIM_MAX + d] =
			is_one ? scale * q[h * seen.head_dim + d] : 0;
	}
}

/* A lane's part of the scores of its keys, among [first, first + count): four
 * lanes share a key. */
template <int heads, bool is_wide>
static __device__ __forceinline__ void
multiply_keys(float sum[KEYS][heads], Shared<float> queries, const Seen &seen,
              int first, int count)
{
	int key = (int) threadIdx.x / KEY_LANES;
	const float *row[KEYS];

#pragma unroll
	for (int i = 0; i < KEYS; i++)
		row[i] = seen.k +
		         (first + min(key + i * KEYS_APART, count - 1)) * seen.k_stride;
#pragma unroll 4
	for (int four = (int) threadIdx.x % KEY_LANES; four < seen.fours;
	     four += KEY_LANES)
	{
		float4 numbers[KEYS];

#pragma unroll
		for (int i = 0; i < KEYS; i++)
			numbers[i] = four_of<is_wide>(row[i], four, seen.head_dim);
#pragma unroll
		for (int h = 0; h < heads; h++)
		{
			float4 query = shared_as<float4>(queries + h * HEAD_DIM_MAX)[four];

#pragma unroll
			for (int i = 0; i < KEYS; i++)
				sum[i][h] = dot(numbers[i], query, sum[i][h]);
		}
	}
}

/* scores[CHUNK, heads] of so many keys, from the lanes' parts; -inf past
 * them. */
template <int heads>
static __device__ __forceinline__ void
store_scores(Shared<float> scores, const float sum[KEYS][heads], int count)
{
	int lane = (int) threadIdx.x % KEY_LANES;
	int key = (int) threadIdx.x / KEY_LANES;

#pragma unroll
	for (int i = 0; i < KEYS; i++)
#pragma unroll
		for (int h = 0; h < heads; h++)
		{
			float score = sum[i][h];
			int at = key + i * KEYS_APART;

#pragma unroll
			for (int bits = KEY_LANES / 2; bits > 0; bits /= 2)
				score += __shfl_xor_sync(ALL_LANES, score, bits);
			if (lane == h % KEY_LANES)
				scores[at * heads + h] = at < count ? score : -INFINITY;
		}
}

/* Of one head's scores the exponentials, by a warp; keep[head] is what to
 * multiply earlier sums by. */
template <int heads>
static __device__ __forceinline__ void
weigh_scores(Shared<float> scores, Shared<float> keep, int head, float *most,
             float *sum)
{
	float score[CHUNK / WARP];
	float before = *most;
	float factor;
	float total = 0;

#pragma unroll
	for (int c = 0; c < CHUNK / WARP; c++)
	{
		score[c] = scores[(warp_lane() + c * WARP) * heads + head];
		*most = fmaxf(*most, score[c]);
	}
	*most = warp_max(*most);
	factor = expf(before - *most);
#pragma unroll
	for (int c = 0; c < CHUNK / WARP; c++)
	{
		score[c] = expf(score[c] - *most);
		scores[(warp_lane() + c * WARP) * heads + head] = score[c];
		total += score[c];
	}
	*sum = *sum * factor + warp_sum(total);
	if (warp_lane() == 0)
		keep[head] = factor;
}

/* The values of a thread's keys from number j of a chunk on. */
template <int heads, bool is_wide>
static __device__ __forceinline__ void
load_values(float4 value[VALUES_AHEAD(heads)], const Seen &seen,
            const Columns &mine, int first, int j, int count)
{
#pragma unroll
	for (int i = 0; i < VALUES_AHEAD(heads); i++)
		value[i] = four_of<is_wide>(
			seen.v +
				(first + min(j + i * mine.subsets, count - 1)) * seen.v_stride,
			mine.four, seen.head_dim);
}

template <int heads>
static __device__ __forceinline__ void
add_values(float4 sum[heads], const float4 value[VALUES_AHEAD(heads)],
           Shared<float> scores, const Columns &mine, int j, int count)
{
#pragma unroll
	for (int i = 0; i < VALUES_AHEAD(heads); i++)
		if (j + i * mine.subsets < count)
#pragma unroll
			for (int h = 0; h < heads; h++)
			{
				float weight = scores[(j + i * mine.subsets) * heads + h];

				sum[h].x += weight * value[i].x;
				sum[h].y += weight * value[i].y;
				sum[h].z += weight * value[i].z;
				sum[h].w += weight * value[i].w;
			}
}

/* sum[heads] of one thread, times what is kept of it. */
template <int heads>
static __device__ __forceinline__ void
keep_sums(float4 sum[heads], Shared<float> keep)
{
#pragma unroll
	for (int h = 0; h < heads; h++)
	{
		float factor = keep[h];

		sum[h].x *= factor;
		sum[h].y *= factor;
		sum[h].z *= factor;
		sum[h].w *= factor;
	}
}

/* Where part p of a row's head lies: its sums of values, then the largest
 * score and the sum of the exponentials. */
static __device__ __forceinline__ float *
part_of(float *parts, const AttentionShape &shape, int head, int p)
{
	int64_t first = ((int64_t) blockIdx.x * shape.heads + head) * gridDim.z;

	return parts + (first + p) * (shape.head_dim + 2);
}

static __device__ __forceinline__ void
write_part(float *part, int d, int head_dim, float value, Shared<float> totals)
{
	part[d] = value;
	if (d == 0)
	{
		part[head_dim] = totals[0];
		part[head_dim + 1] = totals[1];
	}
}

/* Number d of a head, all parts of the row together. */
static __device__ __forceinline__ float
join_parts(float *parts, const AttentionShape &shape, int head, int d,
           int count)
{
	float most = -INFINITY;
	float sum = 0;
	float value = 0;

	for (int p = 0; p < count; p++)
		most = fmaxf(most, part_of(parts, shape, head, p)[shape.head_dim]);
	for (int p = 0; p < count; p++)
	{
		const float *part = part_of(parts, shape, head, p);
		float weight = expf(part[shape.head_dim] - most);

		sum += weight * part[shape.head_dim + 1];
		value += weight * part[d];
	}
	return value / sum;
}

/* Whether the row's other parts were done before: true for one block of them,
 * to which everything is visible that they wrote.  turns is zeros again
 * then. */
static __device__ __forceinline__ bool
comes_last(int *turns, int parts)
{
	int *turn = turns + blockIdx.x * gridDim.y + blockIdx.y;
	int is_last = 0;

	__syncthreads();
	if (threadIdx.x == 0)
	{
		__threadfence();
		is_last = atomicAdd(turn, 1) == parts - 1;
		__threadfence();
		if (is_last)
			*turn = 0;
	}
	return __syncthreads_or(is_last) != 0;
}

/* Grid: rows, groups of query heads with the same keys, parts of the row. */
template <int heads, bool is_wide>
static __global__ void
__launch_bounds__(CACHED_THREADS, 2)
	attention_cached_kernel(AttentionShape shape, Tensor out, Tensor q,
                            Tensor k_cache, Tensor v_cache,
                            const int32_t *first, const int32_t *length,
                            float *parts, int *turns)
{
	SHARED(float, queries, heads *HEAD_DIM_MAX);
	SHARED(float, scores, 2 * CHUNK * heads);
	SHARED(float, keep, heads);
	SHARED(float, totals, heads * 2);
	SHARED(float4, sums, CACHED_THREADS * heads);
	int64_t row = blockIdx.x;
	int from = seen_from(shape, length[row] - 1);
	Share share = share_of(shape, heads, length[row] - from);
	Seen seen = seen_of(shape, k_cache, v_cache, (int64_t) first[row] + from,
	                    share.kv_head);
	Columns mine = {(int) threadIdx.x % seen.fours,
	                (int) threadIdx.x / seen.fours,
	                CACHED_THREADS / seen.fours};
	const float *query = row_of(q, row) + (int64_t) share.head * seen.head_dim;
	float *to = row_of(out, row) + (int64_t) share.head * seen.head_dim;
	float4 sum[heads] = {};
	float most = -INFINITY;
	float total = 0;

	if ((int) blockIdx.z >= share.parts)
		return;
	load_queries<heads>(queries, query, share.heads, shape.scale, seen);
	__syncthreads();
	for (int key = share.begin, turn = 0; key < share.end;
	     key += CHUNK, turn = !turn)
	{
		Shared<float> chunk = scores + turn * CHUNK * heads;
		int keys = min(CHUNK, share.end - key);
		int j = mine.subset;
		float score[KEYS][heads] = {};
		float4 value[VALUES_AHEAD(heads)];

		multiply_keys<heads, is_wide>(score, queries, seen, key, keys);
		/* Values come while scores are weighed. */
		load_values<heads, is_wide>(value, seen, mine, key, j, keys);
		store_scores<heads>(chunk, score, keys);
		__syncthreads();
		if (warp_number() < heads)
			weigh_scores<heads>(chunk, keep, warp_number(), &most, &total);
		__syncthreads();
		keep_sums<heads>(sum, keep);
		add_values<heads>(sum, value, chunk, mine, j, keys);
		for (j += VALUES_AHEAD(heads) * mine.subsets; j < keys;
		     j += VALUES_AHEAD(heads) * mine.subsets)
		{
			load_values<heads, is_wide>(value, seen, mine, key, j, keys);
			add_values<heads>(sum, value, chunk, mine, j, keys);
		}
	}
	if (mine.subset < mine.subsets)
#pragma unroll
		for (int h = 0; h < heads; h++)
			sums[(mine.subset * heads + h) * seen.fours + mine.four] = sum[h];
	if (warp_number() < heads && warp_lane() == 0)
	{
		totals[warp_number() * 2] = most;
		totals[warp_number() * 2 + 1] = total;
	}
	__syncthreads();
	for (int i = (int) threadIdx.x; i < share.heads * seen.head_dim;
	     i += CACHED_THREADS)
	{
		int h = i / seen.head_dim;
		int d = i % seen.head_dim;
		float value = 0;

		for (int s = 0; s < mine.subsets; s++)
			value += shared_as<float>(sums + (s * heads + h) * seen.fours)[d];
		if (share.parts == 1)
			to[i] = value / totals[h * 2 + 1];
		else
			write_part(part_of(parts, shape, share.head + h, (int) blockIdx.z),
			           d, seen.head_dim, value, totals + h * 2);
	}
	if (share.parts == 1 || !comes_last(turns, share.parts))
		return;
	for (int i = (int) threadIdx.x; i < share.heads * seen.head_dim;
	     i += CACHED_THREADS)
		to[i] = join_parts(parts, shape, share.head + i / seen.head_dim,
		                   i % seen.head_dim, share.parts);
}

/* What a launch needs besides the call's own arguments. */
typedef struct CachedPlan
{
	dim3 grid; /* x: rows at once */
	float *parts;
} CachedPlan;

static CachedPlan
plan_of(Device *device, const AttentionShape *shape, int64_t rows,
        int64_t cache_rows, int heads)
{
	int64_t seen = shape->window > 0 && shape->window < cache_rows
	                   ? shape->window
	                   : cache_rows;
	unsigned groups = pieces_of(shape->heads / shape->kv_heads, heads) *
	                  (unsigned) shape->kv_heads;
	unsigned parts = pieces_of(seen, PART_KEYS);
	size_t bytes;
	int64_t most;

	if (parts > PARTS_MOST)
		parts = PARTS_MOST;
	if (parts < 2)
		return CachedPlan{dim3((unsigned) rows, groups), NULL};
	bytes = parts * (size_t) shape->heads * (size_t) (shape->head_dim + 2) *
	        sizeof(float);
	most = (int64_t) (CUDA_SCRATCH_MOST / bytes);
	if (most > CUDA_TURNS / groups)
		most = CUDA_TURNS / groups;
	if (most > rows)
		most = rows;
	if (most < 1)
		most = 1;
	return CachedPlan{
		dim3((unsigned) most, groups, parts),
		(float *) cuda_scratch(device, SCRATCH_SUMS, (size_t) most * bytes)};
}

template <int heads, bool is_wide>
static void
attend(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
       Tensor k_cache, Tensor v_cache, const int32_t *first,
       const int32_t *length)
{
	CachedPlan plan = plan_of(device, shape, q.rows, k_cache.rows, heads);
	int64_t rows;

	for (int64_t row = 0; row < q.rows; row += rows)
	{
		rows = plan.grid.x < q.rows - row ? plan.grid.x : q.rows - row;
		LAUNCH(device, (attention_cached_kernel<heads, is_wide>),
		       dim3((unsigned) rows, plan.grid.y, plan.grid.z), CACHED_THREADS,
		       0, *shape, tensor_rows(out, row, rows),
		       tensor_rows(q, row, rows), k_cache, v_cache, first + row,
		       length + row, plan.parts, cuda_of(device)->turns);
	}
}

template <int heads>
static void
attend_wide(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
            Tensor k_cache, Tensor v_cache, const int32_t *first,
            const int32_t *length)
{
	if (shape->head_dim % 4 == 0 && rows_are_wide(k_cache) &&
	    rows_are_wide(v_cache))
		attend<heads, true>(device, shape, out, q, k_cache, v_cache, first,
		                    length);
	else
		attend<heads, false>(device, shape, out, q, k_cache, v_cache, first,
		                     length);
}

void
cuda_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                      Tensor q, Tensor k_cache, Tensor v_cache,
                      const int32_t *first, const int32_t *length)
{
	int group = shape->heads / shape->kv_heads;

	if (!attention_check_shape(device, shape))
		return;
	cuda_wrote(device, out);
	if (group == 1)
		attend_wide<1>(device, shape, out, q, k_cache, v_cache, first, length);
	else if (group == 2)
		attend_wide<2>(device, shape, out, q, k_cache, v_cache, first, length);
	else
		attend_wide<BLOCK_HEADS>(device, shape, out, q, k_cache, v_cache, first,
		                         length);
}
