/*
 * matmul_codes_portable.c
 *		Products with weights of small whole numbers, for any machine.
 */
#include "device/cpu/matmul_codes.h"

#include "base/kernel.h"

#include <float.h>
#include <math.h>

#define ROWS 4

static float
largest(const float *number)
{
	float most = 0;

	for (int i = 0; i < QUANT_CODES; i++)
	{
		if (!(fabsf(number[i]) <= FLT_MAX))
			return NAN;
		most = fabsf(number[i]) > most ? fabsf(number[i]) : most;
	}
	return most;
}

static void
pack_row(CodeRow *to, const float *row, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, row += QUANT_CODES)
	{
		float most = largest(row);
		float factor = most >= CODE_LEAST ? INT16_MAX / most : 0;
		int32_t sum = 0;

		for (int p = 0; p < CODE_PAIRS; p++)
		{
			/* What is not finite, or not counted, makes no code. */
			int32_t low =
				factor > 0 ? (int32_t) lrintf(row[2 * p] * factor) : 0;
			int32_t high =
				factor > 0 ? (int32_t) lrintf(row[2 * p + 1] * factor) : 0;

			to[b].pair[p] = (uint16_t) low | (uint32_t) high << 16;
			sum += low + high;
		}
		to[b].scale = factor > 0 || isnan(most) ? most / INT16_MAX : 0;
		to[b].sum = to[b].scale * (float) sum;
	}
}

/* sum[j] += the products of a block with column j */
CPU_KERNEL static void
add_block(float *sum, const CodeRow *row, const CodePanel *panel,
          bool has_least)
{
	int32_t product[CODE_COLS] = {0};

	for (int p = 0; p < CODE_PAIRS; p++)
	{
		int32_t low = (int16_t) row->pair[p];
		int32_t high = (int16_t) (row->pair[p] >> 16);

#pragma omp simd
		for (int j = 0; j < CODE_COLS; j++)
			product[j] +=
				low * panel->code[p][j][0] + high * panel->code[p][j][1];
	}
	for (int j = 0; j < CODE_COLS; j++)
		sum[j] += (float) product[j] * (row->scale * panel->scale[j]);
	for (int j = 0; has_least && j < CODE_COLS; j++)
		sum[j] += row->sum * panel->least[j];
}

static void
tile(float *c, int64_t c_stride, const CodeRow *a, const uint8_t *b,
     int64_t blocks, bool has_least, int rows, int cols, float beta,
     const uint8_t *ahead, int lines)
{
	size_t bytes = code_panel_bytes(has_least);

	(void) ahead;
	(void) lines;
	for (int i = 0; i < rows; i++)
	{
		float sum[CODE_COLS] = {0};
		float *to = c + i * c_stride;

		for (int64_t k = 0; k < blocks; k++)
			add_block(
				sum, a + i * blocks + k,
				(const CodePanel *) (const void *) (b + (size_t) k * bytes),
				has_least);
		for (int j = 0; j < cols; j++)
			to[j] = beta == 0 ? sum[j] : beta * to[j] + sum[j];
	}
}

const CodeKernels codes_portable = {ROWS, pack_row, tile};
