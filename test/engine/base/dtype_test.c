/*
 * dtype_test.c
 *		Stored numbers as floats: halves by their definition, blocks by the
 *		formulas of quant.h, runs of them that begin anywhere.
 */
#include "testing.h"

#include "base/quant.h"
#include "base/random.h"

#include <math.h>

/* Sign, five bits of exponent, ten of mantissa. */
static double
half_value(int bits)
{
	double sign = bits & 0x8000 ? -1 : 1;
	int exponent = bits >> 10 & 31;
	int mantissa = bits & 1023;

	if (exponent == 31)
		return mantissa == 0 ? sign * INFINITY : NAN;
	if (exponent == 0)
		return sign * ldexp(mantissa, -24);
	return sign * ldexp(1024 + mantissa, exponent - 25);
}

static void
every_half_is_widened_exactly(void **state)
{
	static uint16_t halves[65536];
	static float wide[65536];

	(void) state;
	for (int i = 0; i < 65536; i++)
		halves[i] = (uint16_t) i;
	dtype_to_f32(wide, halves, DTYPE_F16, 65536);
	for (int i = 0; i < 65536; i++)
	{
		double expected = half_value(i);

		assert_true(isnan(expected) ? isnan(wide[i]) : wide[i] == expected);
		assert_int_equal(signbit(wide[i]) != 0, i >> 15);
		assert_int_equal(
			memcmp(&(float){half_to_float(halves[i])}, &wide[i], sizeof(float)),
			0);
	}
}

/* A block of the dtype: random bits, with halves that are moderate. */
static void
random_block(DType dtype, uint8_t *block, uint64_t seed)
{
	int bytes = (int) dtype_bytes(dtype, dtype_block(dtype));

	for (int i = 0; i < bytes; i++)
		block[i] = (uint8_t) random_bits(seed, (uint64_t) dtype, (uint64_t) i);
	/* Second bytes of halves hold the exponent: 2^-3 to 2^0. */
	block[1] = (uint8_t) ((block[1] & 0x83) | 0x30);
	block[3] = (uint8_t) ((block[3] & 0x83) | 0x30);
	block[bytes - 1] = (uint8_t) ((block[bytes - 1] & 0x83) | 0x30);
}

static float
half_at(const uint8_t *bytes)
{
	return half_to_float((uint16_t) (bytes[0] | bytes[1] << 8));
}

/* Number i of a block of 32, with integers of four or five bits. */
static float
short_number(DType dtype, const uint8_t *block, int i)
{
	bool has_m = dtype == DTYPE_Q4_1 || dtype == DTYPE_Q5_1;
	bool has_fifth = dtype == DTYPE_Q5_0 || dtype == DTYPE_Q5_1;
	const uint8_t *fifth = block + (has_m ? 4 : 2);
	const uint8_t *q = fifth + (has_fifth ? 4 : 0);
	int n = i < 16 ? q[i] & 15 : q[i - 16] >> 4;

	if (has_fifth)
		n |= (fifth[i / 8] >> i % 8 & 1) << 4;
	if (has_m)
		return half_at(block) * (float) n + half_at(block + 2);
	return half_at(block) * (float) (n - (has_fifth ? 16 : 8));
}

/* Bits [bit, bit + 6) of the pairs' twelve bytes, as ggml draws them:
 *	s0..s3 (6 low bits of bytes 0-3), t0..t3 (4-7); of s4..s7 and t4..t7 the
 *	low four bits in the halves of bytes 8-11, the two high ones in the tops
 *	of bytes 0-3 and 4-7. */
static int
pair_member(const uint8_t *packed, int part, bool is_least)
{
	if (part < 4)
		return packed[part + (is_least ? 4 : 0)] & 63;
	return (is_least ? packed[part + 4] >> 4 : packed[part + 4] & 15) +
	       16 * (packed[part - 4 + (is_least ? 4 : 0)] >> 6);
}

/* Number i of a block of 256. */
static float
long_number(DType dtype, const uint8_t *block, int i)
{
	int part = i / 32;

	if (dtype == DTYPE_Q6_K)
	{
		int within = i % 128;
		int low = block[i / 128 * 64 + within % 64] >> within / 64 * 4 & 15;
		int high = block[128 + i / 128 * 32 + within % 32] >> within / 32 * 2;
		float d = half_at(block + 208) * (float) (int8_t) block[192 + i / 16];

		return d * (float) ((low | (high & 3) << 4) - 32);
	}
	else
	{
		const uint8_t *q = block + (dtype == DTYPE_Q5_K ? 48 : 16);
		int n = q[i / 64 * 32 + i % 32] >> part % 2 * 4 & 15;
		float scale =
			half_at(block) * (float) pair_member(block + 4, part, false);
		float least =
			half_at(block + 2) * (float) pair_member(block + 4, part, true);

		if (dtype == DTYPE_Q5_K)
			n |= (block[16 + i % 32] >> part & 1) << 4;
		return scale * (float) n - least;
	}
}

static float
number(DType dtype, const uint8_t *block, int i)
{
	if (dtype == DTYPE_Q8_0)
		return half_at(block) * (float) (int8_t) block[2 + i];
	return dtype_block(dtype) == 32 ? short_number(dtype, block, i)
	                                : long_number(dtype, block, i);
}

static void
blocks_follow_their_formulas(void **state)
{
	(void) state;
	for (DType dtype = DTYPE_Q8_0; dtype <= DTYPE_Q6_K; dtype++)
		for (uint64_t seed = 0; seed < 20; seed++)
		{
			uint8_t block[DTYPE_BLOCK_MAX];
			float got[DTYPE_BLOCK_MAX];

			random_block(dtype, block, seed);
			dtype_to_f32(got, block, dtype, (size_t) dtype_block(dtype));
			for (int i = 0; i < dtype_block(dtype); i++)
				if (got[i] != number(dtype, block, i))
					fail_msg("%s: number %d is %.9g, not %.9g",
					         dtype_name(dtype), i, (double) got[i],
					         (double) number(dtype, block, i));
		}
}

static void
runs_begin_and_end_anywhere(void **state)
{
	static const int runs[][2] = {{0, 768},   {1, 1},     {31, 2},   {5, 700},
	                              {255, 2},   {256, 256}, {500, 12}, {33, 0},
	                              {511, 257}, {767, 1}};

	(void) state;
	for (DType dtype = DTYPE_F32; dtype < DTYPE_OTHER; dtype++)
	{
		uint8_t bytes[768 * 4];
		float whole[768];
		float part[769];
		int block = dtype_block(dtype);

		for (int i = 0; i < 768 / block; i++)
			if (block == 1)
				dtype_from_f32(bytes + i * (int) dtype_size(dtype),
				               &(float){(float) i * 0.25f}, dtype, 1);
			else
				random_block(dtype, bytes + dtype_bytes(dtype, i * block),
				             (uint64_t) i);
		dtype_to_f32(whole, bytes, dtype, 768);
		for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
		{
			size_t count = (size_t) runs[i][1];

			part[count] = 77;
			dtype_read(part, bytes, dtype, runs[i][0], runs[i][1]);
			assert_memory_equal(part, whole + runs[i][0],
			                    count * sizeof(float));
			assert_true(part[count] == 77);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_half_is_widened_exactly),
		cmocka_unit_test(blocks_follow_their_formulas),
		cmocka_unit_test(runs_begin_and_end_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
