/*
 * dropout.c
 *		Dropout by address: the mask is computed, never stored.
 */
#include "device/cpu/cpu.h"

#include "base/random.h"

/* Keeps what draws at least `dropped` of 2^32. */
CPU_KERNEL static void
dropout_row(int64_t n, float *out, const float *x, float beta, float factor,
            uint64_t dropped, uint64_t origin)
{
	if (beta == 0)
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = (random_at(origin, (uint64_t) j) >> 32) < dropped
			             ? 0
			             : factor * x[j];
	}
	else
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = beta * out[j] +
			         ((random_at(origin, (uint64_t) j) >> 32) < dropped
			              ? 0
			              : factor * x[j]);
	}
}

void
cpu_dropout(Device *device, Tensor out, Tensor x, float beta,
            double probability, const uint64_t *key, uint64_t site)
{
	float factor = (float) (1 / (1 - probability));
	uint64_t dropped = (uint64_t) (probability * 0x1p32);

	(void) device;
#pragma omp parallel for schedule(static) if (x.rows * x.cols >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < x.rows; i++)
		dropout_row(x.cols, cpu_row(out, i), cpu_row(x, i), beta, factor,
		            dropped, random_origin(key[i], site));
}
