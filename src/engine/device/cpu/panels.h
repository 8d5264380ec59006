/*
 * panels.h
 *		The factor that gives a product of 16 bits its columns, in panels
 *		(matmul_bf16.h): packed as a whole before, or a panel at a time from
 *		weights as they are stored, or from what was packed for the product of
 *		the other direction.
 */
#pragma once

#include "device/cpu/cpu.h"
#include "device/cpu/matmul_bf16.h"

/* [columns of the result, depth] if the sum runs along its stored rows, else
 * [depth, columns]. */
typedef struct Columns
{
	Tensor tensor;
	bool is_along;
	const uint32_t *packed; /* see panels_at(); NULL: it is not */
	const uint32_t *turned; /* it, packed with depth and columns exchanged:
	                         * what is read in place of tensor; or NULL */
	int64_t turned_columns; /* of turned, where it is given, */
	int64_t turned_depth;   /* and the length of its sums */
} Columns;

/* What a product with w, or the gradient of such a product's input, sees. */
extern Columns panels_of(const Matrix *w, bool is_for_input_grad);

static inline int64_t
round_up(int64_t number, int64_t unit)
{
	return (number + unit - 1) / unit * unit;
}

static inline int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Numbers that are summed before they are added to the result: a multiple of
 * 2 BF16_PAIRS. */
extern int64_t panels_block(int64_t depth);

/* Lines of BF16_COLS in a panel of so many pairs. */
static inline int64_t
panel_lines(const PairKernels *kernels, int64_t pairs)
{
	return kernels->has_scales ? pairs + 1 : pairs;
}

/* Where in a packed whole a panel begins, in pairs.  A factor of so many
 * columns is one block of the sum after the other, each with the panels of all
 * columns.  Blocks before the last have a depth of `block`. */
extern int64_t panels_at(const PairKernels *kernels, int64_t columns,
                         int64_t column, int64_t start, int64_t block,
                         int64_t pairs);

/* Floats of scratch for weights that are not stored as fp32. */
extern int64_t panel_scratch(int64_t depth);

/* Fills the panel of columns [first, first + cols), first a multiple of
 * BF16_COLS and cols at most that, and of numbers [start, start + depth) of the
 * sum; wide[panel_scratch(depth)]. */
extern void panel_pack(const PairKernels *kernels, const Columns *b,
                       uint32_t *panel, float *wide, int64_t first, int cols,
                       int64_t start, int depth);

/* Where the numbers of that panel lie, as parts that tiles of so many pairs can
 * fetch.  Gives the number of parts. */
#define PANEL_PARTS 4
extern int panel_parts(const Columns *b, int64_t first, int64_t start,
                       int64_t pairs, PairsAhead part[PANEL_PARTS]);

/* Of a panel that is packed. */
extern int panel_parts_packed(const uint32_t *panel, int64_t pairs,
                              PairsAhead part[PANEL_PARTS]);
