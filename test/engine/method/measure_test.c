/*
 * measure_test.c
 *		Measures of predictions, by numbers one can check.
 */
#include "near.h"

#include "method/measure.h"

static Arena *arena;

static void
auc_is_the_share_of_ordered_pairs(void **state)
{
	const double score[] = {0.1, 0.4, 0.35, 0.8};
	const bool is_positive[] = {false, false, true, true};

	(void) state;
	/* Of four pairs 0.35 is below 0.4 in one. */
	assert_near(measure_auc(arena, score, is_positive, 4), 0.75, 1e-12);
}

static void
auc_counts_ties_half(void **state)
{
	const double score[] = {1, 1, 1, 2};
	const bool is_positive[] = {false, true, false, true};

	(void) state;
	/* Two ties, two ordered. */
	assert_near(measure_auc(arena, score, is_positive, 4), 0.75, 1e-12);
}

static void
auc_of_one_kind_is_not_a_number(void **state)
{
	const double score[] = {1, 2};
	const bool all[] = {true, true};
	const bool none[] = {false, false};

	(void) state;
	assert_true(isnan(measure_auc(arena, score, all, 2)));
	assert_true(isnan(measure_auc(arena, score, none, 2)));
}

static void
calibration_compares_confidence_and_hits_by_bin(void **state)
{
	const double confidence[] = {0.95, 0.92, 0.55, 0.51, 1.0};
	const bool is_hit[] = {true, false, true, true, true};

	(void) state;
	/* The last bin: 2.87 for 2 hits; the sixth: 1.06 for 2. */
	assert_near(measure_calibration(confidence, is_hit, 5), (0.87 + 0.94) / 5,
	            1e-12);
}

static void
pearson_is_one_on_a_line(void **state)
{
	const double a[] = {1, 2, 4};
	const double b[] = {3, 5, 9};
	const double c[] = {-1, -2, -4};
	const double flat[] = {7, 7, 7};

	(void) state;
	assert_near(measure_pearson(a, b, 3), 1, 1e-12);
	assert_near(measure_pearson(a, c, 3), -1, 1e-12);
	assert_true(isnan(measure_pearson(a, flat, 3)));
}

static void
spearman_sees_the_order_alone(void **state)
{
	const double a[] = {1, 2, 3, 4, 5};
	const double b[] = {1, 10, 100, 1e4, 1e3};
	const double tied[] = {1, 1, 2, 3, 3};

	(void) state;
	/* 1 - 6 (1 + 1) / (5 * 24) */
	assert_near(measure_spearman(arena, a, b, 5), 0.9, 1e-12);
	/* Ranks 1.5, 1.5, 3, 4.5, 4.5: 9 / sqrt(10 * 9) */
	assert_near(measure_spearman(arena, a, tied, 5), 9 / sqrt(90), 1e-12);
}

static void
spread_is_about_a_center(void **state)
{
	const double number[] = {1, 2, 6};

	(void) state;
	assert_near(measure_mean(number, 3), 3, 1e-12);
	assert_near(measure_spread(number, 3, 3), 14.0 / 3, 1e-12);
	assert_near(measure_spread(number, 2, 3), 17.0 / 3, 1e-12);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(auc_is_the_share_of_ordered_pairs),
		cmocka_unit_test(auc_counts_ties_half),
		cmocka_unit_test(auc_of_one_kind_is_not_a_number),
		cmocka_unit_test(calibration_compares_confidence_and_hits_by_bin),
		cmocka_unit_test(pearson_is_one_on_a_line),
		cmocka_unit_test(spearman_sees_the_order_alone),
		cmocka_unit_test(spread_is_about_a_center),
	};
	int failed;

	arena = arena_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
