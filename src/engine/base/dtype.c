/*
 * dtype.c
 *		Conversion between 32-bit floats and their shorter forms.
 */
#include "base/dtype.h"

#include <string.h>

typedef struct DTypeInfo
{
	const char *name;
	size_t size;
} DTypeInfo;

static const DTypeInfo infos[] = {
	[DTYPE_F32] = {"fp32", 4},
	[DTYPE_F16] = {"fp16", 2},
	[DTYPE_BF16] = {"bf16", 2},
	[DTYPE_OTHER] = {"other", 0},
};

size_t
dtype_size(DType dtype)
{
	return infos[dtype].size;
}

const char *
dtype_name(DType dtype)
{
	return infos[dtype].name;
}

static float
float_of_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint32_t
bits_of_float(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static float
half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t exponent = (half >> 10) & 31;
	uint32_t mantissa = half & 0x3ff;

	if (exponent == 31) /* infinity or NaN */
		return float_of_bits(sign | 0x7f800000 | mantissa << 13);
	if (exponent != 0)
		return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);

	/* Subnormal: mantissa * 2^-24, exact in 32 bits. */
	{
		float value = (float) mantissa * 0x1p-24f;

		return float_of_bits(sign | bits_of_float(value));
	}
}

static uint16_t
float_to_half(float value)
{
	uint32_t bits = bits_of_float(value);
	uint16_t sign = (uint16_t) (bits >> 16 & 0x8000);
	uint32_t magnitude = bits & 0x7fffffff;

	if (magnitude > 0x7f800000) /* NaN stays a quiet NaN */
		return sign | 0x7e00;
	if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
		return sign | 0x7c00;
	if (magnitude < 0x38800000) /* below 2^-14: in units of 2^-24 */
	{
		/* Adding 0.5 puts the wanted bits last and lets the addition round. */
		uint32_t shifted = bits_of_float(float_of_bits(magnitude) + 0.5f);

		return sign | (uint16_t) (shifted - 0x3f000000);
	}
	magnitude += 0xfff + (magnitude >> 13 & 1);
	return sign | (uint16_t) ((magnitude - 0x38000000) >> 13);
}

static uint16_t
float_to_bfloat(float value)
{
	uint32_t bits = bits_of_float(value);

	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t) (bits >> 16 | 0x40);
	return (uint16_t) ((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void
dtype_to_f32(float *dst, const void *src, DType dtype, size_t count)
{
	const uint8_t *bytes = src;

	if (count == 0)
		return;
	if (dtype == DTYPE_F32)
		memcpy(dst, src, count * sizeof(float));
	else if (dtype == DTYPE_OTHER)
		memset(dst, 0, count * sizeof(float));
	else
		for (size_t i = 0; i < count; i++)
		{
			uint16_t half;

			memcpy(&half, bytes + 2 * i, sizeof(half));
			dst[i] = dtype == DTYPE_F16 ? half_to_float(half)
			                            : float_of_bits((uint32_t) half << 16);
		}
}

void
dtype_from_f32(void *dst, const float *src, DType dtype, size_t count)
{
	uint8_t *bytes = dst;

	if (count == 0)
		return;
	if (dtype == DTYPE_F32)
		memcpy(dst, src, count * sizeof(float));
	else if (dtype != DTYPE_OTHER)
		for (size_t i = 0; i < count; i++)
		{
			uint16_t half = dtype == DTYPE_F16 ? float_to_half(src[i])
			                                   : float_to_bfloat(src[i]);

			memcpy(bytes + 2 * i, &half, sizeof(half));
		}
}
