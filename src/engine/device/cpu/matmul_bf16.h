/*
 * matmul_bf16.h
 *		The innermost parts of products of bf16, and how their factors are
 *		packed for them.
 *
 * Two neighbours along the sum make a pair: 32 bits, the first one below.
 * Numbers are rounded to nearest, ties to even, as they are packed.  A
 * product's rows come as rows of pairs, its columns in panels: for each pair
 * along the sum BF16_COLS pairs side by side.
 */
#pragma once

#include <stdint.h>

/* Columns that are summed at once. */
#define BF16_COLS 32

/* Pairs that the packed length of a row is a multiple of. */
#define BF16_PAIRS 16

/* The number of the form of weights that are packed as a whole: to be raised
 * with every change of what cpu_pack() fills.  Such weights lie in files that
 * older engines have made. */
#define BF16_PACKING 1

/*
 * A factor, fp32: number p of the sum for row or column i is source[i *
 * stride + p] (along), or source[p * stride + i] (across).  Packing fills the
 * last pairs up with zeros, to a multiple of BF16_PAIRS, and panels' missing
 * columns likewise.
 */
typedef struct Bf16Kernels
{
	int rows; /* that are summed at once, at most */
	/* to[rows][to_stride] pairs */
	void (*rows_along)(uint32_t *to, int64_t to_stride, const float *source,
	                   int64_t stride, int rows, int depth);
	void (*rows_across)(uint32_t *to, int64_t to_stride, const float *source,
	                    int64_t stride, int rows, int depth);
	/* to[pairs][BF16_COLS]; cols at most BF16_COLS */
	void (*panel_along)(uint32_t *to, const float *source, int64_t stride,
	                    int cols, int depth);
	void (*panel_across)(uint32_t *to, const float *source, int64_t stride,
	                     int cols, int depth);
	/*
	 * c[rows][cols] = beta c + the sum over pairs of a's rows and b's panel:
	 * of each pair the second product is added first, then the other, both
	 * rounded (AMX: in an order of its own).  beta 0: c is not read.
	 */
	void (*tile)(float *c, int64_t c_stride, const uint32_t *a,
	             int64_t a_stride, const uint32_t *b, int64_t pairs, int rows,
	             int cols, float beta);
} Bf16Kernels;

/* For any machine. */
extern const Bf16Kernels bf16_portable;

/* By AVX512-BF16, or by AMX and AVX512-BF16; NULL where the processor has none
 * of it, or the system keeps it from us. */
extern const Bf16Kernels *bf16_avx512(void);
extern const Bf16Kernels *bf16_amx(void);

/* The fastest of this machine that are not portable, or NULL. */
extern const Bf16Kernels *bf16_native(void);
