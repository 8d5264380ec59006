/*
 * matmul_few.h
 *		The innermost part of products of few rows: dot products with rows of
 *		weights, which are read once and as they are stored, and sums along
 *		columns of weights that are stored transposed.
 *
 * A dot product is summed in a fixed number of lanes, number i in lane i mod
 * lanes, and the lanes are then added by halves.  So a result depends on its
 * two rows alone: not on how many rows there are, on who else is in the batch,
 * or on how threads divide the work.
 */
#pragma once

#include "device/cpu/cpu.h"

/* Rows of x are filled up with zeros to a multiple of this many numbers. */
#define DOT_PAD 32

/* One row, x[depth], with `rows` rows of W, row_bytes apart, depth a multiple
 * of DOT_PAD: out[j] = beta * out[j] + x . W[j]. */
typedef void (*DotsOfOne)(float *out, const float *x, const void *w,
                          int64_t row_bytes, int64_t rows, int64_t depth,
                          float beta);

typedef struct DotKernels
{
	/*
	 * out[i * out_stride + j] = beta * out[...] + x[i] . w[j] for i < x_rows
	 * and j < w_rows; w is fp32, and its rows end after depth numbers.
	 */
	void (*dots)(float *out, int64_t out_stride, const float *x,
	             int64_t x_stride, int64_t x_rows, const float *w,
	             int64_t w_stride, int64_t w_rows, int64_t depth, float beta);
	/* The same numbers, widened in registers; NULL: widen rows first. */
	DotsOfOne of_one[DTYPE_OTHER];
	/* to[count] = numbers of whole blocks, count a multiple of DOT_PAD; NULL:
	 * dtype_read(), which gives the same. */
	void (*widen[DTYPE_OTHER])(float *to, const uint8_t *blocks, int64_t count);
	/*
	 * out[i][j] = beta * out[i][j] + the sum over d of x[i][d] * w[d][j], for
	 * i < x_rows and j < cols, added up in the order of d: going on with more
	 * of the sum later (beta 1) gives the same bits.
	 */
	void (*columns)(float *out, int64_t out_stride, const float *x,
	                int64_t x_stride, int64_t x_rows, const float *w,
	                int64_t w_stride, int64_t depth, int64_t cols, float beta);
} DotKernels;

/* The best that this machine has. */
extern const DotKernels *cpu_dot_kernels(void);

extern const DotKernels dots_portable;
#ifdef __x86_64__
extern const DotKernels dots_avx2;
extern const DotKernels dots_avx512;
#endif
