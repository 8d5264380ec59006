/*
 * activation.c
 *		The MLP's pointwise functions, plain and gated, and their derivatives.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"

#include <math.h>

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

/* act(x), and act'(x) in *slope. */
INLINE float
act_at(Activation kind, float x, float *slope)
{
	float s, inner;

	switch (kind)
	{
		case ACTIVATION_SILU:
			s = sigmoid_f32(x);
			*slope = s * (1 + x * (1 - s));
			return x * s;
		case ACTIVATION_GELU_TANH:
			s = sigmoid_f32(gelu_tanh_inner(x));
			inner = 1.5957691216f * (1 + 3 * 0.044715f * x * x);
			*slope = s + x * s * (1 - s) * inner;
			return x * s;
		case ACTIVATION_GELU:
			s = normal_f32(x);
			*slope = s + x * 0.39894228f * exp_f32(-0.5f * x * x);
			return x * s;
		case ACTIVATION_RELU:
			*slope = x > 0 ? 1 : 0;
			return x > 0 ? x : 0;
		case ACTIVATION_TANH:
			s = tanhf(x);
			*slope = 1 - s * s;
			return s;
	}
	return 0;
}

/* Loops over n numbers.  The kind and whether there is an up are constants where
 * they are called. */
INLINE void
activate(Activation kind, bool is_gated, int64_t n, float *out,
         const float *gate, const float *up)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
	{
		float slope;
		float active = act_at(kind, gate[j], &slope);

		out[j] = is_gated ? active * up[j] : active;
	}
}

INLINE void
activate_backward(Activation kind, bool is_gated, int64_t n, float *dgate,
                  float *dup, const float *dout, const float *gate,
                  const float *up)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
	{
		float slope;
		float active = act_at(kind, gate[j], &slope);
		float d = dout[j];

		if (is_gated)
			dup[j] = d * active;
		dgate[j] = (is_gated ? d * up[j] : d) * slope;
	}
}

/* The loop of this kind. */
#define CASE(kind, loop, ...)                                                  \
	case kind:                                                                 \
		loop(kind, __VA_ARGS__);                                               \
		break
#define OF_KIND(kind, ...)                                                     \
	switch (kind)                                                              \
	{                                                                          \
		CASE(ACTIVATION_SILU, __VA_ARGS__);                                    \
		CASE(ACTIVATION_GELU_TANH, __VA_ARGS__);                               \
		CASE(ACTIVATION_GELU, __VA_ARGS__);                                    \
		CASE(ACTIVATION_RELU, __VA_ARGS__);                                    \
		CASE(ACTIVATION_TANH, __VA_ARGS__);                                    \
	}

CPU_KERNEL static void
activate_row(Activation kind, int64_t n, float *out, const float *gate,
             const float *up)
{
	if (up != NULL)
		OF_KIND(kind, activate, true, n, out, gate, up)
	else
		OF_KIND(kind, activate, false, n, out, gate, up)
}

CPU_KERNEL static void
activate_row_backward(Activation kind, int64_t n, float *dgate, float *dup,
                      const float *dout, const float *gate, const float *up)
{
	if (up != NULL)
		OF_KIND(kind, activate_backward, true, n, dgate, dup, dout, gate, up)
	else
		OF_KIND(kind, activate_backward, false, n, dgate, dup, dout, gate, up)
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

/* Numbers [first, first + n) of the rows; scratch[2 n] if they are kept. */
static void
activate_piece(Activation kind, const Tensor *out, const Tensor *gate,
               const Tensor *up, const Fixed *kept, int64_t first, int64_t n,
               float *scratch)
{
	float *to = piece_at(*out, first);

	if (kept != NULL && scratch == NULL)
		return;
	activate_row(kind, n, to, read_piece(gate, kept, 0, first, scratch),
	             up == NULL ? NULL
	                        : read_piece(up, kept, 1, first, scratch + n));
}

void
cpu_activation(Device *device, Activation kind, Tensor out, Tensor gate,
               const Tensor *up, const Fixed *kept)
{
	int64_t total = out.rows * out.cols;
	int64_t size =
		kept != NULL ? out.cols : piece_size(&out, &gate, up, NULL, NULL);

	CPU_EACH(i, total, size, total > CPU_PARALLEL_MIN / 4,
	         activate_piece(
				 kind, &out, &gate, up, kept, i,
				 total - i < size ? total - i : size,
				 kept == NULL ? NULL : cpu_scratch(device, 2 * (size_t) size)));
}

/* Of numbers [first, first + n) of the rows; scratch[2 n] if they are kept. */
static void
activation_grad_piece(Activation kind, const Tensor *dgate, const Tensor *dup,
                      const Tensor *dout, const Tensor *gate, const Tensor *up,
                      const Fixed *kept, int64_t first, int64_t n,
                      float *scratch)
{
	if (kept != NULL && scratch == NULL)
		return;
	activate_row_backward(
		kind, n, piece_at(*dgate, first),
		up == NULL ? NULL : piece_at(*dup, first), piece_at(*dout, first),
		read_piece(gate, kept, 0, first, scratch),
		up == NULL ? NULL : read_piece(up, kept, 1, first, scratch + n));
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
	         activation_grad_piece(
				 kind, &dgate, dup, &dout, &gate, up, kept, i,
				 total - i < size ? total - i : size,
				 kept == NULL ? NULL : cpu_scratch(device, 2 * (size_t) size)));
}
