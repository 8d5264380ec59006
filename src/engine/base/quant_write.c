/*
 * quant_write.c
 *		From floats to blocks of small integers: Q8_0, and the 4-bit
 *		NormalFloat of QLoRA (arXiv 2305.14314).
 */
#include "base/quant.h"

#include "base/dynamic8.h"
#include "base/kernel.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ Q8_0 */

/* As ggml: d = max / 127, halves away from 0. */
CPU_KERNEL static void
write_q8_0(uint8_t *restrict dst, const float *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 32, dst += 34)
	{
		float most = 0;
		float d;
		float inverse;
		uint16_t half;

		for (int i = 0; i < 32; i++)
			most = fmaxf(most, fabsf(src[i]));
		d = most / 127;
		inverse = d == 0 ? 0 : 1 / d;
		half = half_from_float(d);
		dst[0] = (uint8_t) half;
		dst[1] = (uint8_t) (half >> 8);
		for (int i = 0; i < 32; i++)
			dst[2 + i] = (uint8_t) (int8_t) roundf(src[i] * inverse);
	}
}

/* ------------------------------------------------------------------- NF4 */

/* Quantiles of the normal distribution, as bitsandbytes has them. */
const float nf4_codes[16] = {
	-1.0f,
	-0.6961928009986877f,
	-0.5250730514526367f,
	-0.39491748809814453f,
	-0.28444138169288635f,
	-0.18477343022823334f,
	-0.09105003625154495f,
	0.0f,
	0.07958029955625534f,
	0.16093020141124725f,
	0.24611230194568634f,
	0.33791524171829224f,
	0.44070982933044434f,
	0.5626170039176941f,
	0.7229568362236023f,
	1.0f,
};

static float
largest(const float *src)
{
	float most = 0;

	for (int i = 0; i < NF4_BLOCK; i++)
		most = fmaxf(most, fabsf(src[i]));
	return most;
}

/* The nearest code of every number over the block's largest; of two equally
 * near the lower. */
CPU_KERNEL static void
write_codes(uint8_t *restrict dst, const float *restrict src, float most)
{
	float inverse = most == 0 ? 0 : 1 / most;
	uint8_t code[NF4_BLOCK];

#pragma omp simd
	for (int i = 0; i < NF4_BLOCK; i++)
	{
		float x = src[i] * inverse;
		int above = 0;

		for (int c = 0; c < 15; c++)
			above += x > (nf4_codes[c] + nf4_codes[c + 1]) / 2;
		code[i] = (uint8_t) above;
	}
	for (int i = 0; i < NF4_BLOCK / 2; i++)
		dst[i] = (uint8_t) (code[i] | code[NF4_BLOCK / 2 + i] << 4);
}

static void
write_nf4(uint8_t *dst, const float *src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += NF4_BLOCK)
	{
		float most = largest(src);

		memcpy(dst, &most, sizeof(most));
		write_codes(dst + sizeof(most), src, most);
		dst += sizeof(most) + NF4_BLOCK / 2;
	}
}

/* ------------------------------------------- NF4 with quantized maxima */

/* A group of up to 256 blocks.  Their maxima are quantized less the mean of
 * all in the array; their codes are those of the exact maxima. */
static void
write_group(uint8_t *dst, const float *src, int blocks, float mean)
{
	float most[NF4_GROUP];
	float scale = 0;

	for (int b = 0; b < blocks; b++)
	{
		most[b] = largest(src + b * NF4_BLOCK);
		scale = fmaxf(scale, fabsf(most[b] - mean));
	}
	memcpy(dst, &scale, sizeof(scale));
	memcpy(dst + 4, &mean, sizeof(mean));
	for (int b = 0; b < blocks; b++)
	{
		float x = scale == 0 ? 0 : (most[b] - mean) / scale;

		dst[8 + b] = (uint8_t) dynamic8_signed_code(
			x, dynamic8_nearest(&dynamic8_signed.search, fabsf(x)));
		write_codes(dst + NF4_HEAD + b * (NF4_BLOCK / 2), src + b * NF4_BLOCK,
		            most[b]);
	}
}

static void
write_nf4_double(uint8_t *dst, const float *src, int64_t blocks)
{
	double sum = 0;

	for (int64_t b = 0; b < blocks; b++)
		sum += largest(src + b * NF4_BLOCK);
	for (int64_t b = 0; b < blocks; b += NF4_GROUP)
	{
		int64_t left = blocks - b;

		write_group(dst + b / NF4_GROUP * NF4_GROUP_BYTES, src + b * NF4_BLOCK,
		            (int) (left < NF4_GROUP ? left : NF4_GROUP),
		            (float) (sum / (double) blocks));
	}
}

bool
quant_write(void *dst, const float *src, DType dtype, int64_t count)
{
	int64_t blocks = count / dtype_block(dtype);

	if (dtype == DTYPE_Q8_0)
		write_q8_0(dst, src, blocks);
	else if (dtype == DTYPE_NF4)
		write_nf4(dst, src, blocks);
	else if (dtype == DTYPE_NF4_DOUBLE)
		write_nf4_double(dst, src, blocks);
	else
		return false;
	return true;
}
