/*
 * exp.h
 *		The exponential in a form that compilers vectorise.
 */
#pragma once

#include <stdint.h>
#include <string.h>

/*
 * e^x within 2 units in the last place for -86.9 <= x <= 88.7; below that 0
 * (about 2e-38), above it the value at 88.7.
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial.
 */
static inline float
exp_f32(float x)
{
	const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds */
	float clamped = x < -86.9f ? -86.9f : (x > 88.7f ? 88.7f : x);
	float n = clamped * 1.44269504f + shift;
	uint32_t bits;
	float r;
	float p;
	float scale;

	memcpy(&bits, &n, sizeof(bits));
	n -= shift;
	r = clamped - n * 0.693359375f;
	r = r + n * 2.12194440e-4f;
	p = 1.0f / 5040.0f;
	p = p * r + 1.0f / 720.0f;
	p = p * r + 1.0f / 120.0f;
	p = p * r + 1.0f / 24.0f;
	p = p * r + 1.0f / 6.0f;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	/* The last bits of n + shift hold n; two halves of 2^n never overflow.
	 * Unsigned, so that a NaN's bits may be shifted too. */
	bits = (bits - 0x4b400000 + 126) << 23;
	memcpy(&scale, &bits, sizeof(scale));
	p = p * scale * 2.0f;
	return x < -86.9f ? 0.0f : p;
}
