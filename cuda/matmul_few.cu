/*
 * matmul_few.cu
 *		Products of the few rows of token-by-token generation: weights are
 *		read once, as they are stored, which is all the time that it takes.
 */
#include "cuda/matmul.h"

#define FEW_THREADS 256
#define FEW_WARPS (FEW_THREADS / WARP)

/* A factor of a bf16 product. */
template <bool rounds>
static __device__ __forceinline__ float
factor_of(float x)
{
	return rounds ? low_bf16(pack_bf16(x, 0)) : x;
}

/* Each warp computes one column of out: its lanes read a row of W together. */
template <DType dtype, bool rounds>
static __global__ void
__launch_bounds__(FEW_THREADS, 2)
	multiply_few_kernel(Tensor out, Tensor x, Tensor w, float beta,
                        const float *nf4_tables)
{
	int64_t n = (int64_t) blockIdx.x * FEW_WARPS + warp_number();
	float sum[CUDA_FEW_ROWS] = {};

	if (n >= out.cols)
		return;
	/* A constant: the compiler keeps one way of reading. */
	w.dtype = dtype;
	for (int64_t d = warp_lane(); d < x.cols; d += WARP)
	{
		float weight =
			factor_of<rounds>(stored_number(w, n * w.stride + d, nf4_tables));

#pragma unroll
		for (int i = 0; i < CUDA_FEW_ROWS; i++)
			if (i < out.rows)
				sum[i] += factor_of<rounds>(row_of(x, i)[d]) * weight;
	}
#pragma unroll
	for (int i = 0; i < CUDA_FEW_ROWS; i++)
		if (i < out.rows)
		{
			float *at = row_of(out, i) + n;
			float total = warp_sum(sum[i]);

			if (warp_lane() == 0)
				*at = beta == 0 ? total : beta * *at + total;
		}
}

template <DType dtype>
static void
multiply_few(Device *device, Tensor out, Tensor x, const Tensor &w, float beta)
{
	const float *tables = cuda_of(device)->nf4_tables;
	dim3 grid(out.rows == 0 ? 0 : pieces_of(out.cols, FEW_WARPS));

	if (device->products == DTYPE_BF16)
		LAUNCH(device, (multiply_few_kernel<dtype, true>), grid, FEW_THREADS, 0,
		       out, x, w, beta, tables);
	else
		LAUNCH(device, (multiply_few_kernel<dtype, false>), grid, FEW_THREADS,
		       0, out, x, w, beta, tables);
}

void
cuda_multiply_few(Device *device, Tensor out, Tensor x, const Tensor &w,
                  float beta)
{
	switch (w.dtype)
	{
		case DTYPE_F32:
			return multiply_few<DTYPE_F32>(device, out, x, w, beta);
		case DTYPE_F16:
			return multiply_few<DTYPE_F16>(device, out, x, w, beta);
		case DTYPE_BF16:
			return multiply_few<DTYPE_BF16>(device, out, x, w, beta);
		case DTYPE_Q8_0:
			return multiply_few<DTYPE_Q8_0>(device, out, x, w, beta);
		case DTYPE_Q4_0:
			return multiply_few<DTYPE_Q4_0>(device, out, x, w, beta);
		case DTYPE_Q4_1:
			return multiply_few<DTYPE_Q4_1>(device, out, x, w, beta);
		case DTYPE_Q5_0:
			return multiply_few<DTYPE_Q5_0>(device, out, x, w, beta);
		case DTYPE_Q5_1:
			return multiply_few<DTYPE_Q5_1>(device, out, x, w, beta);
		case DTYPE_Q4_K:
			return multiply_few<DTYPE_Q4_K>(device, out, x, w, beta);
		case DTYPE_Q5_K:
			return multiply_few<DTYPE_Q5_K>(device, out, x, w, beta);
		case DTYPE_Q6_K:
			return multiply_few<DTYPE_Q6_K>(device, out, x, w, beta);
		case DTYPE_NF4:
			return multiply_few<DTYPE_NF4>(device, out, x, w, beta);
		case DTYPE_NF4_DOUBLE:
			return multiply_few<DTYPE_NF4_DOUBLE>(device, out, x, w, beta);
		case DTYPE_OTHER:
			break;
	}
	cuda_fail(device, FAILURE_INTERNAL, "weights of no known type", NULL);
}
