/*
 * attention.cu
 *		Attention: which body computes it.
 */
#include "cuda/attention.h"

bool
attention_check_shape(Device *device, const AttentionShape *shape)
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
	if (shape->sequences == 0 || !attention_check_shape(device, shape))
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

	if (shape->sequences == 0 || !attention_check_shape(device, shape))
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
