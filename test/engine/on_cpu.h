/*
 * on_cpu.h
 *		Suites that compute: they run with `device`, the CPU on two threads.
 */
#pragma once

#include "testing.h"

#include "device/device.h"

static Device *device;

/* What main() returns after running the array of tests. */
#define run_on_cpu(tests)                                                      \
	({                                                                         \
		Failure on_cpu_failure;                                                \
		int on_cpu_failed = 1;                                                 \
                                                                               \
		if (cpu_device_open(2, &device, &on_cpu_failure))                      \
		{                                                                      \
			on_cpu_failed = cmocka_run_group_tests(tests, NULL, NULL);         \
			device->close(device);                                             \
		}                                                                      \
		on_cpu_failed;                                                         \
	})
