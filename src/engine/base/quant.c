/*
 * quant.c
 *		From blocks of small integers to floats.
 *
 * Each function writes whole runs in loops of constant length, so that the
 * compiler turns them into vector instructions.
 */
#include "base/quant.h"

#include "base/dynamic8.h"
#include "base/kernel.h"

#include <string.h>

static inline float
read_half(const uint8_t *bytes)
{
	return half_to_float((uint16_t) (bytes[0] | bytes[1] << 8));
}

static inline uint32_t
read_bits(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 |
	       (uint32_t) bytes[2] << 16 | (uint32_t) bytes[3] << 24;
}

CPU_KERNEL static void
read_q8_0(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 34, dst += 32)
	{
		const int8_t *q = (const int8_t *) src + 2;
		float d = read_half(src);

#pragma omp simd
		for (int i = 0; i < 32; i++)
			dst[i] = d * (float) q[i];
	}
}

CPU_KERNEL static void
read_q4_0(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 18, dst += 32)
	{
		const uint8_t *q = src + 2;
		float d = read_half(src);

#pragma omp simd
		for (int i = 0; i < 16; i++)
			dst[i] = d * (float) ((q[i] & 15) - 8);
#pragma omp simd
		for (int i = 0; i < 16; i++)
			dst[16 + i] = d * (float) ((q[i] >> 4) - 8);
	}
}

CPU_KERNEL static void
read_q4_1(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 20, dst += 32)
	{
		const uint8_t *q = src + 4;
		float d = read_half(src);
		float m = read_half(src + 2);

#pragma omp simd
		for (int i = 0; i < 16; i++)
			dst[i] = d * (float) (q[i] & 15) + m;
#pragma omp simd
		for (int i = 0; i < 16; i++)
			dst[16 + i] = d * (float) (q[i] >> 4) + m;
	}
}

CPU_KERNEL static void
read_q5_0(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 22, dst += 32)
	{
		const uint8_t *q = src + 6;
		uint32_t high = read_bits(src + 2);
		float d = read_half(src);

#pragma omp simd
		for (int i = 0; i < 16; i++)
		{
			int low = (q[i] & 15) | (int) (high >> i << 4 & 16);
			int next = (q[i] >> 4) | (int) (high >> (i + 16) << 4 & 16);

			dst[i] = d * (float) (low - 16);
			dst[16 + i] = d * (float) (next - 16);
		}
	}
}

CPU_KERNEL static void
read_q5_1(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 24, dst += 32)
	{
		const uint8_t *q = src + 8;
		uint32_t high = read_bits(src + 4);
		float d = read_half(src);
		float m = read_half(src + 2);

#pragma omp simd
		for (int i = 0; i < 16; i++)
		{
			int low = (q[i] & 15) | (int) (high >> i << 4 & 16);
			int next = (q[i] >> 4) | (int) (high >> (i + 16) << 4 & 16);

			dst[i] = d * (float) low + m;
			dst[16 + i] = d * (float) next + m;
		}
	}
}

/* The pair of 6-bit numbers of part i of 8: the first four pairs lie in the
 * low bits of bytes i and i + 4, the others are put together. */
static inline void
read_pair(const uint8_t *packed, int i, float *scale, float *least)
{
	if (i < 4)
	{
		*scale = (float) (packed[i] & 63);
		*least = (float) (packed[i + 4] & 63);
		return;
	}
	*scale = (float) ((packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4);
	*least = (float) ((packed[i + 4] >> 4) | (packed[i] >> 6) << 4);
}

/* Blocks of eight parts with a pair each, and a fifth bit or not. */
__attribute__((always_inline)) static inline void
read_parts(float *restrict dst, const uint8_t *restrict src, int64_t blocks,
           bool has_fifth)
{
	for (int64_t b = 0; b < blocks; b++, dst += 256)
	{
		const uint8_t *high = src + 16;
		const uint8_t *low = has_fifth ? high + 32 : high;
		float d = read_half(src);
		float m = read_half(src + 2);

		for (int part = 0; part < 8; part++)
		{
			const uint8_t *q = low + part / 2 * 32;
			int shift = part % 2 * 4;
			float *to = dst + part * 32;
			float scale;
			float least;

			read_pair(src + 4, part, &scale, &least);
			scale *= d;
			least *= m;
#pragma omp simd
			for (int i = 0; i < 32; i++)
			{
				int n = q[i] >> shift & 15;

				if (has_fifth)
					n |= (high[i] >> part & 1) << 4;
				to[i] = scale * (float) n - least;
			}
		}
		src = low + 128;
	}
}

CPU_KERNEL static void
read_q4_k(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	read_parts(dst, src, blocks, false);
}

CPU_KERNEL static void
read_q5_k(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	read_parts(dst, src, blocks, true);
}

CPU_KERNEL static void
read_q6_k(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 210, dst += 256)
	{
		const int8_t *scales = (const int8_t *) src + 192;
		float d = read_half(src + 208);

		for (int part = 0; part < 8; part++)
		{
			/* Halves of 128: four parts share 64 low and 32 high bytes. */
			const uint8_t *low = src + part / 4 * 64 + part % 2 * 32;
			const uint8_t *high = src + 128 + part / 4 * 32;
			int low_shift = part % 4 / 2 * 4;
			int high_shift = part % 4 * 2;

			for (int half = 0; half < 2; half++)
			{
				float scale = d * (float) scales[2 * part + half];
				float *to = dst + part * 32 + half * 16;

#pragma omp simd
				for (int i = 0; i < 16; i++)
				{
					int n = (low[half * 16 + i] >> low_shift & 15) |
					        (high[half * 16 + i] >> high_shift & 3) << 4;

					to[i] = scale * (float) (n - 32);
				}
			}
		}
	}
}

/* 64 codes times the block's largest number. */
CPU_KERNEL static void
read_codes(float *restrict dst, const uint8_t *restrict src, float most)
{
#pragma omp simd
	for (int i = 0; i < NF4_BLOCK / 2; i++)
		dst[i] = nf4_codes[src[i] & 15] * most;
#pragma omp simd
	for (int i = 0; i < NF4_BLOCK / 2; i++)
		dst[NF4_BLOCK / 2 + i] = nf4_codes[src[i] >> 4] * most;
}

static void
read_nf4(float *restrict dst, const uint8_t *restrict src, int64_t blocks)
{
	for (int64_t b = 0; b < blocks; b++, src += 36, dst += NF4_BLOCK)
	{
		float most;

		memcpy(&most, src, sizeof(most));
		read_codes(dst, src + sizeof(most), most);
	}
}

/* A block of a group, by its number in the array. */
static void
read_group_block(float *dst, const uint8_t *src, int64_t number)
{
	const uint8_t *group = src + number / NF4_GROUP * NF4_GROUP_BYTES;
	int64_t block = number % NF4_GROUP;
	float scale;
	float mean;

	memcpy(&scale, group, sizeof(scale));
	memcpy(&mean, group + 4, sizeof(mean));
	read_codes(dst, group + NF4_HEAD + block * (NF4_BLOCK / 2),
	           dynamic8_signed.level[group[8 + block]] * scale + mean);
}

void
nf4_double_read(float *dst, const uint8_t *src, int64_t first, int64_t count)
{
	while (count > 0)
	{
		int64_t skip = first % NF4_BLOCK;
		int64_t part = NF4_BLOCK - skip < count ? NF4_BLOCK - skip : count;
		float whole[NF4_BLOCK];

		if (part == NF4_BLOCK)
			read_group_block(dst, src, first / NF4_BLOCK);
		else
		{
			read_group_block(whole, src, first / NF4_BLOCK);
			memcpy(dst, whole + skip, (size_t) part * sizeof(float));
		}
		dst += part;
		first += part;
		count -= part;
	}
}

static const QuantInfo infos[] = {
	[DTYPE_Q8_0] = {32, 34, read_q8_0},
	[DTYPE_Q4_0] = {32, 18, read_q4_0},
	[DTYPE_Q4_1] = {32, 20, read_q4_1},
	[DTYPE_Q5_0] = {32, 22, read_q5_0},
	[DTYPE_Q5_1] = {32, 24, read_q5_1},
	[DTYPE_Q4_K] = {256, 144, read_q4_k},
	[DTYPE_Q5_K] = {256, 176, read_q5_k},
	[DTYPE_Q6_K] = {256, 210, read_q6_k},
	[DTYPE_NF4] = {NF4_BLOCK, 36, read_nf4},
	[DTYPE_OTHER] = {0, 0, NULL},
};

const QuantInfo *
quant_info(DType dtype)
{
	return infos[dtype].read == NULL ? NULL : &infos[dtype];
}

/* ----------------------------------------------------- as whole numbers */

/* The halves of 16 bytes, the low ones first, less `zero`. */
static void
read_halves(int8_t *code, const uint8_t *bytes, int zero)
{
	for (int i = 0; i < 16; i++)
	{
		code[i] = (int8_t) ((bytes[i] & 15) - zero);
		code[16 + i] = (int8_t) ((bytes[i] >> 4) - zero);
	}
}

static void
add_fifth_bits(int8_t *code, uint32_t bits)
{
	for (int i = 0; i < 32; i++)
		code[i] = (int8_t) (code[i] + (int) (bits >> i & 1) * 16);
}

static void
codes_of_q8_0(QuantCodes *codes, const uint8_t *block, int part)
{
	(void) part;
	*codes = (QuantCodes){.scale = read_half(block)};
	memcpy(codes->code, block + 2, 32);
}

static void
codes_of_q4_0(QuantCodes *codes, const uint8_t *block, int part)
{
	(void) part;
	*codes = (QuantCodes){.scale = read_half(block)};
	read_halves(codes->code, block + 2, 8);
}

static void
codes_of_q4_1(QuantCodes *codes, const uint8_t *block, int part)
{
	(void) part;
	codes->scale = read_half(block);
	codes->least = read_half(block + 2);
	read_halves(codes->code, block + 4, 0);
}

static void
codes_of_q5_0(QuantCodes *codes, const uint8_t *block, int part)
{
	(void) part;
	*codes = (QuantCodes){.scale = read_half(block)};
	read_halves(codes->code, block + 6, 16);
	add_fifth_bits(codes->code, read_bits(block + 2));
}

static void
codes_of_q5_1(QuantCodes *codes, const uint8_t *block, int part)
{
	(void) part;
	codes->scale = read_half(block);
	codes->least = read_half(block + 2);
	read_halves(codes->code, block + 8, 0);
	add_fifth_bits(codes->code, read_bits(block + 4));
}

/* Part `part` of 8 of a block of Q4_K or Q5_K, whose bytes are `low`. */
static void
codes_of_part(QuantCodes *codes, const uint8_t *block, const uint8_t *low,
              int part)
{
	const uint8_t *q = low + part / 2 * 32;
	float scale;
	float least;

	read_pair(block + 4, part, &scale, &least);
	codes->scale = read_half(block) * scale;
	codes->least = -(read_half(block + 2) * least);
	for (int i = 0; i < 32; i++)
		codes->code[i] = (int8_t) (q[i] >> part % 2 * 4 & 15);
}

static void
codes_of_q4_k(QuantCodes *codes, const uint8_t *block, int part)
{
	codes_of_part(codes, block, block + 16, part);
}

static void
codes_of_q5_k(QuantCodes *codes, const uint8_t *block, int part)
{
	uint32_t bits = 0;

	codes_of_part(codes, block, block + 48, part);
	for (int i = 0; i < 32; i++)
		bits |= (uint32_t) (block[16 + i] >> part & 1) << i;
	add_fifth_bits(codes->code, bits);
}

/* Of a run of a block, and whether least is not always 0. */
static const struct
{
	void (*read)(QuantCodes *codes, const uint8_t *block, int part);
	bool has_least;
} coded[] = {
	[DTYPE_Q8_0] = {codes_of_q8_0, false},
	[DTYPE_Q4_0] = {codes_of_q4_0, false},
	[DTYPE_Q4_1] = {codes_of_q4_1, true},
	[DTYPE_Q5_0] = {codes_of_q5_0, false},
	[DTYPE_Q5_1] = {codes_of_q5_1, true},
	[DTYPE_Q4_K] = {codes_of_q4_k, true},
	[DTYPE_Q5_K] = {codes_of_q5_k, true},
	[DTYPE_OTHER] = {NULL, false},
};

bool
quant_has_codes(DType dtype)
{
	return coded[dtype].read != NULL;
}

bool
quant_has_least(DType dtype)
{
	return coded[dtype].has_least;
}

void
quant_read_codes(QuantCodes *codes, const uint8_t *src, DType dtype,
                 int64_t first)
{
	const QuantInfo *info = &infos[dtype];

	coded[dtype].read(codes, src + first / info->block * info->bytes,
	                  (int) (first % info->block / QUANT_CODES));
}
