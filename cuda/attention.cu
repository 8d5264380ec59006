/*
 * attention.cu
 *		Attention: which body computes it, and that of a new token against a
 *		cache.
 */
#include "cuda/attention.h"

/* Columns of a head that one lane keeps, 32 apart. */
#define PARTS (HEAD_DIM_MAX / WARP)

static bool
check_shape(Device *device, const AttentionShape *shape)
{
	if (shape->head_dim <= HEAD_DIM_MAX)
		return true;
	cuda_fail(device, FAILURE_UNSUPPORTED,
	          "an attention head has more than 256 numbers, which a GPU does "
	          "not compute here",
	          NULL);
	return false;
}

/* DeBERTa's scores by distance stay in fp32. */
static bool
takes_tiles(const Device *device, const AttentionShape *shape)
{
	return device->products == DTYPE_BF16 && shape->relative == NULL;
}

void
cuda_attention(Device *device, const AttentionShape *shape, Tensor out,
               Tensor q, Tensor k, Tensor v, Tensor lse)
{
	if (shape->sequences == 0 || !check_shape(device, shape))
		return;
	cuda_wrote(device, out);
	cuda_wrote(device, lse);
	if (takes_tiles(device, shape))
		attention_tiles(device, shape, out, q, k, v, lse);
	else
		attention_plain(device, shape, out, q, k, v, lse);
}

/* One warp a head of a token. */
static __global__ void
__launch_bounds__(ATTENTION_THREADS)
	attention_delta_kernel(Tensor delta, Tensor dout, Tensor out, int head_dim)
{
	int64_t row = blockIdx.x;
	int head = (int) blockIdx.y * ATTENTION_WARPS + warp_number();
	int64_t column = (int64_t) head * head_dim;
	float sum = 0;

	if (head >= delta.cols)
		return;
	for (int d = warp_lane(); d < head_dim; d += WARP)
		sum += row_of(dout, row)[column + d] * row_of(out, row)[column + d];
	sum = warp_sum(sum);
	if (warp_lane() == 0)
		row_of(delta, row)[head] = sum;
}

void
cuda_attention_grad(Device *device, const AttentionShape *shape, Tensor dq,
                    Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor q,
                    Tensor k, Tensor v, Tensor lse)
{
	AttentionGrad grad = {dq, dk, dv, dout, q, k, v, lse, lse};

	if (shape->sequences == 0 || !check_shape(device, shape))
		return;
	cuda_wrote(device, dq);
	cuda_wrote(device, dk);
	cuda_wrote(device, dv);
	if (shape->relative != NULL)
	{
		cuda_wrote(device, shape->relative->dquery);
		cuda_wrote(device, shape->relative->dkey);
	}
	grad.delta.stride = shape->heads;
	grad.delta.data = cuda_scratch(
		device, SCRATCH_SUMS, (size_t) (q.rows * shape->heads) * sizeof(float));
	LAUNCH(device, attention_delta_kernel,
	       dim3((unsigned) q.rows, pieces_of(shape->heads, ATTENTION_WARPS)),
	       ATTENTION_THREADS, 0, grad.delta, dout, out, shape->head_dim);
	if (takes_tiles(device, shape))
		attention_tiles_grad(device, shape, &grad);
	else
		attention_plain_grad(device, shape, &grad);
}

/* --------------------------------------------------------------- a new token */

/* A softmax in the making, and the values it weighs: columns lane + 32 c. */
typedef struct Weighed
{
	float most;
	float sum;
	float value[PARTS];
} Weighed;

static __device__ __forceinline__ void
weigh(Weighed *all, float score, const float *value, int head_dim)
{
	float most = fmaxf(all->most, score);
	float keep = expf(all->most - most);
	float weight = expf(score - most);

	all->most = most;
	all->sum = all->sum * keep + weight;
#pragma unroll
	for (int c = 0; c < PARTS; c++)
		if (warp_lane() + c * WARP < head_dim)
			all->value[c] =
				all->value[c] * keep + weight * value[warp_lane() + c * WARP];
}

/*
 * A block is one query head of one row; each of its warps takes every fourth
 * key, and their sums are joined in their order.
 */
static __global__ void
__launch_bounds__(ATTENTION_THREADS)
	attention_cached_kernel(AttentionShape shape, Tensor out, Tensor q,
                            Tensor k_cache, Tensor v_cache,
                            const int32_t *first, const int32_t *length)
{
	SHARED(float, values, ATTENTION_WARPS *HEAD_DIM_MAX);
	SHARED(float, sums, ATTENTION_WARPS * 2);
	int64_t row = blockIdx.x;
	int head = (int) blockIdx.y;
	int head_dim = shape.head_dim;
	int lane = warp_lane();
	int warp = warp_number();
	int until = length[row];
	int from = seen_from(shape, until - 1);
	int64_t column = kv_column_of(shape, head);
	const float *query = row_of(q, row) + (int64_t) head * head_dim;
	Weighed all = {-INFINITY, 0, {}};

	for (int j = from + warp; j < until; j += ATTENTION_WARPS)
	{
		const float *key = row_of(k_cache, (int64_t) first[row] + j) + column;
		float score = 0;

		for (int d = lane; d < head_dim; d += WARP)
			score += query[d] * key[d];
		weigh(&all, warp_sum(score) * shape.scale,
		      row_of(v_cache, (int64_t) first[row] + j) + column, head_dim);
	}
	for (int d = lane; d < head_dim; d += WARP)
		values[warp * HEAD_DIM_MAX + d] = all.value[d / WARP];
	if (lane == 0)
	{
		sums[warp * 2] = all.most;
		sums[warp * 2 + 1] = all.sum;
	}
	__syncthreads();
	if (warp > 0)
		return;
	/* The first warp has a key at least, if anything is seen. */
	for (int w = 1; w < ATTENTION_WARPS; w++)
	{
		float most = sums[w * 2];
		float sum = sums[w * 2 + 1];
		float joint = fmaxf(all.most, most);
		float keep = expf(all.most - joint);
		float weight = sum > 0 ? expf(most - joint) : 0;

		if (!(sum > 0))
			continue;
		all.most = joint;
		all.sum = all.sum * keep + sum * weight;
#pragma unroll
		for (int c = 0; c < PARTS; c++)
			if (lane + c * WARP < head_dim)
				all.value[c] =
					all.value[c] * keep +
					weight * values[w * HEAD_DIM_MAX + lane + c * WARP];
	}
#pragma unroll
	for (int c = 0; c < PARTS; c++)
		if (lane + c * WARP < head_dim)
			row_of(out, row)[(int64_t) head * head_dim + lane + c * WARP] =
				all.value[c] / all.sum;
}

void
cuda_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                      Tensor q, Tensor k_cache, Tensor v_cache,
                      const int32_t *first, const int32_t *length)
{
	if (!check_shape(device, shape))
		return;
	cuda_wrote(device, out);
	LAUNCH(device, attention_cached_kernel,
	       dim3((unsigned) q.rows, (unsigned) shape->heads), ATTENTION_THREADS,
	       0, *shape, out, q, k_cache, v_cache, first, length);
}
