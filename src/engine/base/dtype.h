/*
 * dtype.h
 *		How numbers lie in files: 32-bit floats and the two 16-bit ones.
 */
#pragma once

#include <stdint.h>
#include <stdlib.h>

typedef enum DType
{
	DTYPE_F32,
	DTYPE_F16,
	DTYPE_BF16,
	DTYPE_OTHER /* integers, booleans, ...: kept, but not readable as floats */
} DType;

/* Bytes of one number; 0 for DTYPE_OTHER. */
extern size_t dtype_size(DType dtype);

/* "fp32", "fp16", "bf16", "other", as SQL shows them. */
extern const char *dtype_name(DType dtype);

/* dst[count] = src[count] widened, exactly.  src need not be aligned.  A dtype
 * of DTYPE_OTHER gives zeros. */
extern void dtype_to_f32(float *dst, const void *src, DType dtype,
                         size_t count);

/* dst[count] = src[count] rounded to nearest, ties to even. */
extern void dtype_from_f32(void *dst, const float *src, DType dtype,
                           size_t count);
