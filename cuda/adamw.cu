/*
 * adamw.cu
 *		The optimiser's pass over a parameter, and the gradient's norm.
 */
#include "cuda/sums.h"

extern "C"
{
#include "base/dynamic8.h"
#include "device/adamw.h"
}

/* Numbers of a block, for the sum of squares and for a step. */
#define SQUARES_PIECE (64 * SUM_THREADS)
#define STEP_PIECE (4 * ELEMENT_THREADS)

static __global__ void
__launch_bounds__(SUM_THREADS)
	square_parts_kernel(double *parts, const float *x, int64_t n)
{
	int64_t first = (int64_t) blockIdx.x * SQUARES_PIECE;
	int64_t last = first + SQUARES_PIECE < n ? first + SQUARES_PIECE : n;
	double sum = 0;

	for (int64_t i = first + threadIdx.x; i < last; i += SUM_THREADS)
		sum += (double) x[i] * (double) x[i];
	sum = block_sum(sum);
	if (threadIdx.x == 0)
		parts[blockIdx.x] = sum;
}

static __global__ void
__launch_bounds__(SUM_THREADS)
	add_squares_kernel(double *sum, const double *parts, int64_t count)
{
	double mine = 0;

	for (int64_t i = threadIdx.x; i < count; i += SUM_THREADS)
		mine += parts[i];
	mine = block_sum(mine);
	if (threadIdx.x == 0)
		*sum += mine;
}

void
cuda_add_squares(Device *device, double *sum, Tensor x)
{
	unsigned count = pieces_of(x.cols, SQUARES_PIECE);
	double *parts;

	if (count == 0)
		return;
	cuda_wrote_bytes(device, sum, sizeof(*sum));
	parts =
		(double *) cuda_scratch(device, SCRATCH_SUMS, count * sizeof(double));
	LAUNCH(device, square_parts_kernel, dim3(count), SUM_THREADS, 0, parts,
	       (const float *) x.data, x.cols);
	LAUNCH(device, add_squares_kernel, dim3(1), SUM_THREADS, 0, sum, parts,
	       (int64_t) count);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	adamw_kernel(AdamWFactors s, float *p, const float *g, float *m, float *v,
                 int64_t n)
{
	int64_t first = (int64_t) blockIdx.x * STEP_PIECE + threadIdx.x;

#pragma unroll
	for (int c = 0; c < STEP_PIECE / ELEMENT_THREADS; c++)
	{
		int64_t i = first + c * ELEMENT_THREADS;
		float moment;
		float square;

		if (i >= n)
			return;
		moment = m[i];
		square = v[i];
		p[i] = adamw_number(&s, p[i], g[i], &moment, &square);
		m[i] = moment;
		v[i] = square;
	}
}

void
cuda_adamw(Device *device, const AdamW *settings, Tensor parameter,
           Tensor gradient, Tensor m, Tensor v)
{
	cuda_wrote(device, parameter);
	cuda_wrote(device, m);
	cuda_wrote(device, v);
	LAUNCH(device, adamw_kernel, dim3(pieces_of(parameter.cols, STEP_PIECE)),
	       ELEMENT_THREADS, 0, adamw_factors(settings),
	       (float *) parameter.data, (const float *) gradient.data,
	       (float *) m.data, (float *) v.data, parameter.cols);
}

/* ------------------------------------------------------- moments as bytes */

/* Blocks of threads on a multiprocessor, each with the levels to itself. */
#define CODED_BLOCKS 8

/* What finds the codes of moments and squares. */
typedef struct CodedSearch
{
	Dynamic8Search moment;
	Dynamic8Search square;
} CodedSearch;

/* The larger of each over the block, for all of its threads. */
static __device__ __forceinline__ void
block_largest(float *a, float *b)
{
	SHARED(float, parts, 2 * SUM_WARPS);

	*a = warp_max(*a);
	*b = warp_max(*b);
	/* The block before may still be read. */
	__syncthreads();
	if (warp_lane() == 0)
	{
		parts[2 * warp_number()] = *a;
		parts[2 * warp_number() + 1] = *b;
	}
	__syncthreads();
	for (int w = 0; w < SUM_WARPS; w++)
	{
		*a = fmaxf(*a, parts[2 * w]);
		*b = fmaxf(*b, parts[2 * w + 1]);
	}
}

/* A thread for each number of a block of them; levels: of moments, then of
 * squares. */
static __global__ void
__launch_bounds__(DYNAMIC8_BLOCK)
	adamw_coded_kernel(AdamWFactors s, CodedSearch search, const float *levels,
                       float *p, const float *g, Coded m, Coded v, int64_t n)
{
	SHARED(float, level, 2 * 256);
	int64_t blocks = (n + DYNAMIC8_BLOCK - 1) / DYNAMIC8_BLOCK;

	for (int i = (int) threadIdx.x; i < 2 * 256; i += DYNAMIC8_BLOCK)
		level[i] = levels[i];
	__syncthreads();
	for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x)
	{
		int64_t i = block * DYNAMIC8_BLOCK + threadIdx.x;
		float moment = 0;
		float square = 0;
		float most_moment;
		float most_square;

		if (i < n)
		{
			moment = level[m.code[i]] * m.scale[block];
			square = level[256 + v.code[i]] * v.scale[block];
			p[i] = adamw_number(&s, p[i], g[i], &moment, &square);
		}
		most_moment = fabsf(moment);
		most_square = square;
		block_largest(&most_moment, &most_square);
		most_moment = dynamic8_scale(most_moment);
		most_square = dynamic8_scale(most_square);
		if (threadIdx.x == 0)
		{
			m.scale[block] = most_moment;
			v.scale[block] = most_square;
		}
		if (i >= n)
			continue;
		m.code[i] = (uint8_t) dynamic8_signed_code(
			moment,
			dynamic8_nearest(&search.moment,
		                     fabsf(moment) * dynamic8_inverse(most_moment)));
		v.code[i] = (uint8_t) dynamic8_square_code(
			square, dynamic8_nearest(&search.square,
		                             square * dynamic8_inverse(most_square)));
	}
}

void
cuda_adamw_coded(Device *device, const AdamW *settings, Tensor parameter,
                 Tensor gradient, Coded m, Coded v)
{
	const CudaDevice *cuda = cuda_of(device);
	CodedSearch search = {dynamic8_signed.search, dynamic8_square.search};
	unsigned blocks = pieces_of(parameter.cols, DYNAMIC8_BLOCK);
	unsigned most = (unsigned) cuda->processors * CODED_BLOCKS;

	cuda_wrote(device, parameter);
	LAUNCH(device, adamw_coded_kernel, dim3(blocks < most ? blocks : most),
	       DYNAMIC8_BLOCK, 0, adamw_factors(settings), search,
	       cuda->moment_levels, (float *) parameter.data,
	       (const float *) gradient.data, m, v, parameter.cols);
}
