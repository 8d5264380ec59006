/*
 * dropout.c
 *		Dropout by address: the mask is computed, never stored.
 */
#include "device/cpu/cpu.h"

#include "base/random.h"

#include <string.h>

/* Elements whose draws are made together: even, and what most rows are a
 * multiple of. */
#define PIECE 64

/* So far in front of a piece numbers are asked for. */
#define AHEAD (4 * PIECE)

/* Two draws a number, the lower half's first: as memory has them. */
CPU_KERNEL static void
draw(uint32_t *draws, uint64_t origin, int64_t first)
{
	uint64_t bits[PIECE / 2];

#pragma omp simd
	for (int64_t j = 0; j < PIECE / 2; j++)
		bits[j] = random_at(origin, (uint64_t) (first / 2 + j));
	memcpy(draws, bits, sizeof(bits));
}

/* Keeps what draws at least `dropped`. */
CPU_KERNEL static void
dropout_piece(int64_t n, float *out, const float *x, float beta, float factor,
              uint32_t dropped, const uint32_t *draws)
{
	if (beta == 0)
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = draws[j] < dropped ? 0 : factor * x[j];
	}
	else
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = beta * out[j] + (draws[j] < dropped ? 0 : factor * x[j]);
	}
}

static void
dropout_row(int64_t n, float *out, const float *x, float beta, float factor,
            uint32_t dropped, uint64_t origin)
{
	uint32_t draws[PIECE];

	for (int64_t first = 0; first < n; first += PIECE)
	{
		/* On its way while others are drawn; out as well would be too much at
		 * a time. */
		cpu_fetch(x + first + AHEAD, PIECE);
		draw(draws, origin, first);
		dropout_piece(n - first < PIECE ? n - first : PIECE, out + first,
		              x + first, beta, factor, dropped, draws);
	}
}

void
cpu_dropout(Device *device, Tensor out, Tensor x, float beta,
            double probability, const uint64_t *key, uint64_t site)
{
	float factor = (float) (1 / (1 - probability));
	uint32_t dropped = (uint32_t) (probability * 0x1p32);

	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         dropout_row(x.cols, cpu_row(out, i), cpu_row(x, i), beta, factor,
	                     dropped, random_origin(key[i], site)));
}
