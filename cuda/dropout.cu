/*
 * dropout.cu
 *		Dropout by address: the mask is computed, never stored, and is the
 *		CPU's.
 */
#include "cuda/launch.h"
#include "cuda/rounded.h"

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
	int64_t row = blockIdx.x;
	int64_t j = column();
	uint64_t draw;
	float value;

	if (j >= x.cols)
		return;
	draw = random_at(random_origin(key[row], site), (uint64_t) (j / 2));
	draw = j % 2 == 0 ? draw & UINT32_MAX : draw >> 32;
	value = draw < dropped ? 0 : factor * row_of(x, row)[j];
	if (beta != 0)
		value = beta * row_of(out, row)[j] + value;
	store_both(row_of(out, row), copy, row, j, value);
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
	LAUNCH(device, dropout_kernel, grid_of(x), ELEMENT_THREADS, 0, out, copy, x,
	       beta, (float) (1 / (1 - probability)),
	       (uint64_t) (probability * 0x1p32), key, site);
}
