/*
 * lost_test.c
 *		The engine as it is installed, with the software GPU's module: a GPU
 *		that is lost at any call of the runtime ends the job with an error, and
 *		another engine brings it to the same end.
 */
#define PROGRAM_MODULE "cuda/module/alol_cuda.so"

#include "serve/work.h"

/* Calls between two that fail: all of them take ten minutes. */
#define STRIDE "53"

/* From which call on the GPU is lost, in each process; 0: never. */
static void
lose_from(int call)
{
	snprintf(program_variable, sizeof(program_variable),
	         "ALOL_SHIM_FAIL_CALL=%d", call);
}

/* False when the job was done before call n. */
static bool
lose_at(int n, const char *model, size_t size)
{
	Work work = plan_work(WORK_SETTINGS);
	int status;
	int type;

	lose_from(n);
	type = do_work(&work, "cuda:0", "", &status);
	lose_from(0);
	if (type == WIRE_ERROR)
	{
		if (strstr(last_message, "the GPU is lost at call") == NULL)
			fail_msg("call %d: \"%s\"", n, last_message);
		if (do_work(&work, "cuda:0", "", &status) != WIRE_RESULT)
			fail_msg("call %d: not resumed, \"%s\"", n, last_message);
		assert_int_equal(status, 0);
		expect_model(&work, model, size);
	}
	else if (type != WIRE_RESULT)
		fail_msg("call %d: the engine ended with %d", n, status);
	forget_work(&work);
	return type == WIRE_ERROR;
}

static void
whatever_call_fails_the_job_goes_on_to_the_same_end(void **state)
{
	Work work = plan_work(WORK_SETTINGS);
	int stride = atoi(test_environment("ALOL_FAULT_STRIDE", STRIDE));
	size_t size;
	char *model = finish_work(&work, "cuda:0", &size);
	int n = 1;

	(void) state;
	while (lose_at(n, model, size))
		n += stride;
	print_message("%d calls\n", n);
	assert_true(n > 800);
	forget_work(&work);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_call_fails_the_job_goes_on_to_the_same_end),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
