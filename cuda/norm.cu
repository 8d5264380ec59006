/*
 * norm.cu
 *		LayerNorm and RMSNorm, forward and backward: a warp for each row.
 */
#include "cuda/rounded.h"
#include "cuda/sums.h"

#define NORM_THREADS 256
#define NORM_ROWS (NORM_THREADS / WARP)

static __global__ void
__launch_bounds__(NORM_THREADS)
	norm_kernel(NormKind kind, float eps, Tensor out, RoundedCopy copy,
                Tensor x, const float *weight, const float *bias, Tensor stat)
{
	int64_t row = (int64_t) blockIdx.x * NORM_ROWS + warp_number();
	const float *from = row_of(x, row);
	float *to = row_of(out, row);
	float mean = 0;
	float squares = 0;
	float scale;

	if (row >= x.rows)
		return;
	if (kind == NORM_LAYER)
	{
		for (int64_t j = warp_lane(); j < x.cols; j += WARP)
			mean += from[j];
		mean = warp_sum(mean) / (float) x.cols;
	}
	for (int64_t j = warp_lane(); j < x.cols; j += WARP)
		squares += (from[j] - mean) * (from[j] - mean);
	scale = 1.0f / sqrtf(warp_sum(squares) / (float) x.cols + eps);
	for (int64_t j = warp_lane(); j < x.cols; j += WARP)
		store_both(to, copy, row, j,
		           (from[j] - mean) * scale * weight[j] +
		               (bias == NULL ? 0 : bias[j]));
	if (warp_lane() < 2)
		row_of(stat, row)[warp_lane()] = warp_lane() == 0 ? mean : scale;
}

void
cuda_norm(Device *device, NormKind kind, float eps, Tensor out, Tensor x,
          Tensor weight, const Tensor *bias, Tensor stat)
{
	RoundedCopy copy = cuda_also_rounded(device, out);

	cuda_wrote(device, stat);
	LAUNCH(device, norm_kernel, dim3(pieces_of(x.rows, NORM_ROWS)),
	       NORM_THREADS, 0, kind, eps, out, copy, x,
	       (const float *) weight.data,
	       bias == NULL ? NULL : (const float *) bias->data, stat);
}

/*
 * With z = (x - mean) * scale and g = dout * weight:
 * dx = scale * (g - z * mean(g z) [- mean(g) for LayerNorm]).
 */
static __global__ void
__launch_bounds__(NORM_THREADS)
	norm_grad_kernel(NormKind kind, Tensor dx, RoundedCopy copy, float beta,
                     Tensor dout, Tensor x, const float *weight, Tensor stat)
{
	int64_t row = (int64_t) blockIdx.x * NORM_ROWS + warp_number();
	const float *d = row_of(dout, row);
	const float *from = row_of(x, row);
	float *to = row_of(dx, row);
	float mean;
	float scale;
	float along = 0;
	float total = 0;

	if (row >= x.rows)
		return;
	mean = row_of(stat, row)[0];
	scale = row_of(stat, row)[1];
	for (int64_t j = warp_lane(); j < x.cols; j += WARP)
	{
		float g = d[j] * weight[j];

		along += g * (from[j] - mean);
		total += g;
	}
	along = warp_sum(along) * scale / (float) x.cols;
	total = warp_sum(total) / (float) x.cols;
	if (kind != NORM_LAYER)
		total = 0;
	for (int64_t j = warp_lane(); j < x.cols; j += WARP)
	{
		float change = scale * (d[j] * weight[j] -
		                        (from[j] - mean) * scale * along - total);

		store_both(to, copy, row, j,
		           beta == 0 ? change : beta * to[j] + change);
	}
}

/* What a row adds to the gradient of the weights. */
struct NormWeightGrad
{
	Tensor dout;
	Tensor x;
	Tensor stat;

	__device__ __forceinline__ float
	at(int64_t row, int64_t col) const
	{
		const float *s = row_of(stat, row);

		return row_of(dout, row)[col] * (row_of(x, row)[col] - s[0]) * s[1];
	}
};

void
cuda_norm_grad(Device *device, NormKind kind, Tensor dx, float beta,
               const Tensor *dweight, const Tensor *dbias, Tensor dout,
               Tensor x, Tensor weight, Tensor stat)
{
	RoundedCopy copy = cuda_also_rounded(device, dx);

	if (dweight != NULL)
		cuda_wrote(device, *dweight);
	if (dbias != NULL)
		cuda_wrote(device, *dbias);
	/* Before dx is written, which may be dout. */
	if (dweight != NULL)
		add_column_sums(device, (float *) dweight->data,
		                NormWeightGrad{dout, x, stat}, x.rows, x.cols);
	if (dweight != NULL && dbias != NULL)
		add_column_sums(device, (float *) dbias->data, NumberOf{dout}, x.rows,
		                x.cols);
	LAUNCH(device, norm_grad_kernel, dim3(pieces_of(x.rows, NORM_ROWS)),
	       NORM_THREADS, 0, kind, dx, copy, beta, dout, x,
	       (const float *) weight.data, stat);
}
