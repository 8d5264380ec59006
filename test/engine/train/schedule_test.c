/*
 * schedule_test.c
 *		Steps of a run, learning rates, and when it is evaluated.
 */
#include "near.h"

#include "train/schedule.h"

static void
steps_are_rounded_up(void **state)
{
	(void) state;
	assert_int_equal(schedule_steps(1, 160, 16), 10);
	assert_int_equal(schedule_steps(1, 161, 16), 11);
	assert_int_equal(schedule_steps(0.5, 160, 16), 5);
	assert_int_equal(schedule_steps(3, 10, 4), 8);
	assert_int_equal(schedule_steps(0, 10, 4), 1);
	assert_true(schedule_steps(1e300, 10, 4) > 0);
}

static void
linear_falls_from_one_to_zero(void **state)
{
	(void) state;
	assert_near(schedule_factor(SCHEDULE_LINEAR, 0, 10, 0), 1, 0);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 3, 10, 0), 0.7, 1e-12);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 9, 10, 0), 0.1, 1e-12);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 10, 10, 0), 0, 0);
}

static void
warm_up_rises_first(void **state)
{
	(void) state;
	assert_near(schedule_factor(SCHEDULE_CONSTANT, 1, 10, 4), 0.25, 0);
	assert_near(schedule_factor(SCHEDULE_CONSTANT, 4, 10, 4), 1, 0);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 4, 10, 4), 1, 0);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 7, 10, 4), 0.5, 0);
	assert_near(schedule_factor(SCHEDULE_LINEAR, 7, 10, 20), 0.35, 1e-12);
}

static void
cosine_is_half_a_wave(void **state)
{
	(void) state;
	assert_near(schedule_factor(SCHEDULE_COSINE, 0, 8, 0), 1, 0);
	assert_near(schedule_factor(SCHEDULE_COSINE, 4, 8, 0), 0.5, 1e-12);
	assert_near(schedule_factor(SCHEDULE_COSINE, 2, 8, 0),
	            0.5 * (1 + sqrt(0.5)), 1e-12);
}

static int
evaluations(int64_t steps, int64_t every)
{
	int count = 0;

	for (int64_t step = 0; step <= steps; step++)
		count += schedule_evaluates(step, steps, every);
	return count;
}

static void
every_tenth_and_before_the_first(void **state)
{
	(void) state;
	for (int64_t steps = 10; steps < 300; steps++)
		assert_int_equal(evaluations(steps, 0), 11);
	assert_int_equal(evaluations(4, 0), 5);
	assert_true(schedule_evaluates(0, 100, 0));
	assert_true(schedule_evaluates(10, 100, 0));
	assert_false(schedule_evaluates(11, 100, 0));
	assert_true(schedule_evaluates(100, 100, 0));
}

static void
every_so_many_steps_and_at_the_end(void **state)
{
	(void) state;
	assert_int_equal(evaluations(100, 30), 5); /* 0 30 60 90 100 */
	assert_int_equal(evaluations(100, 1000), 2);
}

static void
names_are_found(void **state)
{
	ScheduleKind kind;

	(void) state;
	assert_true(schedule_find("cosine", &kind));
	assert_int_equal(kind, SCHEDULE_COSINE);
	assert_false(schedule_find("polynomial", &kind));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_rounded_up),
		cmocka_unit_test(linear_falls_from_one_to_zero),
		cmocka_unit_test(warm_up_rises_first),
		cmocka_unit_test(cosine_is_half_a_wave),
		cmocka_unit_test(every_tenth_and_before_the_first),
		cmocka_unit_test(every_so_many_steps_and_at_the_end),
		cmocka_unit_test(names_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
