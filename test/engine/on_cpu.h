/*
 * on_cpu.h
 *		Suites that compute: they run with `device`, the CPU on two threads, or
 *		where they are compiled with ON_MODULE the first of a module's devices
 *		(cuda/cuda.mk: the kernels of GPUs, run in software).
 */
#pragma once

#include "testing.h"

#include "device/device.h"

#ifdef ON_MODULE
#include "device/module.h"

extern const DeviceModule alol_device_module;
#define open_test_device(device, failure)                                      \
	alol_device_module.open(0, device, failure)
#define TEST_DEVICE_IS_SLOW true /* one of similar cases is enough */
#else
#define open_test_device(device, failure) cpu_device_open(2, device, failure)
#define TEST_DEVICE_IS_SLOW false
#endif

static Device *device;

/* What main() returns after running the array of tests. */
#define run_on_cpu(tests)                                                      \
	({                                                                         \
		Failure on_cpu_failure;                                                \
		int on_cpu_failed = 1;                                                 \
                                                                               \
		if (open_test_device(&device, &on_cpu_failure))                        \
		{                                                                      \
			on_cpu_failed = cmocka_run_group_tests(tests, NULL, NULL);         \
			device->close(device);                                             \
		}                                                                      \
		on_cpu_failed;                                                         \
	})
