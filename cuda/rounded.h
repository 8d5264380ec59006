/*
 * rounded.h
 *		Copies in bf16 of what products read.
 */
#pragma once

#include "cuda/warp.h"

/* Rows of what is rounded begin at multiples of this many numbers: tensor
 * cores load 16 bytes. */
#define ROUNDED_GRAIN 8

/* Where a kernel puts numbers rounded, too; data is NULL: nowhere. */
typedef struct RoundedCopy
{
	Bf16 *data;
	int64_t stride;
} RoundedCopy;

static inline int64_t
rounded_stride(int64_t cols)
{
	return (cols + ROUNDED_GRAIN - 1) / ROUNDED_GRAIN * ROUNDED_GRAIN;
}

/* The copy of exactly these numbers, if there is one. */
extern RoundedCopy cuda_find_rounded(Device *device, const Tensor &x);

/* Room for one, which the next kernel must fill; data is NULL where there is
 * none (failure kept).  The last two that were found or made stay. */
extern RoundedCopy cuda_make_rounded(Device *device, const Tensor &x);

/* For an operation that writes out, and where products are of bf16 its copy:
 * cuda_wrote() besides. */
extern RoundedCopy cuda_also_rounded(Device *device, const Tensor &out);

/* to[j] = value, and the copy's number j of the row. */
static __device__ __forceinline__ void
store_both(float *to, const RoundedCopy &copy, int64_t row, int64_t j,
           float value)
{
	to[j] = value;
	if (copy.data != NULL)
		copy.data[row * copy.stride + j] = bf16_from_float(value);
}
