/*
 * far.h
 *		The CPU backend as a device of another kind: its memory lies where the
 *		host cannot read it.
 */
#pragma once

#include "faults.h"

#include "device/module.h"

typedef struct FarDevice
{
	Device device; /* first: the operation table */
	Device *cpu;
	int number;
	char name[32];
	uint64_t total;     /* bytes of memory */
	uint64_t allocated; /* by this process */
	uint64_t kept;      /* by it: allocated or reserved */
	int64_t operations; /* so far */
	int64_t fail_at;
	int64_t die_at;
	bool is_lost; /* an operation has failed, so all do */
	bool has_failed;
	Failure failure; /* for sync */
} FarDevice;

/*
 * Added to an address, it makes one that nobody can read: a host that looks
 * at the memory of the device itself dies.
 */
#define FAR ((uintptr_t) 1 << 62)

/* Counts an operation; false when it is not to be done. */
extern bool far_begins(Device *device);

/* Keeps the first failure for sync(). */
extern void far_fail(FarDevice *device, FailureCode code, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));

/* The operations of far_operations.c. */
extern void far_fill_operations(Device *device);

static inline const void *
near(const void *pointer)
{
	return pointer == NULL ? NULL : (const void *) ((uintptr_t) pointer - FAR);
}

static inline void *
far(const void *pointer)
{
	return pointer == NULL ? NULL : (void *) ((uintptr_t) pointer + FAR);
}
