/*
 * module.h
 *		What a library with devices of another kind exports.
 *
 * alol_cuda.so lies beside alol-engine and exports one symbol.  It is loaded
 * in a process of its own first, as a driver may hang or crash; if that lives
 * and finds a device, the engine loads it too, before it has read any file
 * and before it enters its sandbox.
 */
#pragma once

#include "device/collective.h"

/* Its name, and the type of what lies there: const DeviceModule. */
#define DEVICE_MODULE_SYMBOL "alol_device_module"

/* Devices of one module, at most. */
#define DEVICES_MAX 64

typedef struct DeviceInfo
{
	char device[32];             /* "cuda:0" */
	char name[128];              /* for people: "NVIDIA H100 80GB HBM3" */
	char compute_capability[16]; /* "9.0"; empty: there is no such thing */
	uint64_t memory_total;       /* bytes */
	uint64_t memory_free;        /* bytes that nobody has now */
} DeviceInfo;

/*
 * The first three members keep their places in all versions, so that those of
 * another build are told from ours before anything of theirs is believed.
 */
typedef struct DeviceModule
{
	const char *version; /* ALOL_VERSION */
	const char *layout;  /* ALOL_DEVICE_LAYOUT */
	const char *kind;    /* "cuda": its devices are cuda:0, cuda:1, ... */

	/*
	 * Describes the devices in the order of their numbers, at most
	 * DEVICES_MAX, and takes nothing for good.  False, in words for people,
	 * where there is no driver or no device ("no NVIDIA driver is loaded").
	 */
	bool (*list)(DeviceInfo *info, int *count, Failure *failure);

	/* Opens device `index`; its name is that of its DeviceInfo.  Once a
	 * process. */
	bool (*open)(int index, Device **device, Failure *failure);

	/*
	 * Joins the ranks that work with this kind of device.  Rank 0 makes the
	 * id, the others have it from there.  Both NULL, or an id that cannot be
	 * had by FAILURE_NOT_FOUND: it has no way of its own here, and sockets are
	 * used.  Whatever needs sockets, threads or
	 * processes is done when join returns.
	 */
	bool (*make_id)(uint8_t id[COLLECTIVE_ID_SIZE], Failure *failure);
	bool (*join)(Device *device, const uint8_t id[COLLECTIVE_ID_SIZE], int rank,
	             int ranks, Collective **collective, Failure *failure);
} DeviceModule;

/*
 * A checksum of the headers that a module and its engine share (device.h,
 * collective.h, module.h and what they include), by the Makefile: both must
 * have been built from the same.
 */
#ifndef ALOL_DEVICE_LAYOUT
#error "ALOL_DEVICE_LAYOUT is not defined: see DEVICE_LAYOUT in the Makefile"
#endif
