/*
 * matmul_codes.h
 *		The innermost parts of products with weights that are stored as small
 *		whole numbers with a scale for each block, and how both factors are
 *		packed for them.
 *
 * Weights stay exact.  Activations become whole numbers of 16 bits, with a
 * scale for each 32 of them, rounded to nearest, ties to even: what is lost is
 * 1.5e-5 of the largest of 32 at most.  The 32 products of a block add up
 * exactly, for 32 * 128 * 32767 is below 2^31, and sums of blocks are added in
 * fp32, one after the other: a number of the result depends on its two rows
 * alone, not on who is in the batch, or on how threads divide the work.
 */
#pragma once

#include "base/quant.h"

#include <stddef.h>

#define CODE_COLS 32 /* columns of a panel */
#define CODE_PAIRS (QUANT_CODES / 2)

/* Where all numbers of a block are smaller they count as 0. */
#define CODE_LEAST 1e-30f

/* A block of a row: two neighbours along the sum make a pair, the first one
 * below. */
typedef struct CodeRow
{
	uint32_t pair[CODE_PAIRS];
	float scale;
	float sum; /* of the numbers that the codes stand for */
} CodeRow;

/* A block of a panel of columns, without `least` where it is 0 for all. */
typedef struct CodePanel
{
	int8_t code[CODE_PAIRS][CODE_COLS][2];
	float scale[CODE_COLS];
	float least[CODE_COLS];
} CodePanel;

typedef struct CodeKernels
{
	int rows; /* that are summed at once, at most */
	/* to[blocks] = row[blocks * QUANT_CODES].  A block with a number that is
	 * not finite has NaN for a scale. */
	void (*pack_row)(CodeRow *to, const float *row, int64_t blocks);
	/* c[rows][cols] = beta c + a[rows][blocks] b, cols at most CODE_COLS; rows
	 * of a are `blocks` apart.  beta 0: c is not read.  Meanwhile so many lines
	 * of the cache a block are fetched from `ahead` on. */
	void (*tile)(float *c, int64_t c_stride, const CodeRow *a, const uint8_t *b,
	             int64_t blocks, bool has_least, int rows, int cols, float beta,
	             const uint8_t *ahead, int lines);
} CodeKernels;

static inline size_t
code_panel_bytes(bool has_least)
{
	return has_least ? sizeof(CodePanel) : offsetof(CodePanel, least);
}

/* For any machine; by AVX512-VNNI, or NULL. */
extern const CodeKernels codes_portable;
extern const CodeKernels *codes_avx512(void);
