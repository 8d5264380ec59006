/*
 * device_spec_test.c
 *		How settings say what to compute on.
 */
#include "testing.h"

#include "wire/device_spec.h"

static DeviceSpec
parse(const char *text)
{
	DeviceSpec spec;

	if (!device_spec_parse(text, &spec))
		fail_msg("\"%s\" is not understood", text);
	return spec;
}

static void
one_word_names_a_device(void **state)
{
	(void) state;
	assert_int_equal(parse("auto").kind, DEVICE_AUTO);
	assert_int_equal(parse("cpu").kind, DEVICE_CPU);
	assert_int_equal(parse("cpu").count, 1);
	assert_int_equal(parse("cuda").kind, DEVICE_GPU);
	assert_int_equal(parse("cuda").count, 0);
	assert_int_equal(parse("cuda:all").kind, DEVICE_GPU_ALL);
}

static void
numbers_name_ranks_and_gpus(void **state)
{
	DeviceSpec spec = parse("cuda:0-2,7");

	(void) state;
	assert_int_equal(spec.count, 4);
	assert_int_equal(spec.number[2], 2);
	assert_int_equal(spec.number[3], 7);
	assert_int_equal(parse("cuda:63").number[0], 63);
	assert_int_equal(parse("cuda:0-63").count, 64);
	assert_int_equal(parse("cpu:2").count, 2);
	assert_int_equal(parse("cpu:64").count, 64);
}

static void
what_is_no_device_is_refused(void **state)
{
	static const char *const texts[] = {
		"",        "gpu",       "cpu:",       "cpu:0",      "cpu:65",
		"cpu:2x",  "cpus",      "cpu:-1",     "cuda:",      "cuda:64",
		"cuda:1-", "cuda:3-1",  "cuda:0,0",   "cuda:0-3,2", "cuda:,1",
		"cuda:1,", "cuda:0--1", "cuda:00000", "cuda:all,1", "cuda:4294967296",
		"cuda0",   "Auto",      " cpu",       "cuda:0-99",
	};
	DeviceSpec spec;

	(void) state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (device_spec_parse(texts[i], &spec))
			fail_msg("\"%s\" is taken for a device", texts[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_word_names_a_device),
		cmocka_unit_test(numbers_name_ranks_and_gpus),
		cmocka_unit_test(what_is_no_device_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
