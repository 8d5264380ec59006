/*
 * logprob.cu
 *		Log-probabilities of chosen tokens from logits, and their gradient: a
 *		block for each row.
 */
#include "cuda/rounded.h"
#include "cuda/sums.h"

/* The largest number of the block's threads, for all of them. */
static __device__ __forceinline__ float
block_max(float value)
{
	SHARED(float, parts, SUM_WARPS);
	float most;

	value = warp_max(value);
	if (warp_lane() == 0)
		parts[warp_number()] = value;
	__syncthreads();
	most = parts[0];
	for (int w = 1; w < SUM_WARPS; w++)
		most = fmaxf(most, parts[w]);
	return most;
}

static __global__ void
__launch_bounds__(SUM_THREADS)
	logprob_kernel(float *logp, float *lse, Tensor logits,
                   const int32_t *target)
{
	const float *row = row_of(logits, blockIdx.x);
	float most = -INFINITY;
	double sum = 0;

	for (int64_t j = threadIdx.x; j < logits.cols; j += SUM_THREADS)
		most = fmaxf(most, row[j]);
	most = block_max(most);
	/* Groups of eight in fp32, their sums in double. */
	for (int64_t j = threadIdx.x; j < logits.cols; j += 8 * SUM_THREADS)
	{
		float part = 0;

		for (int i = 0; i < 8; i++)
			if (j + i * SUM_THREADS < logits.cols)
				part += expf(row[j + i * SUM_THREADS] - most);
		sum += part;
	}
	sum = block_sum(sum);
	if (threadIdx.x > 0)
		return;
	sum = log(sum);
	lse[blockIdx.x] = (float) (most + sum);
	logp[blockIdx.x] = (float) ((double) row[target[blockIdx.x]] - most - sum);
}

void
cuda_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
             const int32_t *target)
{
	cuda_wrote(device, logp);
	cuda_wrote(device, lse);
	LAUNCH(device, logprob_kernel, dim3((unsigned) logits.rows), SUM_THREADS, 0,
	       (float *) logp.data, (float *) lse.data, logits, target);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	logprob_grad_kernel(Tensor logits, RoundedCopy copy, const float *lse,
                        const int32_t *target, const float *coefficient)
{
	int64_t row = blockIdx.x;
	int64_t j = column();
	float *at = row_of(logits, row) + j;
	float value;

	if (j >= logits.cols)
		return;
	value = -coefficient[row] * expf(*at - lse[row]);
	store_both(row_of(logits, row), copy, row, j,
	           j == target[row] ? value + coefficient[row] : value);
}

void
cuda_logprob_grad(Device *device, Tensor logits, Tensor lse,
                  const int32_t *target, Tensor coefficient)
{
	RoundedCopy copy = cuda_also_rounded(device, logits);

	LAUNCH(device, logprob_grad_kernel, grid_of(logits), ELEMENT_THREADS, 0,
	       logits, copy, (const float *) lse.data, target,
	       (const float *) coefficient.data);
}
