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
 */
#pragma once

#include "base/dtype.h"

/* Numbers and bytes of a block, and how blocks become floats. */
typedef struct QuantInfo
{
	int block;
	int bytes;
	void (*read)(float *dst, const uint8_t *src, int64_t blocks);
} QuantInfo;

/* The layout of a dtype of blocks, or NULL for another. */
extern const QuantInfo *quant_info(DType dtype);

/* A half as a float, exactly. */
extern float half_to_float(uint16_t half);
