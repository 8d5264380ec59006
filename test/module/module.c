/*
 * module.c
 *		A module of devices for tests: GPUs that are the CPU, with faults.
 *
 * Beside the engine under the name alol_cuda.so it is taken for CUDA's.
 */
#include "far.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t) 1 << 20)

/* What of a block's memory the host must not know: its size. */
#define HEADER 64

void
far_fail(FarDevice *device, FailureCode code, const char *format, ...)
{
	va_list arguments;

	if (device->has_failed)
		return;
	memset(&device->failure, 0, sizeof(Failure));
	device->failure.code = code;
	va_start(arguments, format);
	vsnprintf(device->failure.message, FAILURE_TEXT, format, arguments);
	va_end(arguments);
	device->has_failed = true;
}

bool
far_begins(Device *device)
{
	FarDevice *self = (FarDevice *) device;

	self->operations++;
	if (self->operations == self->die_at)
	{
		fprintf(stderr, "%s fell off the bus\n", self->name);
		abort();
	}
	if (self->operations == self->fail_at)
		self->is_lost = true;
	/* As with CUDA, nothing works any more in this process. */
	if (self->is_lost)
		far_fail(self, FAILURE_DEVICE, "%s: unspecified launch failure",
		         self->name);
	return !self->is_lost;
}

/* ----------------------------------------------------------------- memory */

static uint64_t
free_memory(const FarDevice *self)
{
	uint64_t others = memory_of_others(self->number);

	return others < self->total ? self->total - others : 0;
}

/* So many bytes for this process, of which `more` are new. */
static bool
keep(FarDevice *self, uint64_t bytes, uint64_t more, Failure *failure)
{
	uint64_t left;

	if (bytes <= self->kept)
		return true;
	if (memory_have(self->number, bytes, self->total))
	{
		self->kept = bytes;
		return true;
	}
	left = free_memory(self);
	left = left > self->allocated ? left - self->allocated : 0;
	fail(failure, FAILURE_OUT_OF_MEMORY,
	     "needs %.1f MiB more memory on %s, which has %.1f MiB free of %.1f "
	     "MiB",
	     (double) more / MIB, self->name, (double) left / MIB,
	     (double) self->total / MIB);
	return fail_needing(failure, 0, bytes, false);
}

static void *
far_alloc(Device *device, size_t bytes)
{
	FarDevice *self = (FarDevice *) device;
	Failure failure = {0};
	char *block;

	if (!far_begins(device))
		return NULL;
	if (!keep(self, self->allocated + bytes, bytes, &failure))
	{
		far_fail(self, failure.code, "%s", failure.message);
		return NULL;
	}
	block = aligned_alloc(64, (HEADER + bytes + 63) / 64 * 64);
	if (block == NULL)
	{
		far_fail(self, FAILURE_OUT_OF_MEMORY, "the host has no memory");
		return NULL;
	}
	*(size_t *) (void *) block = bytes;
	self->allocated += bytes;
	return far(memset(block + HEADER, 0, bytes));
}

static void
far_free(Device *device, void *memory)
{
	FarDevice *self = (FarDevice *) device;
	char *block;

	if (memory == NULL)
		return;
	block = (char *) (uintptr_t) near(memory) - HEADER;
	self->allocated -= *(size_t *) (void *) block;
	free(block);
}

static void
far_upload(Device *device, void *target, const void *source, size_t bytes)
{
	if (far_begins(device) && bytes > 0)
		memcpy((void *) (uintptr_t) near(target), source, bytes);
}

/* What a lost device leaves in the host's memory is anybody's guess. */
static void
far_download(Device *device, void *target, const void *source, size_t bytes)
{
	if (!far_begins(device))
		memset(target, 0xff, bytes);
	else if (bytes > 0)
		memcpy(target, near(source), bytes);
}

static void
far_fill_zero(Device *device, void *target, size_t bytes)
{
	if (far_begins(device) && bytes > 0)
		memset((void *) (uintptr_t) near(target), 0, bytes);
}

/* A copy, as a GPU needs one: it counts as its memory. */
static const void *
far_adopt(Device *device, const void *mapped, size_t bytes)
{
	void *copy = far_alloc(device, bytes);

	if (copy != NULL)
		far_upload(device, copy, mapped, bytes);
	return copy;
}

static void
far_release(Device *device, const void *adopted)
{
	far_free(device, (void *) (uintptr_t) adopted);
}

static uint64_t
far_room(Device *device)
{
	FarDevice *self = (FarDevice *) device;
	uint64_t left = free_memory(self);

	return left > self->allocated ? left - self->allocated : 0;
}

static bool
far_reserve(Device *device, uint64_t bytes, Failure *failure)
{
	FarDevice *self = (FarDevice *) device;

	return keep(self, self->allocated + bytes, bytes, failure);
}

static bool
far_sync(Device *device, Failure *failure)
{
	FarDevice *self = (FarDevice *) device;

	if (far_begins(device))
	{
		Failure inner;

		if (!self->cpu->sync(self->cpu, &inner))
			far_fail(self, inner.code, "%s", inner.message);
	}
	if (!self->has_failed)
		return true;
	*failure = self->failure;
	self->has_failed = false;
	return false;
}

static void
far_close(Device *device)
{
	FarDevice *self = (FarDevice *) device;

	memory_have(self->number, 0, self->total);
	self->cpu->close(self->cpu);
	free(self);
}

static bool
far_open(int number, Device **device, Failure *failure)
{
	Faults faults = faults_read();
	FarDevice *self = calloc(1, sizeof(FarDevice));

	if (self == NULL || number >= faults.devices ||
	    number == faults.cannot_open)
		return fail(failure, FAILURE_DEVICE, "cuda:%d cannot be opened",
		            number);
	if (!cpu_device_open(0, &self->cpu, failure))
		return false;
	self->number = number;
	self->total = (uint64_t) faults.memory_mib * MIB;
	if (faults.at_device < 0 || faults.at_device == number)
	{
		self->fail_at = faults.fail_at;
		self->die_at = faults.die_at;
	}
	snprintf(self->name, sizeof(self->name), "cuda:%d", number);
	self->device = (Device){.name = self->name,
	                        .description = self->cpu->description,
	                        .products = self->cpu->products,
	                        .has_bf16 = self->cpu->has_bf16,
	                        .alloc = far_alloc,
	                        .free = far_free,
	                        .upload = far_upload,
	                        .download = far_download,
	                        .fill_zero = far_fill_zero,
	                        .adopt = far_adopt,
	                        .release = far_release,
	                        .room = far_room,
	                        .reserve = far_reserve,
	                        .sync = far_sync,
	                        .close = far_close};
	far_fill_operations(&self->device);
	*device = &self->device;
	return true;
}

/* ----------------------------------------------------------------- module */

static bool
far_list(DeviceInfo *info, int *count, Failure *failure)
{
	Faults faults = faults_read();

	if (faults.hang)
		pause();
	if (faults.crash)
		abort();
	if (faults.no_driver)
		return fail(failure, FAILURE_DEVICE, "no driver is loaded");
	*count = faults.devices;
	for (int i = 0; i < faults.devices && i < DEVICES_MAX; i++)
	{
		uint64_t total = (uint64_t) faults.memory_mib * MIB;
		uint64_t others = memory_of_others(i);

		memset(&info[i], 0, sizeof(DeviceInfo));
		snprintf(info[i].device, sizeof(info[i].device), "cuda:%d", i);
		snprintf(info[i].name, sizeof(info[i].name), "Test GPU %d", i);
		snprintf(info[i].compute_capability, sizeof(info[i].compute_capability),
		         "0.%d", i);
		info[i].memory_total = total;
		info[i].memory_free = others < total ? total - others : 0;
	}
	return true;
}

extern DeviceModule alol_device_module;

__attribute__((visibility("default"))) DeviceModule alol_device_module = {
	.version = ALOL_VERSION,
	.layout = ALOL_DEVICE_LAYOUT,
	.kind = "cuda",
	.list = far_list,
	.open = far_open,
};

__attribute__((constructor)) static void
loaded(void)
{
	Faults faults = faults_read();

	if (faults.crash_loaded)
		abort();
	if (faults.other_version)
		alol_device_module.version = "0.0.1";
	if (faults.other_layout)
		alol_device_module.layout = "1-2";
}
