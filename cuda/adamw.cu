/*
 * adamw.cu
 *		The optimiser's pass over a parameter, and the gradient's norm.
 */
#include "cuda/sums.h"

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
	parts =
		(double *) cuda_scratch(device, SCRATCH_SUMS, count * sizeof(double));
	LAUNCH(device, square_parts_kernel, dim3(count), SUM_THREADS, 0, parts,
	       (const float *) x.data, x.cols);
	LAUNCH(device, add_squares_kernel, dim3(1), SUM_THREADS, 0, sum, parts,
	       (int64_t) count);
}

/* What the numbers of a step have in common. */
typedef struct AdamWFactors
{
	float keep;
	float step;
	float root;
	float beta1, rest1;
	float beta2, rest2;
	float eps;
	float gradient_scale;
} AdamWFactors;

/* torch.optim.AdamW: decay first, then the bias-corrected step. */
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
		float gradient;
		float moment;
		float square;

		if (i >= n)
			return;
		gradient = g[i] * s.gradient_scale;
		moment = s.beta1 * m[i] + s.rest1 * gradient;
		square = s.beta2 * v[i] + s.rest2 * gradient * gradient;
		m[i] = moment;
		v[i] = square;
		p[i] =
			s.keep * p[i] - s.step * moment / (sqrtf(square) * s.root + s.eps);
	}
}

void
cuda_adamw(Device *device, const AdamW *settings, Tensor parameter,
           Tensor gradient, Tensor m, Tensor v)
{
	AdamWFactors factors = {
		1.0f - settings->learning_rate * settings->weight_decay,
		settings->learning_rate / settings->correction1,
		1.0f / sqrtf(settings->correction2),
		(float) settings->beta1,
		(float) (1 - settings->beta1),
		(float) settings->beta2,
		(float) (1 - settings->beta2),
		settings->eps,
		settings->gradient_scale,
	};

	LAUNCH(device, adamw_kernel, dim3(pieces_of(parameter.cols, STEP_PIECE)),
	       ELEMENT_THREADS, 0, factors, (float *) parameter.data,
	       (const float *) gradient.data, (float *) m.data, (float *) v.data,
	       parameter.cols);
}
