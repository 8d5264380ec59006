/*
 * dtype.c
 *		The number formats of stored and computed tensors.
 */
#include "base/dtype.h"

#include <string.h>

static const struct
{
	const char *name;
	size_t size;
} dtypes[] = {
	[DTYPE_F32] = {"fp32", 4},
	[DTYPE_F16] = {"fp16", 2},
	[DTYPE_BF16] = {"bf16", 2},
	[DTYPE_OTHER] = {"other", 0},
};

size_t
dtype_size(DType dtype)
{
	return dtypes[dtype].size;
}

const char *
dtype_name(DType dtype)
{
	return dtypes[dtype].name;
}

/* IEEE 754 binary16, subnormals, infinities and NaN included. */
static float
half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t exponent = (half >> 10) & 0x1f;
	uint32_t fraction = half & 0x3ff;
	uint32_t bits;
	float value;

	if (exponent == 0)
	{
		/* fraction times 2^-24 is exact in a float */
		value = (float) fraction * 0x1p-24f;
		memcpy(&bits, &value, sizeof(bits));
		bits |= sign;
	}
	else if (exponent == 31)
		bits = sign | 0x7f800000 | fraction << 13;
	else
		bits = sign | (exponent + 112) << 23 | fraction << 13;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

void
dtype_to_f32(float *target, const void *source, DType dtype, size_t count)
{
	const char *bytes = source;

	if (dtype == DTYPE_F32)
	{
		memcpy(target, source, count * sizeof(float));
		return;
	}
	for (size_t i = 0; i < count; i++)
	{
		uint16_t word;

		memcpy(&word, bytes + 2 * i, sizeof(word));
		if (dtype == DTYPE_F16)
			target[i] = half_to_float(word);
		else
		{
			uint32_t bits = (uint32_t) word << 16;

			memcpy(target + i, &bits, sizeof(bits));
		}
	}
}
