/*
 * matmul_few.cu
 *		Products of the few rows of token-by-token generation: weights are
 *		read once, as they are stored, which is all the time that it takes.
 *
 * A warp computes four columns of out: each lane has eight numbers of each of
 * their weights on its way at once.  Where columns are few, warps share them
 * and their sums are joined in order.
 */
#include "cuda/matmul.h"

#define FEW_THREADS 128
#define FEW_WARPS (FEW_THREADS / WARP)

/* Columns of a warp, and numbers of each that a lane reads in a step. */
#define COLUMNS 4
#define EACH STORED_EIGHT
#define STEP (WARP * EACH)

/* Bodies with registers to spare: of them more blocks run at once, and two
 * steps. */
template <DType dtype, int most>
constexpr bool is_light = most == 1 && dtype <= DTYPE_BF16;

/* Warps that keep a GPU busy. */
#define WARPS_WANTED 4096

static_assert(COLUMNS * CUDA_FEW_ROWS == WARP, "a lane has one sum to store");

/* Factors of a product, rounded to bf16 if it is one of bf16. */
template <bool rounds>
static __device__ __forceinline__ void
round_factors(float x[EACH])
{
	if (rounds)
#pragma unroll
		for (int e = 0; e < EACH; e += 2)
		{
			uint32_t both = pack_bf16(x[e], x[e + 1]);

			x[e] = low_bf16(both);
			x[e + 1] = high_bf16(both);
		}
}

static __device__ __forceinline__ void
read_floats(float to[EACH], const void *from)
{
#pragma unroll
	for (int e = 0; e < EACH; e += 4)
	{
		float4 four = ((const float4 *) from)[e / 4];

		to[e] = four.x;
		to[e + 1] = four.y;
		to[e + 2] = four.z;
		to[e + 3] = four.w;
	}
}

template <DType dtype>
static __device__ __forceinline__ void
read_halves(float to[EACH], const void *from)
{
	uint4 all = *(const uint4 *) from;
	const uint32_t words[EACH / 2] = {all.x, all.y, all.z, all.w};

#pragma unroll
	for (int e = 0; e < EACH; e += 2)
	{
		uint32_t both = words[e / 2];

		to[e] = dtype == DTYPE_BF16 ? low_bf16(both)
		                            : fp16_to_float((uint16_t) both);
		to[e + 1] = dtype == DTYPE_BF16
		                ? high_bf16(both)
		                : fp16_to_float((uint16_t) (both >> 16));
	}
}

/*
 * A lane's numbers of a row, of the step whose first one is number `step`:
 * neighbours if they are read 16 bytes at a time, else one in each 32, zeros
 * past the end.
 */
template <DType dtype, bool is_wide>
static __device__ __forceinline__ void
read_stored(float to[EACH], const Tensor &x, int64_t row, int64_t step,
            const float *nf4_tables)
{
	int64_t first = row * x.stride + step + warp_lane() * EACH;

	if (is_wide && dtype == DTYPE_F32)
		read_floats(to, (const float *) x.data + first);
	else if (is_wide && dtype > DTYPE_BF16)
		stored_eight(to, x, first, nf4_tables);
	else if (is_wide)
		read_halves<dtype>(to, (const uint16_t *) x.data + first);
	else
#pragma unroll
		for (int e = 0; e < EACH; e++)
		{
			int64_t d = step + e * WARP + warp_lane();

			to[e] = d < x.cols
			            ? stored_number(x, row * x.stride + d, nf4_tables)
			            : 0;
		}
}

/* The sums over the warp of so many numbers: lane l receives that of number
 * l % count.  Each is the same tree of lanes, whatever the count. */
template <int count>
static __device__ __forceinline__ float
sum_apart(float value[count])
{
#pragma unroll
	for (int bits = WARP / 2; bits >= count; bits /= 2)
#pragma unroll
		for (int i = 0; i < count; i++)
			value[i] += __shfl_xor_sync(ALL_LANES, value[i], bits);
#pragma unroll
	for (int bits = count / 2; bits > 0; bits /= 2)
#pragma unroll
		for (int i = 0; i < bits; i++)
		{
			bool is_upper = (warp_lane() & bits) != 0;
			float kept = is_upper ? value[i + bits] : value[i];
			float given = is_upper ? value[i] : value[i + bits];

			value[i] = kept + __shfl_xor_sync(ALL_LANES, given, bits);
		}
	return value[0];
}

/* sum[i * COLUMNS + c] += this lane's numbers of row i of x times those of
 * columns [first, first + COLUMNS), of every ways-th step. */
template <DType dtype, bool rounds, bool is_wide, int most>
static __device__ __forceinline__ void
add_products(float sum[most * COLUMNS], int rows, const Tensor &x,
             const Tensor &w, int64_t first, int way, int ways,
             const float *nf4_tables)
{
#pragma unroll(is_light <dtype, most> ? 2 : 1)
	for (int64_t step = (int64_t) way * STEP; step < x.cols;
	     step += (int64_t) ways * STEP)
	{
		float weight[COLUMNS][EACH];

		/* Columns past the last are the last again. */
		if (is_wide && step + warp_lane() * EACH >= x.cols)
			break;
#pragma unroll
		for (int c = 0; c < COLUMNS; c++)
			read_stored<dtype, is_wide>(
				weight[c], w, first + c < w.rows ? first + c : w.rows - 1, step,
				nf4_tables);
#pragma unroll
		for (int c = 0; c < COLUMNS; c++)
			round_factors<rounds && dtype != DTYPE_BF16>(weight[c]);
#pragma unroll
		for (int i = 0; i < most; i++)
			if (most == 1 || i < rows)
			{
				float factor[EACH];

				read_stored<DTYPE_F32, is_wide>(factor, x, i, step, NULL);
				round_factors<rounds>(factor);
#pragma unroll
				for (int e = 0; e < EACH; e++)
#pragma unroll
					for (int c = 0; c < COLUMNS; c++)
						sum[i * COLUMNS + c] += factor[e] * weight[c][e];
			}
	}
}

/* So many neighbouring warps compute the same columns, of at most so many
 * rows. */
template <DType dtype, bool rounds, bool is_wide, int most>
static __global__ void
__launch_bounds__(FEW_THREADS, (is_light<dtype, most> ? 6 : 4))
	multiply_few_kernel(Tensor out, Tensor x, Tensor w, const float *bias,
                        float beta, int ways, const float *nf4_tables)
{
	SHARED(float, parts, FEW_THREADS);
	int64_t warp = (int64_t) blockIdx.x * FEW_WARPS + warp_number();
	int way = warp_number() % ways;
	int row = warp_lane() / COLUMNS;
	int64_t first = warp / ways * COLUMNS;
	int64_t n = first + warp_lane() % COLUMNS;
	float sum[most * COLUMNS] = {};
	float total;
	float *at;

	/* Constants: the compiler keeps one way of reading. */
	w.dtype = dtype;
	x.dtype = DTYPE_F32;
	add_products<dtype, rounds, is_wide, most>(sum, (int) out.rows, x, w, first,
	                                           way, ways, nf4_tables);
	total = sum_apart<most * COLUMNS>(sum);
	parts[threadIdx.x] = total;
	__syncthreads();
	if (way > 0 || row >= out.rows || n >= out.cols)
		return;
	for (int i = 1; i < ways; i++)
		total += parts[threadIdx.x + i * WARP];
	at = row_of(out, row) + n;
	if (beta != 0)
		total += beta * *at;
	*at = bias == NULL ? total : total + bias[n];
}

/* How many warps share columns: by the shape of the weights alone. */
static int
ways_of(const Tensor &w)
{
	int64_t warps = pieces_of(w.rows, COLUMNS);
	int64_t steps = pieces_of(w.cols, STEP);
	int ways = 1;

	while (ways < FEW_WARPS && ways < steps && warps * ways < WARPS_WANTED)
		ways *= 2;
	return ways;
}

template <DType dtype, bool rounds, bool is_wide, int most>
static void
multiply_as(Device *device, Tensor out, Tensor x, const Tensor &w,
            const float *bias, float beta)
{
	int ways = ways_of(w);
	int64_t warps = (int64_t) pieces_of(w.rows, COLUMNS) * ways;

	LAUNCH(device, (multiply_few_kernel<dtype, rounds, is_wide, most>),
	       dim3(out.rows == 0 ? 0 : pieces_of(warps, FEW_WARPS)), FEW_THREADS,
	       0, out, x, w, bias, beta, ways, cuda_of(device)->nf4_tables);
}

/* Are there eight numbers to read at a time, of weights and of x? */
static bool
can_be_wide(const Tensor &x, const Tensor &w)
{
	size_t bytes = dtype_bytes(w.dtype, dtype_block(w.dtype));

	return w.cols % EACH == 0 && w.stride % EACH == 0 && rows_are_wide(x) &&
	       (dtype_block(w.dtype) > 1 || ((uintptr_t) w.data % 16 == 0 &&
	                                     (size_t) w.stride * bytes % 16 == 0));
}

template <DType dtype, bool rounds>
static void
multiply_rounded(Device *device, Tensor out, Tensor x, const Tensor &w,
                 const float *bias, float beta)
{
	if (!can_be_wide(x, w))
		multiply_as<dtype, rounds, false, CUDA_FEW_ROWS>(device, out, x, w,
		                                                 bias, beta);
	else if (out.rows > 1)
		multiply_as<dtype, rounds, true, CUDA_FEW_ROWS>(device, out, x, w, bias,
		                                                beta);
	else
		multiply_as<dtype, rounds, true, 1>(device, out, x, w, bias, beta);
}

template <DType dtype>
static void
multiply_few(Device *device, Tensor out, Tensor x, const Tensor &w,
             const float *bias, float beta)
{
	if (device->products == DTYPE_BF16)
		multiply_rounded<dtype, true>(device, out, x, w, bias, beta);
	else
		multiply_rounded<dtype, false>(device, out, x, w, bias, beta);
}

void
cuda_multiply_few(Device *device, Tensor out, Tensor x, const Tensor &w,
                  const float *bias, float beta)
{
	switch (w.dtype)
	{
		case DTYPE_F32:
			return multiply_few<DTYPE_F32>(device, out, x, w, bias, beta);
		case DTYPE_F16:
			return multiply_few<DTYPE_F16>(device, out, x, w, bias, beta);
		case DTYPE_BF16:
			return multiply_few<DTYPE_BF16>(device, out, x, w, bias, beta);
		case DTYPE_Q8_0:
			return multiply_few<DTYPE_Q8_0>(device, out, x, w, bias, beta);
		case DTYPE_Q4_0:
			return multiply_few<DTYPE_Q4_0>(device, out, x, w, bias, beta);
		case DTYPE_Q4_1:
			return multiply_few<DTYPE_Q4_1>(device, out, x, w, bias, beta);
		case DTYPE_Q5_0:
			return multiply_few<DTYPE_Q5_0>(device, out, x, w, bias, beta);
		case DTYPE_Q5_1:
			return multiply_few<DTYPE_Q5_1>(device, out, x, w, bias, beta);
		case DTYPE_Q4_K:
			return multiply_few<DTYPE_Q4_K>(device, out, x, w, bias, beta);
		case DTYPE_Q5_K:
			return multiply_few<DTYPE_Q5_K>(device, out, x, w, bias, beta);
		case DTYPE_Q6_K:
			return multiply_few<DTYPE_Q6_K>(device, out, x, w, bias, beta);
		case DTYPE_NF4:
			return multiply_few<DTYPE_NF4>(device, out, x, w, bias, beta);
		case DTYPE_NF4_DOUBLE:
			return multiply_few<DTYPE_NF4_DOUBLE>(device, out, x, w, bias,
			                                      beta);
		case DTYPE_OTHER:
			break;
	}
	cuda_fail(device, FAILURE_INTERNAL, "weights of no known type", NULL);
}
