/*
 * dynamic8.h
 *		Numbers of a block as bytes: dynamic quantization, block by block
 *		(arXiv 2110.02861).
 *
 * A number is the level of its code times the scale of its block, which is the
 * block's largest magnitude.  The levels lie in seven decades, [1e-7, 1e-6] to
 * [0.1, 1]: the middles of 2^i equal parts of the i-th, counted from 0, where
 * numbers have signs, and of twice as many where they have none; and 0 and 1.
 * So an error is at most 0.4 % (0.8 % with signs) of the block's largest, and
 * small numbers keep their order of magnitude.
 */
#pragma once

#include "base/kernel.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define DYNAMIC8_BLOCK 256 /* numbers that share a scale */

/* The signed code of 0; n above and below it are the n-th levels. */
#define DYNAMIC8_ZERO 127

#define DYNAMIC8_DECADES 7

/* How the nearest of the magnitudes, counted from 0 at 0, is found: beyond
 * edge[i] it is that of the i-th decade, or 1 behind the last. */
typedef struct Dynamic8Search
{
	float edge[DYNAMIC8_DECADES + 1];
	float factor[DYNAMIC8_DECADES + 1];
	float offset[DYNAMIC8_DECADES + 1];
	float last[DYNAMIC8_DECADES + 1];
} Dynamic8Search;

typedef struct Dynamic8
{
	float level[256]; /* of each code, rising */
	Dynamic8Search search;
} Dynamic8;

/* Numbers with signs, and those that have none, as squares. */
extern Dynamic8 dynamic8_signed;
extern Dynamic8 dynamic8_square;

/*
 * The nearest of a magnitude of [0, 1]; between two that are equally near,
 * within 1e-6 of the magnitude, one of them.  Of anything else one that there
 * is.  Without branches, for loops over vectors.
 */
static HOST_DEVICE inline int
dynamic8_nearest(const Dynamic8Search *search, float magnitude)
{
	float factor = 0;
	float offset = 0;
	float last = 0;
	float n;

	for (int i = 0; i <= DYNAMIC8_DECADES; i++)
	{
		bool is_beyond = magnitude > search->edge[i];

		factor = is_beyond ? search->factor[i] : factor;
		offset = is_beyond ? search->offset[i] : offset;
		last = is_beyond ? search->last[i] : last;
	}
	n = fmaf(magnitude, factor, offset);
	return (int) (n < last ? n : last);
}

/* The nearest signed magnitude n as a code; the lowest has no level of -1. */
static HOST_DEVICE inline int
dynamic8_signed_code(float number, int n)
{
	int below = n < DYNAMIC8_ZERO ? n : DYNAMIC8_ZERO;

	return number < 0 ? DYNAMIC8_ZERO - below : DYNAMIC8_ZERO + n;
}

/*
 * The same of a square.  One above 0 stays so: as 0 it would make AdamW divide
 * by eps, and the step many times too long.
 */
static HOST_DEVICE inline int
dynamic8_square_code(float number, int n)
{
	return number > 0 && n == 0 ? 1 : n;
}

/* The scale of a block with this largest magnitude: 0, or a number whose
 * inverse is one, too. */
static HOST_DEVICE inline float
dynamic8_scale(float most)
{
	if (!(most >= 0x1p-126f))
		return 0;
	return most < 0x1p126f ? most : 0x1p126f;
}

/* What makes magnitudes of numbers. */
static HOST_DEVICE inline float
dynamic8_inverse(float scale)
{
	return scale > 0 ? 1.0f / scale : 0;
}
