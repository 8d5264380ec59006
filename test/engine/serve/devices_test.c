/*
 * devices_test.c
 *		What an engine computes on: what is asked for, of what is there.
 */
#include "serve/program.h"

#include "device/probe.h"

#include <errno.h>

/* Asks for a device under these faults; the engine has it. */
static void
expect_device(const char *faults, const char *asked, const char *got)
{
	set_faults(faults);
	if (greet_program(asked, "") != WIRE_RESULT)
		fail_msg("\"%s\": %s", asked, word("message"));
	assert_string_equal(word("device"), got);
	assert_int_equal(end(), 0);
}

/* It is refused, with these words. */
static void
expect_refusal(const char *faults, const char *asked, const char *message)
{
	set_faults(faults);
	assert_int_equal(greet_program(asked, ""), WIRE_ERROR);
	assert_string_equal(word("message"), message);
	(void) end();
}

static void
a_gpu_is_taken_where_there_is_one(void **state)
{
	(void) state;
	expect_device("", "auto", "cuda:0");
	expect_device("", "cuda", "cuda:0");
	expect_device("", "cuda:1", "cuda:1");
	expect_device("", "cpu", "cpu");
}

static void
without_a_gpu_it_is_the_cpu(void **state)
{
	(void) state;
	expect_device("no_driver 1", "auto", "cpu");
	expect_device("devices 0", "auto", "cpu");
	expect_device("crash 1", "auto", "cpu");
	expect_device("crash_loaded 1", "auto", "cpu");
	expect_device("other_version 1", "auto", "cpu");
}

static void
what_is_not_there_is_named_with_what_is(void **state)
{
	(void) state;
	expect_refusal("no_driver 1", "cuda",
	               "device \"cuda\" is not available: no GPU: no driver is "
	               "loaded");
	expect_refusal("devices 0", "cuda:0",
	               "device \"cuda:0\" is not available: no GPU: the driver "
	               "has none");
	expect_refusal("crash 1", "cuda",
	               "device \"cuda\" is not available: no GPU: the driver "
	               "crashed with signal 6 when it was asked");
	expect_refusal("crash_loaded 1", "cuda",
	               "device \"cuda\" is not available: no GPU: the driver "
	               "crashed with signal 6 when it was asked");
	expect_refusal("", "cuda:2",
	               "device \"cuda:2\" is not available: this server has 2 "
	               "GPUs");
	expect_refusal("", "gpu",
	               "a device is auto, cpu, cpu:N for N ranks, cuda, cuda:N, "
	               "cuda:N-M or cuda:all, not \"gpu\"");
	set_faults("");
	assert_int_equal(greet_program("cuda:7", ""), WIRE_ERROR);
	assert_string_equal(word("hint"),
	                    "Devices here are: cuda:0 (Test GPU 0, 1.0 GiB), "
	                    "cuda:1 (Test GPU 1, 1.0 GiB) and cpu.");
	(void) end();
}

static void
a_module_of_another_build_is_refused(void **state)
{
	(void) state;
	set_faults("other_version 1");
	assert_int_equal(greet_program("cuda", ""), WIRE_ERROR);
	assert_non_null(strstr(word("message"),
	                       "/alol_cuda.so\" is of version 0.0.1, the engine of "
	                       "version " ALOL_VERSION));
	(void) end();
	set_faults("other_layout 1");
	assert_int_equal(greet_program("cuda", ""), WIRE_ERROR);
	assert_non_null(
		strstr(word("message"),
	           "/alol_cuda.so\" is of another build of version " ALOL_VERSION
	           " than the engine"));
	(void) end();
	/* Free to choose, the engine goes on, and tells. */
	assert_int_equal(greet_program("auto", ""), WIRE_RESULT);
	assert_non_null(strstr(word("fault"), "another build"));
	assert_int_equal(end(), 0);
}

/* The engine's own limit is longer than a test should take. */
static void
a_driver_that_hangs_is_given_up(void **state)
{
	Arena *arena = arena_create();
	DeviceList *list = arena_alloc(arena, sizeof(DeviceList));
	int64_t started = clock_ms();

	(void) state;
	set_faults("hang 1");
	device_probe(arena_printf(arena, "%s/alol_cuda.so", program_directory), 300,
	             list);
	assert_true(clock_ms() - started >= 300);
	assert_true(list->is_fault);
	assert_int_equal(list->count, 0);
	assert_string_equal(list->reason, "the driver did not answer within 0.3 s");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	arena_destroy(arena);
}

static void
no_module_is_no_fault(void **state)
{
	DeviceList list;

	(void) state;
	device_probe("/nowhere/alol_cuda.so", 1000, &list);
	assert_false(list.is_fault);
	assert_int_equal(list.count, 0);
	assert_string_equal(list.reason, "alol_cuda.so is not installed");
}

static void
all_devices_are_listed(void **state)
{
	json_t *devices, *first;

	(void) state;
	set_faults("memory 3");
	assert_int_equal(greet_program("cpu", ", \"devices\": true"), WIRE_RESULT);
	assert_int_equal(ask(WIRE_DEVICES, "{}", NULL), WIRE_RESULT);
	devices = json_object_get(peer.head, "devices");
	assert_int_equal(json_array_size(devices), 3);
	first = json_array_get(devices, 0);
	assert_string_equal(json_string_value(json_object_get(first, "device")),
	                    "cuda:0");
	assert_string_equal(json_string_value(json_object_get(first, "name")),
	                    "Test GPU 0");
	assert_int_equal(json_integer_value(json_object_get(first, "memory_total")),
	                 3 << 20);
	assert_string_equal(
		json_string_value(json_object_get(first, "compute_capability")), "0.0");
	assert_string_equal(json_string_value(json_object_get(
							json_array_get(devices, 2), "device")),
	                    "cpu");
	assert_int_equal(end(), 0);
}

/* Starts an engine that claims what it takes; its device.  It goes on. */
static char *
start_claiming(Arena *arena, const char *device)
{
	assert_int_equal(
		greet_program(device, arena_printf(arena, ", \"claims\": \"%s\"",
	                                       program_directory)),
		WIRE_RESULT);
	return arena_strdup(arena, word("device"));
}

static void
jobs_share_the_gpus(void **state)
{
	Arena *arena = arena_create();
	Peer first, second;

	(void) state;
	set_faults("");
	assert_string_equal(start_claiming(arena, "auto"), "cuda:0");
	first = peer;
	assert_string_equal(start_claiming(arena, "auto"), "cuda:1");
	second = peer;
	/* One more takes what others have, too. */
	assert_string_equal(start_claiming(arena, "cuda"), "cuda:0");
	assert_int_equal(end(), 0);
	peer = first;
	assert_int_equal(end(), 0);
	/* What one had is free when that has ended, however it ended. */
	assert_string_equal(start_claiming(arena, "auto"), "cuda:0");
	kill(peer.pid, SIGKILL);
	assert_int_equal(end(), 1000 + SIGKILL);
	assert_string_equal(start_claiming(arena, "auto"), "cuda:0");
	assert_int_equal(end(), 0);
	peer = second;
	assert_int_equal(end(), 0);
	unlink(arena_printf(arena, "%s/cuda:0", program_directory));
	unlink(arena_printf(arena, "%s/cuda:1", program_directory));
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gpu_is_taken_where_there_is_one),
		cmocka_unit_test(without_a_gpu_it_is_the_cpu),
		cmocka_unit_test(what_is_not_there_is_named_with_what_is),
		cmocka_unit_test(a_module_of_another_build_is_refused),
		cmocka_unit_test(a_driver_that_hangs_is_given_up),
		cmocka_unit_test(no_module_is_no_fault),
		cmocka_unit_test(all_devices_are_listed),
		cmocka_unit_test(jobs_share_the_gpus),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
