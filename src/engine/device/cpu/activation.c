/*
 * activation.c
 *		The MLP's pointwise functions, plain and gated, and their derivatives.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"

#include <math.h>

static inline float
sigmoid_f32(float x)
{
	return 1.0f / (1.0f + exp_f32(-x));
}

/* gelu_new: x / 2 * (1 + tanh(u)) = x * sigmoid(2 u),
 * u = sqrt(2 / pi) (x + 0.044715 x^3) */
static inline float
gelu_tanh_inner(float x)
{
	return 1.5957691216f * (x + 0.044715f * x * x * x);
}

CPU_KERNEL static void
activate_row(Activation kind, int64_t n, float *out, const float *gate)
{
	switch (kind)
	{
		case ACTIVATION_SILU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				out[j] = gate[j] * sigmoid_f32(gate[j]);
			break;
		case ACTIVATION_GELU_TANH:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				out[j] = gate[j] * sigmoid_f32(gelu_tanh_inner(gate[j]));
			break;
		case ACTIVATION_GELU:
			for (int64_t j = 0; j < n; j++)
				out[j] = 0.5f * gate[j] * (1 + erff(gate[j] * 0.70710678f));
			break;
		case ACTIVATION_RELU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				out[j] = gate[j] > 0 ? gate[j] : 0;
			break;
	}
}

CPU_KERNEL static void
multiply_row(int64_t n, float *out, const float *up)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		out[j] *= up[j];
}

void
cpu_activation(Device *device, Activation kind, Tensor out, Tensor gate,
               const Tensor *up)
{
	(void) device;
#pragma omp parallel for schedule(static) if (out.rows * out.cols >            \
                                              CPU_PARALLEL_MIN / 4)
	for (int64_t i = 0; i < out.rows; i++)
	{
		activate_row(kind, out.cols, cpu_row(out, i), cpu_row(gate, i));
		if (up != NULL)
			multiply_row(out.cols, cpu_row(out, i), cpu_row(*up, i));
	}
}

/* slope[j] = act'(x[j]) */
CPU_KERNEL static void
slope_row(Activation kind, int64_t n, float *slope, const float *x)
{
	switch (kind)
	{
		case ACTIVATION_SILU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				float s = sigmoid_f32(x[j]);

				slope[j] = s * (1 + x[j] * (1 - s));
			}
			break;
		case ACTIVATION_GELU_TANH:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				float s = sigmoid_f32(gelu_tanh_inner(x[j]));
				float inner = 1.5957691216f * (1 + 3 * 0.044715f * x[j] * x[j]);

				slope[j] = s + x[j] * s * (1 - s) * inner;
			}
			break;
		case ACTIVATION_GELU:
			for (int64_t j = 0; j < n; j++)
				slope[j] = 0.5f * (1 + erff(x[j] * 0.70710678f)) +
				           x[j] * 0.39894228f * expf(-0.5f * x[j] * x[j]);
			break;
		case ACTIVATION_RELU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				slope[j] = x[j] > 0 ? 1 : 0;
			break;
	}
}

CPU_KERNEL static void
gated_grad_row(int64_t n, float *dgate, float *dup, const float *dout,
               const float *slope, const float *active, const float *up)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
	{
		float d = dout[j];

		dup[j] = d * active[j];
		dgate[j] = d * up[j] * slope[j];
	}
}

void
cpu_activation_grad(Device *device, Activation kind, Tensor dgate,
                    const Tensor *dup, Tensor dout, Tensor gate,
                    const Tensor *up)
{
	int64_t n = gate.cols;

#pragma omp parallel for schedule(static) if (gate.rows * n >                  \
                                              CPU_PARALLEL_MIN / 4)
	for (int64_t i = 0; i < gate.rows; i++)
	{
		float *slope = cpu_scratch(device, 2 * (size_t) n);
		float *active = slope + n;

		if (slope == NULL)
			continue;
		slope_row(kind, n, slope, cpu_row(gate, i));
		if (up != NULL)
		{
			activate_row(kind, n, active, cpu_row(gate, i));
			gated_grad_row(n, cpu_row(dgate, i), cpu_row(*dup, i),
			               cpu_row(dout, i), slope, active, cpu_row(*up, i));
			continue;
		}
		multiply_row(n, slope, cpu_row(dout, i));
		for (int64_t j = 0; j < n; j++)
			cpu_row(dgate, i)[j] = slope[j];
	}
}
