/*
 * norm.cu
 *		LayerNorm and RMSNorm, forward and backward.
 *
 * A row is read once, 16 bytes at a time, and stays in the registers of a warp
 * or, where it is longer, of a block; which of them is its length's to say
 * alone.  What is longer still or does not begin at multiples of 16 bytes is a
 * warp's, number by number.
 */
#include "cuda/rounded.h"
#include "cuda/sums.h"

#define NORM_THREADS 256
#define NORM_ROWS (NORM_THREADS / WARP)

/* Fours of numbers that a thread keeps of a row. */
#define FOURS 8
#define WARP_COLS (4 * FOURS * WARP)
#define BLOCK_COLS (4 * FOURS * NORM_THREADS)

/* A thread's part of a row: fours number thread, thread + threads, ... */
typedef struct Held
{
	float4 four[FOURS];
} Held;

/* The row that a warp or a block of so many threads works on, and which of
 * them this is. */
template <int threads>
static __device__ __forceinline__ int64_t
row_here(void)
{
	return threads == WARP ? (int64_t) blockIdx.x * NORM_ROWS + warp_number()
	                       : blockIdx.x;
}

template <int threads>
static __device__ __forceinline__ int
place_in_row(int i)
{
	return (int) threadIdx.x % threads + i * threads;
}

/* Zeros past the end of so many fours. */
template <int threads>
static __device__ __forceinline__ void
hold(Held *held, const float *row, int fours)
{
#pragma unroll
	for (int i = 0; i < FOURS; i++)
	{
		int at = place_in_row<threads>(i);

		held->four[i] = at < fours ? ((const float4 *) (const void *) row)[at]
		                           : float4{0, 0, 0, 0};
	}
}

/* The sum over the threads of a row, on each of them. */
template <int threads>
static __device__ __forceinline__ float
row_sum(float value)
{
	SHARED(float, parts, NORM_ROWS);
	float sum = 0;

	value = warp_sum(value);
	if (threads == WARP)
		return value;
	__syncthreads();
	if (warp_lane() == 0)
		parts[warp_number()] = value;
	__syncthreads();
#pragma unroll
	for (int w = 0; w < NORM_ROWS; w++)
		sum += parts[w];
	return sum;
}

/* Stores four numbers of a row and, rounded, of its copy. */
static __device__ __forceinline__ void
store_four(float *to, const RoundedCopy &copy, int64_t row, int at,
           const float4 &value)
{
	((float4 *) (void *) to)[at] = value;
	if (copy.data != NULL)
		*(uint2 *) (void *) (copy.data + row * copy.stride + 4 * at) =
			uint2{pack_bf16(value.x, value.y), pack_bf16(value.z, value.w)};
}

static __device__ __forceinline__ float
sum_of(const float4 &a)
{
	return a.x + a.y + (a.z + a.w);
}

static __device__ __forceinline__ float4
minus(const float4 &a, float b)
{
	return float4{a.x - b, a.y - b, a.z - b, a.w - b};
}

static __device__ __forceinline__ float4
times(const float4 &a, const float4 &b)
{
	return float4{a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}

/* a * b + c */
static __device__ __forceinline__ float4
scaled(const float4 &a, float b, const float4 &c)
{
	return float4{a.x * b + c.x, a.y * b + c.y, a.z * b + c.z, a.w * b + c.w};
}

template <int threads>
static __global__ void
__launch_bounds__(NORM_THREADS)
	norm_held_kernel(NormKind kind, float eps, Tensor out, RoundedCopy copy,
                     Tensor x, const float *weight, const float *bias,
                     Tensor stat)
{
	const float4 zeros = {0, 0, 0, 0};
	int64_t row = row_here<threads>();
	int fours = (int) x.cols / 4;
	float mean = 0;
	float squares = 0;
	float scale;
	Held held;
	Held factor;

	if (row >= x.rows)
		return;
	hold<threads>(&held, row_of(x, row), fours);
	hold<threads>(&factor, weight, fours);
	if (kind == NORM_LAYER)
	{
#pragma unroll
		for (int i = 0; i < FOURS; i++)
			mean += sum_of(held.four[i]);
		mean = row_sum<threads>(mean) / (float) x.cols;
	}
#pragma unroll
	for (int i = 0; i < FOURS; i++)
	{
		float4 apart = minus(held.four[i], mean);

		if (place_in_row<threads>(i) < fours)
			squares += sum_of(times(apart, apart));
	}
	scale = 1.0f / sqrtf(row_sum<threads>(squares) / (float) x.cols + eps);
#pragma unroll
	for (int i = 0; i < FOURS; i++)
	{
		int at = place_in_row<threads>(i);

		if (at < fours)
		{
			float4 more = bias == NULL
			                  ? zeros
			                  : ((const float4 *) (const void *) bias)[at];

			store_four(row_of(out, row), copy, row, at,
			           scaled(times(minus(held.four[i], mean), factor.four[i]),
			                  scale, more));
		}
	}
	if (place_in_row<threads>(0) < 2)
		row_of(stat, row)[place_in_row<threads>(0)] =
			place_in_row<threads>(0) == 0 ? mean : scale;
}

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

/* Can rows be held in registers? */
static bool
rows_are_held(const Tensor &x)
{
	return x.cols % 4 == 0 && x.cols <= BLOCK_COLS && rows_are_wide(x);
}

void
cuda_norm(Device *device, NormKind kind, float eps, Tensor out, Tensor x,
          Tensor weight, const Tensor *bias, Tensor stat)
{
	RoundedCopy copy = cuda_also_rounded(device, out);
	const float *biases = bias == NULL ? NULL : (const float *) bias->data;
	const float *weights = (const float *) weight.data;
	unsigned warps = pieces_of(x.rows, NORM_ROWS);
	bool is_wide = rows_are_held(x) && rows_are_held(out) &&
	               rows_are_wide(weight) &&
	               (bias == NULL || rows_are_wide(*bias));

	cuda_wrote(device, stat);
	if (!is_wide)
		LAUNCH(device, norm_kernel, dim3(warps), NORM_THREADS, 0, kind, eps,
		       out, copy, x, weights, biases, stat);
	else if (x.cols <= WARP_COLS)
		LAUNCH(device, norm_held_kernel<WARP>, dim3(warps), NORM_THREADS, 0,
		       kind, eps, out, copy, x, weights, biases, stat);
	else
		LAUNCH(device, norm_held_kernel<NORM_THREADS>, dim3((unsigned) x.rows),
		       NORM_THREADS, 0, kind, eps, out, copy, x, weights, biases, stat);
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

/* The same with rows in registers: g takes the place of dout in them, and
 * x - mean that of x. */
template <int threads>
static __global__ void
__launch_bounds__(NORM_THREADS)
	norm_grad_held_kernel(NormKind kind, Tensor dx, RoundedCopy copy,
                          float beta, Tensor dout, Tensor x,
                          const float *weight, Tensor stat)
{
	const float4 *factor = (const float4 *) (const void *) weight;
	int64_t row = row_here<threads>();
	int fours = (int) x.cols / 4;
	float mean;
	float scale;
	float along = 0;
	float total = 0;
	Held g;
	Held apart;

	if (row >= x.rows)
		return;
	hold<threads>(&g, row_of(dout, row), fours);
	hold<threads>(&apart, row_of(x, row), fours);
	mean = row_of(stat, row)[0];
	scale = row_of(stat, row)[1];
#pragma unroll
	for (int i = 0; i < FOURS; i++)
	{
		int at = place_in_row<threads>(i);

		if (at < fours)
			g.four[i] = times(g.four[i], factor[at]);
		apart.four[i] = minus(apart.four[i], mean);
		along += sum_of(times(g.four[i], apart.four[i]));
		total += sum_of(g.four[i]);
	}
	along = row_sum<threads>(along) * scale / (float) x.cols;
	total = row_sum<threads>(total) / (float) x.cols;
	if (kind != NORM_LAYER)
		total = 0;
#pragma unroll
	for (int i = 0; i < FOURS; i++)
	{
		int at = place_in_row<threads>(i);
		float4 *to = (float4 *) (void *) row_of(dx, row) + at;
		float4 change =
			minus(scaled(apart.four[i], -scale * along, g.four[i]), total);

		if (at < fours)
			store_four(row_of(dx, row), copy, row, at,
			           scaled(change, scale,
			                  beta == 0
			                      ? float4{0, 0, 0, 0}
			                      : scaled(*to, beta, float4{0, 0, 0, 0})));
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
	const float *weights = (const float *) weight.data;
	unsigned warps = pieces_of(x.rows, NORM_ROWS);
	bool is_wide = rows_are_held(x) && rows_are_held(dx) &&
	               rows_are_held(dout) && rows_are_wide(weight);

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
	if (!is_wide)
		LAUNCH(device, norm_grad_kernel, dim3(warps), NORM_THREADS, 0, kind, dx,
		       copy, beta, dout, x, weights, stat);
	else if (x.cols <= WARP_COLS)
		LAUNCH(device, norm_grad_held_kernel<WARP>, dim3(warps), NORM_THREADS,
		       0, kind, dx, copy, beta, dout, x, weights, stat);
	else
		LAUNCH(device, norm_grad_held_kernel<NORM_THREADS>,
		       dim3((unsigned) x.rows), NORM_THREADS, 0, kind, dx, copy, beta,
		       dout, x, weights, stat);
}
