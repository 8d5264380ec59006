/*
 * activation.cu
 *		The MLP's pointwise functions, plain and gated, and their derivatives.
 */
#include "cuda/quads.h"

static __device__ __forceinline__ float
sigmoid_of(float x)
{
	return 1.0f / (1.0f + expf(-x));
}

/* gelu_new: x / 2 * (1 + tanh(u)) = x * sigmoid(2 u),
 * u = sqrt(2 / pi) (x + 0.044715 x^3) */
static __device__ __forceinline__ float
gelu_tanh_inner(float x)
{
	return 1.5957691216f * (x + 0.044715f * x * x * x);
}

/* Phi(x) of the normal distribution. */
static __device__ __forceinline__ float
normal_of(float x)
{
	return 0.5f * erfcf(x * -0.70710678f);
}

static __device__ __forceinline__ float
activate(Activation kind, float x)
{
	switch (kind)
	{
		case ACTIVATION_SILU:
			return x * sigmoid_of(x);
		case ACTIVATION_GELU_TANH:
			return x * sigmoid_of(gelu_tanh_inner(x));
		case ACTIVATION_GELU:
			return x * normal_of(x);
		case ACTIVATION_RELU:
			return x > 0 ? x : 0;
		case ACTIVATION_TANH:
			return tanhf(x);
	}
	return 0;
}

/* activate'(x) */
static __device__ __forceinline__ float
slope_of(Activation kind, float x)
{
	float s;

	switch (kind)
	{
		case ACTIVATION_SILU:
			s = sigmoid_of(x);
			return s * (1 + x * (1 - s));
		case ACTIVATION_GELU_TANH:
			s = sigmoid_of(gelu_tanh_inner(x));
			return s + x * s * (1 - s) * 1.5957691216f *
			               (1 + 3 * 0.044715f * x * x);
		case ACTIVATION_GELU:
			return normal_of(x) + x * 0.39894228f * expf(-0.5f * x * x);
		case ACTIVATION_RELU:
			return x > 0 ? 1 : 0;
		case ACTIVATION_TANH:
			s = tanhf(x);
			return 1 - s * s;
	}
	return 0;
}

/* up.data is NULL where there is no gate. */
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	activation_kernel(Activation kind, Tensor out, RoundedCopy copy,
                      Tensor gate, Tensor up)
{
	Place place = place_of(out);
	Quad value;
	Quad other;

	if (place.count == 0)
		return;
	value = read_quad(gate, place);
	other = up.data == NULL ? Quad{1, 1, 1, 1} : read_quad(up, place);
#pragma unroll
	for (int i = 0; i < 4; i++)
		value.at[i] = activate(kind, value.at[i]) * other.at[i];
	write_quad_twice(out, copy, place, value);
}

void
cuda_activation(Device *device, Activation kind, Tensor out, Tensor gate,
                const Tensor *up, const Fixed *kept)
{
	RoundedCopy copy = cuda_also_rounded(device, out);

	(void) kept;
	LAUNCH(device, activation_kernel, quads_of(device, out), ELEMENT_THREADS, 0,
	       kind, out, copy, gate, up == NULL ? Tensor{} : *up);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	activation_grad_kernel(Activation kind, Tensor dgate, RoundedCopy gate_copy,
                           Tensor dup, RoundedCopy up_copy, Tensor dout,
                           Tensor gate, Tensor up)
{
	Place place = place_of(gate);
	Quad d;
	Quad x;

	if (place.count == 0)
		return;
	d = read_quad(dout, place);
	x = read_quad(gate, place);
	if (up.data != NULL)
	{
		Quad other = read_quad(up, place);
		Quad change;

#pragma unroll
		for (int i = 0; i < 4; i++)
		{
			change.at[i] = d.at[i] * activate(kind, x.at[i]);
			d.at[i] *= other.at[i];
		}
		write_quad_twice(dup, up_copy, place, change);
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
		d.at[i] *= slope_of(kind, x.at[i]);
	write_quad_twice(dgate, gate_copy, place, d);
}

void
cuda_activation_grad(Device *device, Activation kind, Tensor dgate,
                     const Tensor *dup, Tensor dout, Tensor gate,
                     const Tensor *up, const Fixed *kept)
{
	RoundedCopy gate_copy = cuda_also_rounded(device, dgate);
	RoundedCopy up_copy = {};

	(void) kept;
	if (up != NULL)
		up_copy = cuda_also_rounded(device, *dup);
	LAUNCH(device, activation_grad_kernel, quads_of(device, gate),
	       ELEMENT_THREADS, 0, kind, dgate, gate_copy,
	       dup == NULL ? Tensor{} : *dup, up_copy, dout, gate,
	       up == NULL ? Tensor{} : *up);
}
