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

void
cpu_rotate(Device *device, Tensor x, int heads, int rotary, Tensor table,
           const int32_t *position, bool inverse)
{
	int width = (int) (x.cols / heads);

	(void) device;
#pragma omp parallel for schedule(static) if (x.rows * x.cols >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < x.rows; i++)
	{
		const float *angles = cpu_row(table, position[i]);

		for (int h = 0; h < heads; h++)
			rotate_head(cpu_row(x, i) + h * width, rotary / 2, angles,
			            angles + rotary / 2, inverse ? -1.0f : 1.0f);
	}
}
