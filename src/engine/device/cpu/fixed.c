/*
 * fixed.c
 *		Rows of numbers as whole ones of 16 bits, and back.
 */
#include "base/fixed16.h"
#include "device/cpu/cpu.h"

CPU_KERNEL static void
write_row(int16_t *code, float *scale, const float *x, int64_t cols)
{
	int64_t j = 0;

	for (; j + FIXED16_BLOCK <= cols; j += FIXED16_BLOCK)
		*scale++ = fixed16_write(code + j, x + j, FIXED16_BLOCK);
	if (j < cols)
		*scale = fixed16_write(code + j, x + j, (int) (cols - j));
}

CPU_KERNEL static void
read_row(float *x, const int16_t *code, const float *scale, int64_t cols)
{
	int64_t j = 0;

	for (; j + FIXED16_BLOCK <= cols; j += FIXED16_BLOCK)
		fixed16_read(x + j, code + j, *scale++, FIXED16_BLOCK);
	if (j < cols)
		fixed16_read(x + j, code + j, *scale, (int) (cols - j));
}

void
cpu_write_fixed(Device *device, Fixed target, Tensor x)
{
	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         write_row(target.code + i * x.cols,
	                   target.scale + i * fixed16_blocks(x.cols), cpu_row(x, i),
	                   x.cols));
}

void
cpu_read_fixed_row(float *x, const Fixed *source, int64_t row, int64_t cols)
{
	read_row(x, source->code + row * cols,
	         source->scale + row * fixed16_blocks(cols), cols);
}

void
cpu_read_fixed(Device *device, Tensor out, Fixed source)
{
	(void) device;
	CPU_EACH(i, out.rows, 1, out.rows * out.cols > CPU_PARALLEL_MIN,
	         cpu_read_fixed_row(cpu_row(out, i), &source, i, out.cols));
}
