/*
 * dtype.h
 *		How numbers lie in files and in memory: 32-bit floats, the two 16-bit
 *		ones, and blocks of small integers with a scale.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

typedef enum DType
{
	DTYPE_F32,
	DTYPE_F16,
	DTYPE_BF16,
	DTYPE_Q8_0, /* blocks of GGUF: quant.h has their layouts */
	DTYPE_Q4_0,
	DTYPE_Q4_1,
	DTYPE_Q5_0,
	DTYPE_Q5_1,
	DTYPE_Q4_K,
	DTYPE_Q5_K,
	DTYPE_Q6_K,
	DTYPE_NF4, /* of our own layout: quantized in memory, not in files */
	DTYPE_NF4_DOUBLE,
	DTYPE_OTHER /* integers, booleans, ...: kept, but not readable as floats */
} DType;

/* Numbers of the longest block. */
#define DTYPE_BLOCK_MAX 256

/* Bytes of one number; 0 where numbers come in blocks, and for OTHER. */
extern size_t dtype_size(DType dtype);

/* Numbers in a block: 1 for floats, 0 for OTHER. */
extern int dtype_block(DType dtype);

/* Bytes of an array of count numbers, the last block whole; 0 for OTHER. */
extern size_t dtype_bytes(DType dtype, int64_t count);

/* "fp32", "fp16", "bf16", "q8_0", ..., "other", as SQL shows them. */
extern const char *dtype_name(DType dtype);

/*
 * dst[count] = numbers [first, first + count) of the array that begins at
 * src, exactly (blocks: their fp32 formula, see quant.h).  src need not be
 * aligned, and the run may begin and end within a block.  DTYPE_OTHER gives
 * zeros.
 */
extern void dtype_read(float *dst, const void *src, DType dtype, int64_t first,
                       int64_t count);

/* The same from the beginning. */
extern void dtype_to_f32(float *dst, const void *src, DType dtype,
                         size_t count);

/* dst[count] = src[count] rounded to nearest, ties to even.  Floats only:
 * nothing is written for another dtype; for blocks see quant_write(). */
extern void dtype_from_f32(void *dst, const float *src, DType dtype,
                           size_t count);
