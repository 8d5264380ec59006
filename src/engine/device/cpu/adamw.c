/*
 * adamw.c
 *		The optimiser's pass over a parameter, and the gradient's norm.
 */
#include "base/dynamic8.h"
#include "device/adamw.h"
#include "device/cpu/cpu.h"

/* Pieces of fixed size: the order of sums does not depend on threads. */
#define PIECE 4096

CPU_KERNEL static double
sum_squares(const float *x, int64_t n)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int64_t i = 0; i < n; i++)
		sum += (double) x[i] * (double) x[i];
	return sum;
}

void
cpu_add_squares(Device *device, double *sum, Tensor x)
{
	int64_t pieces = (x.cols + PIECE - 1) / PIECE;
	double *parts =
		(double *) (void *) cpu_scratch(device, 2 * (size_t) pieces + 2);

	if (parts == NULL)
		return;
#pragma omp parallel for schedule(static) if (x.cols > CPU_PARALLEL_MIN)
	for (int64_t p = 0; p < pieces; p++)
	{
		int64_t first = p * PIECE;
		int64_t left = x.cols - first;

		parts[p] = sum_squares((const float *) x.data + first,
		                       left < PIECE ? left : PIECE);
	}
	for (int64_t p = 0; p < pieces; p++)
		*sum += parts[p];
}

CPU_KERNEL static void
adamw_piece(const AdamWFactors *factors, int64_t n, float *restrict p,
            const float *restrict g, float *restrict m, float *restrict v)
{
	AdamWFactors s = *factors;

#pragma omp simd
	for (int64_t i = 0; i < n; i++)
	{
		float first = m[i];
		float second = v[i];

		p[i] = adamw_number(&s, p[i], g[i], &first, &second);
		m[i] = first;
		v[i] = second;
	}
}

void
cpu_adamw(Device *device, const AdamW *settings, Tensor parameter,
          Tensor gradient, Tensor m, Tensor v)
{
	AdamWFactors factors = adamw_factors(settings);
	int64_t n = parameter.cols;

	(void) device;
	CPU_EACH(first, n, PIECE, n > CPU_PARALLEL_MIN,
	         adamw_piece(&factors, n - first < PIECE ? n - first : PIECE,
	                     (float *) parameter.data + first,
	                     (const float *) gradient.data + first,
	                     (float *) m.data + first, (float *) v.data + first));
}

/* ------------------------------------------------------- moments as bytes */

/* code[n] = the nearest to number[n]; the block's scale */
CPU_KERNEL static float
code_moments(uint8_t *restrict code, const float *restrict number, int n,
             float most)
{
	float scale = dynamic8_scale(most);
	float inverse = dynamic8_inverse(scale);

	for (int i = 0; i < n; i++)
		code[i] = (uint8_t) dynamic8_signed_code(
			number[i], dynamic8_nearest(&dynamic8_signed.search,
		                                fabsf(number[i]) * inverse));
	return scale;
}

CPU_KERNEL static float
code_squares(uint8_t *restrict code, const float *restrict number, int n,
             float most)
{
	float scale = dynamic8_scale(most);
	float inverse = dynamic8_inverse(scale);

	for (int i = 0; i < n; i++)
		code[i] = (uint8_t) dynamic8_square_code(
			number[i],
			dynamic8_nearest(&dynamic8_square.search, number[i] * inverse));
	return scale;
}

/* number[n] = level[code[n]] * scale */
CPU_KERNEL static void
read_levels(float *restrict number, const uint8_t *restrict code, int n,
            const float *restrict level, float scale)
{
	for (int i = 0; i < n; i++)
		number[i] = level[code[i]] * scale;
}

/* The step of a block, and the largest of what comes out of it. */
CPU_KERNEL static void
step_block(const AdamWFactors *factors, int n, float *restrict p,
           const float *restrict g, float *restrict m, float *restrict v,
           float *most_moment, float *most_square)
{
	AdamWFactors s = *factors;
	float moment = 0;
	float square = 0;

#pragma omp simd reduction(max : moment, square)
	for (int i = 0; i < n; i++)
	{
		float first = m[i];
		float second = v[i];

		p[i] = adamw_number(&s, p[i], g[i], &first, &second);
		m[i] = first;
		v[i] = second;
		moment = fabsf(first) > moment ? fabsf(first) : moment;
		square = second > square ? second : square;
	}
	*most_moment = moment;
	*most_square = square;
}

void
cpu_adamw_coded(Device *device, const AdamW *settings, Tensor parameter,
                Tensor gradient, Coded m, Coded v)
{
	AdamWFactors factors = adamw_factors(settings);
	int64_t n = parameter.cols;

	(void) device;
#pragma omp parallel for schedule(static) if (n > CPU_PARALLEL_MIN / 4)
	for (int64_t first = 0; first < n; first += DYNAMIC8_BLOCK)
	{
		int count =
			(int) (n - first < DYNAMIC8_BLOCK ? n - first : DYNAMIC8_BLOCK);
		int64_t block = first / DYNAMIC8_BLOCK;
		float moment[DYNAMIC8_BLOCK];
		float square[DYNAMIC8_BLOCK];
		float most_moment, most_square;

		read_levels(moment, m.code + first, count, dynamic8_signed.level,
		            m.scale[block]);
		read_levels(square, v.code + first, count, dynamic8_square.level,
		            v.scale[block]);
		step_block(&factors, count, (float *) parameter.data + first,
		           (const float *) gradient.data + first, moment, square,
		           &most_moment, &most_square);
		m.scale[block] =
			code_moments(m.code + first, moment, count, most_moment);
		v.scale[block] =
			code_squares(v.code + first, square, count, most_square);
	}
}
