/*
 * dtype.h
 *		The number formats of stored and computed tensors.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum DType
{
	DTYPE_F32,
	DTYPE_F16,
	DTYPE_BF16,
	DTYPE_OTHER /* stored, but nothing we compute with (integer buffers) */
} DType;

/* Bytes of one element; 0 for DTYPE_OTHER. */
extern size_t dtype_size(DType dtype);

/* As SQL shows it: "fp32", "fp16", "bf16", "other". */
extern const char *dtype_name(DType dtype);

/* Converts count elements; source need not be aligned. */
extern void dtype_to_f32(float *target, const void *source, DType dtype,
                         size_t count);
