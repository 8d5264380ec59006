/*
 * dtype.c
 *		Conversion between 32-bit floats and their shorter forms.
 */
#include "base/dtype.h"

#include "base/kernel.h"
#include "base/quant.h"

#include <string.h>

static const char *const names[] = {
	[DTYPE_F32] = "fp32",
	[DTYPE_F16] = "fp16",
	[DTYPE_BF16] = "bf16",
	[DTYPE_Q8_0] = "q8_0",
	[DTYPE_Q4_0] = "q4_0",
	[DTYPE_Q4_1] = "q4_1",
	[DTYPE_Q5_0] = "q5_0",
	[DTYPE_Q5_1] = "q5_1",
	[DTYPE_Q4_K] = "q4_k",
	[DTYPE_Q5_K] = "q5_k",
	[DTYPE_Q6_K] = "q6_k",
	[DTYPE_NF4] = "nf4",
	[DTYPE_NF4_DOUBLE] = "nf4_double",
	[DTYPE_OTHER] = "other",
};

size_t
dtype_size(DType dtype)
{
	return dtype == DTYPE_F32                          ? 4
	       : dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? 2
	                                                   : 0;
}

int
dtype_block(DType dtype)
{
	const QuantInfo *quant = quant_info(dtype);

	if (dtype == DTYPE_NF4_DOUBLE)
		return NF4_BLOCK;
	return quant != NULL ? quant->block : dtype != DTYPE_OTHER;
}

size_t
dtype_bytes(DType dtype, int64_t count)
{
	const QuantInfo *quant = quant_info(dtype);
	size_t blocks;

	if (quant != NULL)
	{
		blocks = ((size_t) count + (size_t) quant->block - 1) /
		         (size_t) quant->block;
		return blocks * (size_t) quant->bytes;
	}
	if (dtype == DTYPE_NF4_DOUBLE)
	{
		blocks = ((size_t) count + NF4_BLOCK - 1) / NF4_BLOCK;
		return (blocks + NF4_GROUP - 1) / NF4_GROUP * NF4_HEAD +
		       blocks * NF4_BLOCK / 2;
	}
	return (size_t) count * dtype_size(dtype);
}

const char *
dtype_name(DType dtype)
{
	return names[dtype];
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

/*
 * Without a branch, so that loops of it become vector instructions.  A
 * subnormal is mantissa * 2^-24, exact in 32 bits.
 */
static inline float
widen_half(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t magnitude = (uint32_t) (half & 0x7fff);
	uint32_t small = bits_of_float((float) (int32_t) magnitude * 0x1p-24f);
	uint32_t normal = (magnitude << 13) + (112u << 23);
	uint32_t is_small = -(uint32_t) (magnitude < 0x400);
	uint32_t is_large = -(uint32_t) (magnitude >= 0x7c00);

	/* The exponent of infinities and NaNs goes on to 255. */
	normal += is_large & 112u << 23;
	return float_of_bits(sign | (small & is_small) | (normal & ~is_small));
}

float
half_to_float(uint16_t half)
{
	return widen_half(half);
}

CPU_KERNEL static void
widen_halves(float *dst, const uint8_t *src, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
	{
		uint16_t half;

		memcpy(&half, src + 2 * i, sizeof(half));
		dst[i] = widen_half(half);
	}
}

CPU_KERNEL static void
widen_bfloats(float *dst, const uint8_t *src, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
	{
		uint16_t half;

		memcpy(&half, src + 2 * i, sizeof(half));
		dst[i] = float_of_bits((uint32_t) half << 16);
	}
}

uint16_t
half_from_float(float value)
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

/* Part of one block: numbers [skip, skip + count) of it. */
static void
read_part(float *dst, const uint8_t *block, const QuantInfo *quant,
          int64_t skip, int64_t count)
{
	float whole[DTYPE_BLOCK_MAX];

	quant->read(whole, block, 1);
	memcpy(dst, whole + skip, (size_t) count * sizeof(float));
}

static void
read_blocks(float *dst, const uint8_t *src, const QuantInfo *quant,
            int64_t first, int64_t count)
{
	int64_t skip = first % quant->block;
	const uint8_t *block = src + first / quant->block * quant->bytes;
	int64_t blocks;

	if (skip > 0)
	{
		int64_t part =
			quant->block - skip < count ? quant->block - skip : count;

		read_part(dst, block, quant, skip, part);
		dst += part;
		count -= part;
		block += quant->bytes;
	}
	blocks = count / quant->block;
	quant->read(dst, block, blocks);
	count -= blocks * quant->block;
	if (count > 0)
		read_part(dst + blocks * quant->block, block + blocks * quant->bytes,
		          quant, 0, count);
}

void
dtype_read(float *dst, const void *src, DType dtype, int64_t first,
           int64_t count)
{
	const uint8_t *bytes = src;
	const QuantInfo *quant = quant_info(dtype);

	if (count == 0)
		return;
	if (quant != NULL)
		read_blocks(dst, bytes, quant, first, count);
	else if (dtype == DTYPE_NF4_DOUBLE)
		nf4_double_read(dst, bytes, first, count);
	else if (dtype == DTYPE_F32)
		memcpy(dst, bytes + 4 * first, (size_t) count * sizeof(float));
	else if (dtype == DTYPE_F16)
		widen_halves(dst, bytes + 2 * first, count);
	else if (dtype == DTYPE_BF16)
		widen_bfloats(dst, bytes + 2 * first, count);
	else
		memset(dst, 0, (size_t) count * sizeof(float));
}

void
dtype_to_f32(float *dst, const void *src, DType dtype, size_t count)
{
	dtype_read(dst, src, dtype, 0, (int64_t) count);
}

void
dtype_from_f32(void *dst, const float *src, DType dtype, size_t count)
{
	uint8_t *bytes = dst;

	if (count == 0)
		return;
	if (dtype == DTYPE_F32)
		memcpy(dst, src, count * sizeof(float));
	else if (dtype_size(dtype) == 2)
		for (size_t i = 0; i < count; i++)
		{
			uint16_t half = dtype == DTYPE_F16 ? half_from_float(src[i])
			                                   : float_to_bfloat(src[i]);

			memcpy(bytes + 2 * i, &half, sizeof(half));
		}
}
