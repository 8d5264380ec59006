/*
 * dynamic8_test.c
 *		Bytes for numbers: the levels are the published ones, the nearest is
 *		found, and errors stay within their bounds.
 */
#include "near.h"

#include "base/dynamic8.h"
#include "base/random.h"

#define NUMBERS 200000

static float
random_magnitude(uint64_t i)
{
	return (float) pow(10, -8.5 * random_uniform(7, 0, i));
}

static void
check_levels(const Dynamic8 *numbers, const json_t *golden)
{
	assert_int_equal(json_array_size(golden), 256);
	for (int i = 0; i < 256; i++)
	{
		double level = json_number_value(json_array_get(golden, (size_t) i));

		assert_near(numbers->level[i], level, 1e-7 * fabs(level));
		assert_true(i == 0 || numbers->level[i] > numbers->level[i - 1]);
	}
}

static void
levels_are_the_published_ones(void **state)
{
	Arena *arena = arena_create();
	json_t *golden = test_read_json(arena, test_golden_path(arena, "optimizer"),
	                                "steps.json");

	(void) state;
	check_levels(&dynamic8_signed, json_object_get(golden, "signed"));
	check_levels(&dynamic8_square, json_object_get(golden, "square"));
	arena_destroy(arena);
}

static void
signed_levels_are_symmetric_but_for_1(void **state)
{
	const float *level = dynamic8_signed.level + DYNAMIC8_ZERO;

	(void) state;
	for (int n = 0; n <= DYNAMIC8_ZERO; n++)
		assert_true(level[n] == -level[-n]);
	assert_true(level[DYNAMIC8_ZERO + 1] == 1);
	assert_true(dynamic8_square.level[255] == 1);
}

/* No neighbour of n is nearer by more than rounding can hide; level: of
 * magnitudes from 0 to 1, count of them. */
static void
assert_nearest(const float *level, int count, int n, float x)
{
	double error =
		fabs((double) level[n] - (double) x) * (1 - 1e-6) - 1e-6 * (double) x;

	assert_in_range(n, 0, count - 1);
	if (n > 0)
		assert_true(error <= fabs((double) level[n - 1] - (double) x));
	if (n + 1 < count)
		assert_true(error <= fabs((double) level[n + 1] - (double) x));
}

static void
check_nearest(float x)
{
	assert_nearest(dynamic8_signed.level + DYNAMIC8_ZERO, DYNAMIC8_ZERO + 2,
	               dynamic8_nearest(&dynamic8_signed.search, x), x);
	assert_nearest(dynamic8_square.level, 256,
	               dynamic8_nearest(&dynamic8_square.search, x), x);
}

static void
the_nearest_level_is_found(void **state)
{
	(void) state;
	for (uint64_t i = 0; i < NUMBERS; i++)
		check_nearest(random_magnitude(i));
}

/* On both sides of every middle, where a search can be off by one. */
static void
middles_divide_neighbours(void **state)
{
	(void) state;
	for (int code = DYNAMIC8_ZERO; code < 255; code++)
	{
		const float *level = &dynamic8_signed.level[code];

		check_nearest((level[0] + level[1]) / 2 * (1 - 3e-6f));
		check_nearest((level[0] + level[1]) / 2 * (1 + 3e-6f));
	}
	for (int code = 0; code < 255; code++)
	{
		const float *level = &dynamic8_square.level[code];

		check_nearest((level[0] + level[1]) / 2 * (1 - 3e-6f));
		check_nearest((level[0] + level[1]) / 2 * (1 + 3e-6f));
	}
}

static void
every_level_is_its_own_nearest(void **state)
{
	(void) state;
	for (int code = 0; code < 256; code++)
	{
		float x = dynamic8_signed.level[code];
		float square = dynamic8_square.level[code];

		assert_int_equal(
			dynamic8_signed_code(
				x, dynamic8_nearest(&dynamic8_signed.search, fabsf(x))),
			code);
		assert_int_equal(
			dynamic8_square_code(
				square, dynamic8_nearest(&dynamic8_square.search, square)),
			code);
	}
}

/* 0.9 / 128 apart at the top where there are signs, half of that without, and
 * a step to the next decade within a half of its first part. */
static void
errors_stay_within_their_bounds(void **state)
{
	(void) state;
	for (uint64_t i = 0; i < NUMBERS; i++)
	{
		float x = random_magnitude(i);
		int n = dynamic8_nearest(&dynamic8_signed.search, x);
		int square = dynamic8_nearest(&dynamic8_square.search, x);

		assert_near(dynamic8_signed.level[DYNAMIC8_ZERO + n], x, 0.00705);
		assert_near(dynamic8_square.level[square], x, 0.0036);
		/* Six decades keep their order of magnitude. */
		if (x > 1e-6f)
		{
			assert_near(dynamic8_signed.level[DYNAMIC8_ZERO + n], x, 0.75 * x);
			assert_near(dynamic8_square.level[square], x, 0.5 * x);
		}
	}
}

static void
squares_above_0_stay_above_0(void **state)
{
	(void) state;
	assert_int_equal(dynamic8_nearest(&dynamic8_square.search, 1e-9f), 0);
	assert_int_equal(dynamic8_square_code(1e-9f, 0), 1);
	assert_int_equal(dynamic8_square_code(0, 0), 0);
	assert_int_equal(dynamic8_square_code(1, 255), 255);
}

static void
whatever_is_coded_is_a_byte(void **state)
{
	static const float odd[] = {NAN,        -NAN,      INFINITY, -INFINITY,
	                            3.4e38f,    -3.4e38f,  1e-45f,   -1e-45f,
	                            1.0000001f, -0.0f,     0,        2,
	                            0x1p-126f,  0x1p-127f, -1,       -2};

	(void) state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
	{
		float magnitude = fabsf(odd[i]);
		int n = dynamic8_nearest(&dynamic8_signed.search, magnitude);
		int square = dynamic8_nearest(&dynamic8_square.search, odd[i]);

		assert_in_range(n, 0, DYNAMIC8_ZERO + 1);
		assert_in_range(dynamic8_signed_code(odd[i], n), 0, 255);
		assert_in_range(square, 0, 255);
		assert_in_range(dynamic8_square_code(odd[i], square), 0, 255);
		assert_true(isfinite(dynamic8_scale(magnitude)));
		assert_true(isfinite(dynamic8_inverse(dynamic8_scale(magnitude))));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_are_the_published_ones),
		cmocka_unit_test(signed_levels_are_symmetric_but_for_1),
		cmocka_unit_test(the_nearest_level_is_found),
		cmocka_unit_test(middles_divide_neighbours),
		cmocka_unit_test(every_level_is_its_own_nearest),
		cmocka_unit_test(errors_stay_within_their_bounds),
		cmocka_unit_test(squares_above_0_stay_above_0),
		cmocka_unit_test(whatever_is_coded_is_a_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
