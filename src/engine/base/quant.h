/*
 * quant.h
 *		Blocks of small integers with a scale, as ggml lays them out.
 *
 * d and m are halves (fp16), q small integers; a number is d * q, d * q + m
 * or, with scales of a part of the block, (d * s) * q - (m * t), each product
 * and sum rounded to fp32: what ggml and its Python package compute.
 *
 *	Q8_0  32: d, 32 signed bytes
 *	Q4_0  32: d, 16 bytes; the low halves are numbers 0..15; q = n - 8
 *	Q4_1  32: d, m, 16 bytes
 *	Q5_0  32: d, 32 fifth bits, 16 bytes; q = n - 16
 *	Q5_1  32: d, m, 32 fifth bits, 16 bytes
 *	Q4_K 256: d, m, 8 pairs of 6-bit (s, t) in 12 bytes, 128 bytes
 *	Q5_K 256: d, m, the same 12 bytes, 256 fifth bits, 128 bytes
 *	Q6_K 256: 128 bytes of low and 64 of high bits, 16 signed s, d
 *
 * Two more serve frozen weights in memory (QLoRA).  Their numbers are one of
 * 16 codes times the block's largest number, a:
 *
 *	NF4   64: a (fp32), 32 bytes; the low halves are numbers 0..31
 *	NF4_DOUBLE: groups of 256 such blocks: scale and mean (fp32), 256 bytes
 *		c, and the blocks' 32 bytes each; a = level[c] * scale + mean, the levels
 *		being those of signed numbers in dynamic8.h
 */
#pragma once

#include "base/dtype.h"

#define NF4_BLOCK 64
#define NF4_GROUP 256            /* blocks */
#define NF4_HEAD (8 + NF4_GROUP) /* bytes before them */
#define NF4_GROUP_BYTES (NF4_HEAD + NF4_GROUP * NF4_BLOCK / 2)

/* Of NF4's numbers. */
extern const float nf4_codes[16];

/*
 * A run of numbers as whole ones: number i is scale * code[i] + least, but for
 * the roundings that the formulas above have.
 */
#define QUANT_CODES 32

typedef struct QuantCodes
{
	int8_t code[QUANT_CODES];
	float scale;
	float least;
} QuantCodes;

/* Whether runs of the dtype are such; and whether least is not always 0. */
extern bool quant_has_codes(DType dtype);
extern bool quant_has_least(DType dtype);

/* The run that begins at this number of an array of such a dtype, a multiple of
 * QUANT_CODES. */
extern void quant_read_codes(QuantCodes *codes, const uint8_t *src, DType dtype,
                             int64_t first);

/* Numbers and bytes of a block, and how blocks become floats. */
typedef struct QuantInfo
{
	int block;
	int bytes;
	void (*read)(float *dst, const uint8_t *src, int64_t blocks);
} QuantInfo;

/* The layout of a dtype of blocks that lie one after the other, or NULL for
 * another. */
extern const QuantInfo *quant_info(DType dtype);

/*
 * Quantizes an array of count numbers, a multiple of the block, into
 * dtype_bytes().  False for a dtype that is only read.
 */
extern bool quant_write(void *dst, const float *src, DType dtype,
                        int64_t count);

/* Numbers [first, first + count) of an NF4_DOUBLE array. */
extern void nf4_double_read(float *dst, const uint8_t *src, int64_t first,
                            int64_t count);

/* A half as a float, exactly; and the nearest half. */
extern uint16_t half_from_float(float value);
extern float half_to_float(uint16_t half);
