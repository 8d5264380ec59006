/*
 * adamw.c
 *		The optimiser's pass over a parameter, and the gradient's norm.
 */
#include "device/cpu/cpu.h"

#include <math.h>

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

/* torch.optim.AdamW: decay first, then the bias-corrected step. */
CPU_KERNEL static void
adamw_piece(const AdamW *s, int64_t n, float *restrict p,
            const float *restrict g, float *restrict m, float *restrict v)
{
	float keep = 1.0f - s->learning_rate * s->weight_decay;
	float step = s->learning_rate / s->correction1;
	float root = 1.0f / sqrtf(s->correction2);
	float beta1 = (float) s->beta1, rest1 = (float) (1 - s->beta1);
	float beta2 = (float) s->beta2, rest2 = (float) (1 - s->beta2);

#pragma omp simd
	for (int64_t i = 0; i < n; i++)
	{
		float gradient = g[i] * s->gradient_scale;
		float first = beta1 * m[i] + rest1 * gradient;
		float second = beta2 * v[i] + rest2 * gradient * gradient;

		m[i] = first;
		v[i] = second;
		p[i] = keep * p[i] - step * first / (sqrtf(second) * root + s->eps);
	}
}

void
cpu_adamw(Device *device, const AdamW *settings, Tensor parameter,
          Tensor gradient, Tensor m, Tensor v)
{
	int64_t n = parameter.cols;

	(void) device;
#pragma omp parallel for schedule(static) if (n > CPU_PARALLEL_MIN)
	for (int64_t first = 0; first < n; first += PIECE)
		adamw_piece(settings, n - first < PIECE ? n - first : PIECE,
		            (float *) parameter.data + first,
		            (const float *) gradient.data + first,
		            (float *) m.data + first, (float *) v.data + first);
}
