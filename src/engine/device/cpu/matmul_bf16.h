/*
 * matmul_bf16.h
 *		The innermost parts of products of 16 bits, and how their factors are
 *		packed for them.
 *
 * Two neighbours along the sum make a pair: 32 bits, the first one below.  A
 * product's rows come as rows of pairs, its columns in panels: for each pair
 * along the sum BF16_COLS pairs side by side.
 *
 * Numbers are rounded to nearest, ties to even, as they are packed: to bf16,
 * or to whole numbers of 16 bits, which are multiplied and added exactly.
 * These have a scale for each row or column of a block of the sum, the
 * largest with which no sum can overflow 32 bits: by Cauchy and Schwarz it is
 * at most the product of the lengths of both vectors.  So each vector is scaled
 * to a length of INT16_LENGTH, and what is lost is 1.5e-4 of its length where
 * it has 576 numbers, a fifth of what bf16 loses, at the same speed.
 */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* Columns that are summed at once. */
#define BF16_COLS 32

/* Pairs that the packed length of a row is a multiple of. */
#define BF16_PAIRS 16

/* The number of the form of weights that are packed as a whole: to be raised
 * with every change of what cpu_pack() fills.  Such weights lie in files that
 * older engines have made. */
#define BF16_PACKING 5

/* Rounded, a vector of at most 1024 numbers is longer by 16 at most, and two
 * of them have a product below 2^31. */
#define INT16_LENGTH 46300

/* Pairs in 64 bytes, a line of the caches. */
#define PAIRS_IN_LINE 16

/* What is read next, wherever that points: a line for so many pairs that are
 * multiplied; BF16_PAIRS of them `step` bytes apart, the next ones `jump`
 * bytes on. */
typedef struct PairsAhead
{
	const void *at;
	int64_t step;
	int64_t jump;
	int64_t pairs;
} PairsAhead;

/*
 * A factor, fp32: number p of the sum for row or column i is source[i *
 * stride + p] (along), or source[p * stride + i] (across).  Packing fills the
 * last pairs up with zeros, to a multiple of BF16_PAIRS, and panels' missing
 * columns likewise.
 */
typedef struct PairKernels
{
	int rows;     /* that are summed at once, at most */
	int step;     /* pairs that are summed are a multiple of it */
	int row_size; /* pairs that a row takes for each of them */
	/* Behind the pairs of a row is the float that its whole numbers are to be
	 * multiplied by, behind those of a panel one for each column. */
	bool has_scales;
	/* NULL, or what is called on the thread before tiles of at most so many
	 * rows, and behind the last of them.  Tiles may read a row more than they
	 * have of these. */
	void (*begin)(int rows);
	void (*end)(void);
	/* to[rows][to_stride] pairs */
	void (*rows_along)(uint32_t *to, int64_t to_stride, const float *source,
	                   int64_t stride, int rows, int depth);
	/* NULL with has_scales */
	void (*rows_across)(uint32_t *to, int64_t to_stride, const float *source,
	                    int64_t stride, int rows, int depth);
	/* to[pairs (+ 1)][BF16_COLS]; cols at most BF16_COLS */
	void (*panel_along)(uint32_t *to, const float *source, int64_t stride,
	                    int cols, int depth);
	void (*panel_across)(uint32_t *to, const float *source, int64_t stride,
	                     int cols, int depth);
	/* to[16][BF16_COLS]: pairs of 32 columns of the sum, of BF16_COLS numbers
	 * each, that `lines` has as 16 pairs of numbers of BF16_COLS columns; as
	 * bf16 or, with scale[BF16_COLS], whole.  NULL with has_scales. */
	void (*turn)(uint32_t *to, const uint32_t *lines, const float *scale);
	/*
	 * c[rows][cols] = beta c + the sum over pairs of a's rows and b's panel:
	 * of each pair the second product is added first, then the other, both
	 * rounded (AMX: in an order of its own; whole numbers: neither is).
	 * beta 0: c is not read.  What is ahead is fetched on the way; NULL: there
	 * is nothing.
	 */
	void (*tile)(float *c, int64_t c_stride, const uint32_t *a,
	             int64_t a_stride, const uint32_t *b, int64_t pairs, int rows,
	             int cols, float beta, const PairsAhead *ahead);
} PairKernels;

/* For any machine. */
extern const PairKernels bf16_portable;

/* By AVX512-BF16, or by AMX and AVX512-BF16; NULL where the processor has none
 * of it, or the system keeps it from us. */
extern const PairKernels *bf16_avx512(void);
extern const PairKernels *bf16_amx(void);

/* The fastest of this machine that are not portable, or NULL. */
extern const PairKernels *bf16_native(void);

/* What products are computed with.  Gradients are rounded to bf16, which any
 * range of them suits; the way forward has whole numbers, which are nearer. */
extern const PairKernels *bf16_kernels(bool is_forward);

/* Whole numbers: for any machine; by AVX512-VNNI, or NULL. */
extern const PairKernels int16_portable;
extern const PairKernels *int16_avx512(void);

/*
 * Whole numbers by AMX, or NULL.  A number is 256 times its upper byte and the
 * lower one, both with a sign, so panels have 1 more in the upper byte where
 * the lower one is negative.  Rows have their pairs twice, in turns of
 * BF16_PAIRS: with bytes exchanged, and with 0 for lower ones, which a panel's
 * bytes make the two sums of.  The product of both lower bytes is left out;
 * vectors are scaled by their largest number, and their lengths do not matter.
 */
extern const PairKernels *int16_amx(void);

/* How its factors are packed, by AVX512-VNNI; NULL without it.  It has no
 * tile. */
extern const PairKernels *int16_split_avx512(void);

/* What vectors of whole numbers are scaled to at most. */
typedef struct Int16Limits
{
	float length;
	float most; /* of the largest number's magnitude */
} Int16Limits;

#define INT16_LIMITS ((Int16Limits){INT16_LENGTH, INT16_MAX})
/* Its upper byte is 127 as long as the lower one has no more. */
#define INT16_SPLIT_LIMITS ((Int16Limits){INFINITY, 127 * 256 + 127})

/* What numbers source[p * step] are multiplied by before they are rounded to
 * whole ones: 0 where all are 0, NaN where one is not finite. */
extern float int16_factor(const float *source, int64_t step, int depth,
                          Int16Limits limits);
