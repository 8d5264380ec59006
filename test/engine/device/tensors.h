/*
 * tensors.h
 *		Random tensors, and gradients of operations by differences.
 */
#pragma once

#include "near.h"
#include "on_cpu.h"

#include "base/random.h"

/* Central differences of fp32 values: step and tolerance balance rounding
 * (1e-7 / step) against curvature (step^2). */
#define STEP 1e-2
#define GRADIENT_TOLERANCE 4e-3

static inline Tensor
random_tensor(Arena *arena, int rows, int cols, uint64_t seed)
{
	float *data =
		arena_alloc(arena, sizeof(float) * (size_t) rows * (size_t) cols + 64);

	for (int i = 0; i < rows * cols; i++)
		data[i] = (float) random_normal(seed, 0, (uint64_t) i);
	return tensor_at(data, rows, cols);
}

static inline float *
at(Tensor x, int row, int col)
{
	return (float *) x.data + row * x.stride + col;
}

/* sum of a * b over all elements, in double */
static inline double
inner(Tensor a, Tensor b)
{
	double sum = 0;

	for (int i = 0; i < a.rows; i++)
		for (int j = 0; j < a.cols; j++)
			sum += (double) *at(a, i, j) * (double) *at(b, i, j);
	return sum;
}

/* Checks gradient of value() with respect to every element of x. */
static inline void
check_gradient(const char *what, Tensor x, Tensor gradient,
               double (*value)(void *argument), void *argument)
{
	for (int i = 0; i < x.rows; i++)
		for (int j = 0; j < x.cols; j++)
		{
			float saved = *at(x, i, j);
			double up;
			double down;
			double slope;

			*at(x, i, j) = saved + (float) STEP;
			up = value(argument);
			*at(x, i, j) = saved - (float) STEP;
			down = value(argument);
			*at(x, i, j) = saved;
			slope = (up - down) / (2 * STEP);
			if (!(fabs(*at(gradient, i, j) - slope) <=
			      GRADIENT_TOLERANCE * (1 + fabs(slope))))
				fail_msg("%s[%d, %d] is %.6g, differences say %.6g", what, i, j,
				         *at(gradient, i, j), slope);
		}
}
