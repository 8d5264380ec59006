/*
 * fixed16.h
 *		Numbers of a block as whole ones of 16 bits with a scale: off by at most
 *		1/65534 of the block's largest.
 */
#pragma once

#include "base/kernel.h"

#include <stdint.h>
#include <string.h>

#define FIXED16_BLOCK 64 /* numbers that share a scale */
#define FIXED16_MOST 32767.0f

/* Blocks of smaller numbers are zeros. */
#define FIXED16_LEAST 1e-30f

/* Added to a number below 2^22 it leaves that, rounded to a whole one, in the
 * last bits. */
#define FIXED16_ROUND 12582912.0f

static HOST_DEVICE inline int64_t
fixed16_blocks(int64_t count)
{
	return (count + FIXED16_BLOCK - 1) / FIXED16_BLOCK;
}

static HOST_DEVICE inline uint32_t
fixed16_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

/* Fills code[n] and gives the scale: not finite where a number is not. */
static HOST_DEVICE inline float
fixed16_write(int16_t *code, const float *x, int n)
{
	uint32_t bits = 0;
	float most;
	float factor;

	/* As bits, NaN is the largest of magnitudes. */
	for (int i = 0; i < n; i++)
	{
		uint32_t magnitude = fixed16_bits(x[i]) & 0x7fffffffu;

		bits = magnitude > bits ? magnitude : bits;
	}
	memcpy(&most, &bits, sizeof(most));
	factor = most < FIXED16_LEAST ? 0 : FIXED16_MOST / most;
	for (int i = 0; i < n; i++)
		code[i] =
			(int16_t) (uint16_t) fixed16_bits(x[i] * factor + FIXED16_ROUND);
	return most < FIXED16_LEAST ? 0 : most / FIXED16_MOST;
}

static HOST_DEVICE inline void
fixed16_read(float *x, const int16_t *code, float scale, int n)
{
	for (int i = 0; i < n; i++)
		x[i] = (float) code[i] * scale;
}
