/*
 * lost_test.c
 *		A device that is lost in the middle of a job: whichever operation is
 *		the one that fails, the engine ends with an error, and another engine
 *		brings the job to the same end.
 */
#include "serve/work.h"

/*
 * Operation n of the device fails: the job ends with an error and its engine
 * with it; what goes on from there makes the same model.  False when there
 * were not so many operations.
 */
static bool
lose_at(const char *devices, const char *lost, int n, const char *model,
        size_t size)
{
	Work work = plan_work(WORK_SETTINGS);
	char faults[64];
	int status;
	int type;

	snprintf(faults, sizeof(faults), "fail_at %d at_device %s", n, lost);
	type = do_work(&work, devices, faults, &status);
	if (type == WIRE_ERROR)
	{
		if (strstr(last_message, ": unspecified launch failure") == NULL)
			fail_msg("operation %d: \"%s\"", n, last_message);
		if (status != 1)
			fail_msg("operation %d: the engine ended with %d", n, status);
		if (do_work(&work, devices, "", &status) != WIRE_RESULT)
			fail_msg("operation %d: not resumed, \"%s\"", n, last_message);
		expect_model(&work, model, size);
	}
	else if (type != WIRE_RESULT)
		fail_msg("operation %d: the engine ended with %d", n, status);
	forget_work(&work);
	return type == WIRE_ERROR;
}

/* Each operation, or one of so many that it takes as long as a test may. */
static void
lose_everywhere(const char *devices, const char *lost, int operations)
{
	Work work = plan_work(WORK_SETTINGS);
	int stride = atoi(test_environment("ALOL_FAULT_STRIDE", "41"));
	size_t size;
	char *model = finish_work(&work, devices, &size);
	int n = 1;

	while (lose_at(devices, lost, n, model, size))
		n += stride;
	print_message("%d operations\n", n);
	assert_true(n > operations);
	forget_work(&work);
}

static void
whatever_fails_the_job_goes_on_to_the_same_end(void **state)
{
	(void) state;
	lose_everywhere("cuda:0", "0", 300);
}

static void
so_it_does_when_another_rank_fails(void **state)
{
	(void) state;
	lose_everywhere("cuda:0-1", "1", 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_fails_the_job_goes_on_to_the_same_end),
		cmocka_unit_test(so_it_does_when_another_rank_fails),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
