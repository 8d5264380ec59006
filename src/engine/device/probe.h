/*
 * probe.h
 *		Finding a module of devices, and asking it what there is without
 *		risking the process that asks.
 */
#pragma once

#include "device/module.h"

/* Eight GPUs whose driver sleeps take 20 s to wake. */
#define PROBE_LIMIT_MS 30000

typedef struct DeviceList
{
	int count;
	DeviceInfo info[DEVICES_MAX];
	char reason[FAILURE_TEXT]; /* why there are none, for people */
	bool is_fault;             /* something is broken, not merely absent */
} DeviceList;

/* Where the module lies: beside this program, under this name.  False if the
 * path does not fit. */
extern bool device_module_path(char *path, size_t size);

/*
 * Loads the module in a child process and has it list its devices; one that
 * hangs for longer, crashes, or is of another build is a reason for there
 * being none.  Before the process has threads or a sandbox.
 */
extern void device_probe(const char *path, int limit_ms, DeviceList *list);

/* Loads it here, for good, if it is of this build.  NULL: failed. */
extern const DeviceModule *device_module_load(const char *path,
                                              Failure *failure);

/* Loads the module beside this program, unless *module is there, and opens a
 * device of it. */
extern bool device_open_gpu(int number, const DeviceModule **module,
                            Device **device, Failure *failure);
