/*
 * rotate.c
 *		Rotary position embedding, in halves.
 */
#include "device/cpu/cpu.h"

CPU_KERNEL static void
rotate_head(float *x, int half, const float *cosines, const float *sines,
            float sign)
{
#pragma omp simd
	for (int j = 0; j < half; j++)
	{
		float a = x[j];
		float b = x[j + half];
		float s = sign * sines[j];

		x[j] = a * cosines[j] - b * s;
		x[j + half] = b * cosines[j] + a * s;
	}
}

/* All heads of a row. */
static void
rotate_row(float *row, int heads, int width, int rotary, const float *angles,
           float sign)
{
	for (int h = 0; h < heads; h++)
		rotate_head(row + h * width, rotary / 2, angles, angles + rotary / 2,
		            sign);
}

void
cpu_rotate(Device *device, Tensor x, int heads, int rotary, Tensor table,
           const int32_t *position, bool inverse)
{
	int width = (int) (x.cols / heads);

	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         rotate_row(cpu_row(x, i), heads, width, rotary,
	                    cpu_row(table, position[i]), inverse ? -1.0f : 1.0f));
}
