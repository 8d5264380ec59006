/*
 * activation.c
 *		The MLP's pointwise functions, plain and gated, and their derivatives.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"

#include <math.h>
#include <string.h>

#define PIECE 2048

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

/* Phi(x) of the normal distribution, its tail by Abramowitz and Stegun's
 * 7.1.26: within 1e-7. */
static inline float
normal_f32(float x)
{
	float z = fabsf(x) * 0.70710678f;
	float t = 1.0f / (1.0f + 0.3275911f * z);
	float series =
		t * (0.254829592f +
	         t * (-0.284496736f +
	              t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
	float tail = 0.5f * series * exp_f32(-z * z);

	return x < 0 ? tail : 1.0f - tail;
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
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				out[j] = gate[j] * normal_f32(gate[j]);
			break;
		case ACTIVATION_RELU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
				out[j] = gate[j] > 0 ? gate[j] : 0;
			break;
		case ACTIVATION_TANH:
			for (int64_t j = 0; j < n; j++)
				out[j] = tanhf(gate[j]);
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

static bool
is_packed(const Tensor *x)
{
	return x == NULL || x->stride == x->cols;
}

/* How many neighbours a loop runs over: rows, or where all of them lie one
 * after the other longer pieces, with fewer remainders. */
static int64_t
piece_size(const Tensor *a, const Tensor *b, const Tensor *c, const Tensor *d,
           const Tensor *e)
{
	bool all = is_packed(a) && is_packed(b) && is_packed(c) && is_packed(d) &&
	           is_packed(e);

	return all ? PIECE : a->cols;
}

/* Where the piece lies that begins at element first. */
static float *
piece_at(Tensor x, int64_t first)
{
	return x.stride == x.cols ? (float *) x.data + first
	                          : cpu_row(x, first / x.cols);
}

/* The same of what may be kept in fewer bits, as number `which` of kept: a row,
 * which scratch receives. */
static const float *
read_piece(const Tensor *x, const Fixed *kept, int which, int64_t first,
           float *scratch)
{
	if (kept == NULL)
		return piece_at(*x, first);
	cpu_read_fixed_row(scratch, &kept[which], first / x->cols, x->cols);
	return scratch;
}

/* Numbers [first, first + n) of the rows; scratch[n] if they are kept. */
static void
activate_piece(Activation kind, const Tensor *out, const Tensor *gate,
               const Tensor *up, const Fixed *kept, int64_t first, int64_t n,
               float *scratch)
{
	float *to = piece_at(*out, first);

	if (kept != NULL && scratch == NULL)
		return;
	activate_row(kind, n, to, read_piece(gate, kept, 0, first, scratch));
	if (up != NULL)
		multiply_row(n, to, read_piece(up, kept, 1, first, scratch));
}

void
cpu_activation(Device *device, Activation kind, Tensor out, Tensor gate,
               const Tensor *up, const Fixed *kept)
{
	int64_t total = out.rows * out.cols;
	int64_t size =
		kept != NULL ? out.cols : piece_size(&out, &gate, up, NULL, NULL);

	CPU_EACH(i, total, size, total > CPU_PARALLEL_MIN / 4,
	         activate_piece(kind, &out, &gate, up, kept, i,
	                        total - i < size ? total - i : size,
	                        kept == NULL ? NULL
	                                     : cpu_scratch(device, (size_t) size)));
}

/* active[j] = act(x[j]) and slope[j] = act'(x[j]) */
CPU_KERNEL static void
slope_row(Activation kind, int64_t n, float *active, float *slope,
          const float *x)
{
	switch (kind)
	{
		case ACTIVATION_SILU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				float s = sigmoid_f32(x[j]);

				active[j] = x[j] * s;
				slope[j] = s * (1 + x[j] * (1 - s));
			}
			break;
		case ACTIVATION_GELU_TANH:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				float s = sigmoid_f32(gelu_tanh_inner(x[j]));
				float inner = 1.5957691216f * (1 + 3 * 0.044715f * x[j] * x[j]);

				active[j] = x[j] * s;
				slope[j] = s + x[j] * s * (1 - s) * inner;
			}
			break;
		case ACTIVATION_GELU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				float below = normal_f32(x[j]);

				active[j] = x[j] * below;
				slope[j] =
					below + x[j] * 0.39894228f * exp_f32(-0.5f * x[j] * x[j]);
			}
			break;
		case ACTIVATION_RELU:
#pragma omp simd
			for (int64_t j = 0; j < n; j++)
			{
				active[j] = x[j] > 0 ? x[j] : 0;
				slope[j] = x[j] > 0 ? 1 : 0;
			}
			break;
		case ACTIVATION_TANH:
			for (int64_t j = 0; j < n; j++)
			{
				float y = tanhf(x[j]);

				active[j] = y;
				slope[j] = 1 - y * y;
			}
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

/* Of numbers [first, first + n) of the rows; scratch[3 n]. */
static void
activation_grad_piece(Activation kind, const Tensor *dgate, const Tensor *dup,
                      const Tensor *dout, const Tensor *gate, const Tensor *up,
                      const Fixed *kept, int64_t first, int64_t n,
                      float *scratch)
{
	float *slope = scratch;
	float *active = scratch + n;
	const float *from = piece_at(*dout, first);
	float *to = piece_at(*dgate, first);

	if (scratch == NULL)
		return;
	slope_row(kind, n, active, slope,
	          read_piece(gate, kept, 0, first, scratch + 2 * n));
	if (up != NULL)
	{
		gated_grad_row(n, to, piece_at(*dup, first), from, slope, active,
		               read_piece(up, kept, 1, first, scratch + 2 * n));
		return;
	}
	multiply_row(n, slope, from);
	memcpy(to, slope, (size_t) n * sizeof(float));
}

void
cpu_activation_grad(Device *device, Activation kind, Tensor dgate,
                    const Tensor *dup, Tensor dout, Tensor gate,
                    const Tensor *up, const Fixed *kept)
{
	int64_t total = gate.rows * gate.cols;
	int64_t size =
		kept != NULL ? gate.cols : piece_size(&gate, &dgate, &dout, dup, up);

	CPU_EACH(i, total, size, total > CPU_PARALLEL_MIN / 4,
	         activation_grad_piece(kind, &dgate, dup, &dout, &gate, up, kept, i,
	                               total - i < size ? total - i : size,
	                               cpu_scratch(device, 3 * (size_t) size)));
}
