/*
 * planned_test.c
 *		Memory of a device that a job plans with before it begins, and gives
 *		back at its end.
 */
#include "serve/work.h"

/* A job that needs a few MiB: with all weights, and texts that may be long. */
#define LARGE                                                                  \
	"\"method\": \"a_lol\", \"steps\": 2, \"batch_size\": 4, "                 \
	"\"max_prompt_tokens\": 100, \"max_response_tokens\": 28"

static int
open_with(Work *work, int mib)
{
	char faults[32];

	snprintf(faults, sizeof(faults), "memory %d", mib);
	set_faults(faults);
	assert_int_equal(greet_program("cuda:0", ""), WIRE_RESULT);
	return ask(WIRE_JOB_OPEN, work->head, NULL);
}

/* The least MiB with which the job can be opened. */
static int
least(void)
{
	for (int mib = 1; mib < 64; mib++)
	{
		Work work = plan_work(LARGE);
		int type = open_with(&work, mib);

		(void) end();
		forget_work(&work);
		if (type == WIRE_RESULT)
			return mib;
	}
	fail_msg("64 MiB are not enough");
	return 0;
}

static void
expect_both_numbers(void)
{
	double needed, free_now, total;

	assert_int_equal(
		sscanf(word("message"),
	           "needs %lf MiB more memory on cuda:0, which has %lf MiB free of "
	           "%lf MiB",
	           &needed, &free_now, &total),
		3);
	assert_true(needed > free_now);
	assert_true(free_now <= total);
	assert_string_equal(word("sqlstate"), "53200");
}

static void
a_job_that_does_not_fit_fails_before_it_begins(void **state)
{
	Work work = plan_work(LARGE);

	(void) state;
	assert_int_equal(open_with(&work, least() - 1), WIRE_ERROR);
	expect_both_numbers();
	assert_non_null(strstr(word("context"), "planning to train "));
	assert_int_equal(end(), 0);
	forget_work(&work);
}

static void
nor_do_weights_that_do_not_fit(void **state)
{
	Work work = plan_work(LARGE);

	(void) state;
	assert_int_equal(open_with(&work, 0), WIRE_ERROR);
	expect_both_numbers();
	assert_non_null(strstr(word("context"), "placing "));
	assert_int_equal(end(), 0);
	forget_work(&work);
}

static void
what_was_planned_is_there_to_the_end(void **state)
{
	Work work = plan_work(LARGE);
	char faults[32];
	int status;

	(void) state;
	/* Scoring must not take what training was promised. */
	snprintf(faults, sizeof(faults), "memory %d", least());
	if (do_work(&work, "cuda:0", faults, &status) != WIRE_RESULT)
		fail_msg("%s", last_message);
	assert_int_equal(status, 0);
	forget_work(&work);
}

/* Both have seen that there is enough, and one comes first. */
static void
of_two_that_race_for_the_last_memory_one_gets_it(void **state)
{
	Work first = plan_work(LARGE);
	Work second = plan_work(LARGE);
	Peer other;
	int mib = least();

	(void) state;
	assert_int_equal(open_with(&first, mib), WIRE_RESULT);
	other = peer;
	assert_int_equal(open_with(&second, mib), WIRE_ERROR);
	expect_both_numbers();
	assert_int_equal(end(), 0);
	peer = other;
	assert_int_equal(end(), 0);
	/* What the first had is free again. */
	assert_int_equal(open_with(&second, mib), WIRE_RESULT);
	assert_int_equal(end(), 0);
	forget_work(&first);
	forget_work(&second);
}

/* Of what serves a job, as the extension greets it. */
static int
greet_for_a_job(const Work *work, const char *device, const char *memory)
{
	return greet_program(device,
	                     arena_printf(work->arena, ", \"claims\": \"%s\"%s",
	                                  work->directory, memory));
}

static void
memory_that_another_job_has_can_be_waited_for(void **state)
{
	Work first = plan_work(LARGE);
	Work second = plan_work(LARGE);
	Peer other;
	char faults[32];

	(void) state;
	snprintf(faults, sizeof(faults), "memory %d", least());
	set_faults(faults);
	assert_int_equal(greet_for_a_job(&first, "cuda:0", ""), WIRE_RESULT);
	assert_int_equal(ask(WIRE_JOB_OPEN, first.head, NULL), WIRE_RESULT);
	other = peer;
	assert_int_equal(greet_for_a_job(&first, "cuda:0", ""), WIRE_RESULT);
	assert_int_equal(ask(WIRE_JOB_OPEN, second.head, NULL), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), WIRE_NO_ROOM_NOW);
	assert_int_equal(end(), 0);
	/* More than there is altogether is never there. */
	set_faults("memory 0");
	assert_int_equal(greet_for_a_job(&first, "cuda:0", ""), WIRE_RESULT);
	assert_int_equal(ask(WIRE_JOB_OPEN, second.head, NULL), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "53200");
	assert_int_equal(end(), 0);
	peer = other;
	assert_int_equal(end(), 0);
	/* Nor is it where nobody has it. */
	set_faults(faults);
	assert_int_equal(greet_for_a_job(&first, "cuda:0", ""), WIRE_RESULT);
	assert_int_equal(ask(WIRE_JOB_OPEN, second.head, NULL), WIRE_RESULT);
	assert_int_equal(end(), 0);
	forget_work(&first);
	forget_work(&second);
}

static void
so_can_the_memory_of_the_host_where_jobs_share_it(void **state)
{
	static const struct
	{
		const char *memory;
		const char *sqlstate;
	} cases[] = {
		{", \"memory_limit\": 400000, \"memory_most\": 100000000",
	     WIRE_NO_ROOM_NOW},
		{", \"memory_limit\": 400000, \"memory_most\": 500000", "53200"},
		{", \"memory_limit\": 400000", "53200"},
	};
	Work first = plan_work(LARGE);
	Work second = plan_work(LARGE);
	Peer other;

	(void) state;
	assert_int_equal(greet_for_a_job(&first, "cpu", ""), WIRE_RESULT);
	other = peer;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_int_equal(greet_for_a_job(&first, "cpu", cases[i].memory),
		                 WIRE_RESULT);
		assert_int_equal(ask(WIRE_JOB_OPEN, second.head, NULL), WIRE_ERROR);
		assert_string_equal(word("sqlstate"), cases[i].sqlstate);
		assert_int_equal(end(), 0);
	}
	peer = other;
	assert_int_equal(end(), 0);
	forget_work(&first);
	forget_work(&second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_that_does_not_fit_fails_before_it_begins),
		cmocka_unit_test(nor_do_weights_that_do_not_fit),
		cmocka_unit_test(what_was_planned_is_there_to_the_end),
		cmocka_unit_test(of_two_that_race_for_the_last_memory_one_gets_it),
		cmocka_unit_test(memory_that_another_job_has_can_be_waited_for),
		cmocka_unit_test(so_can_the_memory_of_the_host_where_jobs_share_it),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
