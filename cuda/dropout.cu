/*
 * dropout.cu
 *		Dropout by address: the mask is computed, never stored, and is the
 *		CPU's.
 */
#include "cuda/quads.h"

extern "C"
{
#include "base/random.h"
}

/* Keeps what draws at least `dropped` of 2^32; a number has two draws. */
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	dropout_kernel(Tensor out, RoundedCopy copy, Tensor x, float beta,
                   float factor, uint64_t dropped, const uint64_t *key,
                   uint64_t site)
{
	Place place = place_of(x);
	uint64_t origin;
	Quad value;

	if (place.count == 0)
		return;
	value = read_quad(x, place);
	origin = random_origin(key[place.row], site);
#pragma unroll
	for (int i = 0; i < 4; i += 2)
	{
		uint64_t draw = random_at(origin, (uint64_t) (place.col / 2 + i / 2));

		value.at[i] = (draw & UINT32_MAX) < dropped ? 0 : factor * value.at[i];
		value.at[i + 1] = draw >> 32 < dropped ? 0 : factor * value.at[i + 1];
	}
	if (beta != 0)
	{
		Quad before = read_quad(out, place);

#pragma unroll
		for (int i = 0; i < 4; i++)
			value.at[i] += beta * before.at[i];
	}
	write_quad_twice(out, copy, place, value);
}

void
cuda_dropout(Device *device, Tensor out, Tensor x, float beta,
             double probability, const uint64_t *key, uint64_t site)
{
	RoundedCopy copy = {};

	/* What is added to will change again before it is multiplied. */
	if (beta == 0)
		copy = cuda_also_rounded(device, out);
	else
		cuda_wrote(device, out);
	LAUNCH(device, dropout_kernel, quads_of(device, x), ELEMENT_THREADS, 0, out,
	       copy, x, beta, (float) (1 / (1 - probability)),
	       (uint64_t) (probability * 0x1p32), key, site);
}
