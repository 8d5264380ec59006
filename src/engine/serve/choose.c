/*
 * choose.c
 *		What an engine computes on: what was asked for, of what there is.
 *
 * A claim is a lock on a file named by the device: it goes with the process,
 * however that ends.
 */
#include "serve/choose.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int
open_lock(const char *claims, const char *device, const char *ending)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s%s", claims, device, ending) >=
	    (int) sizeof(path))
		return -1;
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* True when this process has the claim now; false: another has it, or claims
 * cannot be made here. */
static bool
claim(const char *claims, const char *device)
{
	int file = open_lock(claims, device, "");

	if (file < 0)
		return false;
	/* Kept open until the process ends. */
	if (flock(file, LOCK_EX | LOCK_NB) == 0)
		return true;
	close(file);
	return false;
}

/* The one with most memory free among those not yet tried; -1: none is. */
static int
freest(const DeviceList *list, const bool *is_tried)
{
	int best = -1;

	for (int i = 0; i < list->count; i++)
		if (!is_tried[i] && (best < 0 || list->info[i].memory_free >
		                                     list->info[best].memory_free))
			best = i;
	return best;
}

/* Any one: there is at least one. */
static int
choose_one(const char *claims, const DeviceList *list)
{
	bool is_tried[DEVICES_MAX] = {false};
	int best = freest(list, is_tried);

	for (int i = best; i >= 0 && claims != NULL; i = freest(list, is_tried))
	{
		if (claim(claims, list->info[i].device))
			return i;
		is_tried[i] = true;
	}
	return best;
}

/* "cuda:0 (NVIDIA H100, 79 GiB) and cpu" */
static void
list_devices(const DeviceList *list, char *text, size_t size)
{
	size_t used = 0;

	for (int i = 0; i < list->count && used < size; i++)
		used += (size_t) snprintf(
			text + used, size - used, "%s%s (%s, %.1f GiB)", i == 0 ? "" : ", ",
			list->info[i].device, list->info[i].name,
			(double) list->info[i].memory_total / (1 << 30));
	if (used < size)
		snprintf(text + used, size - used, "%scpu", used == 0 ? "" : " and ");
}

static bool
fail_missing(const char *text, const DeviceList *list, Failure *failure)
{
	char there[FAILURE_TEXT / 2];

	if (list->count == 0)
		fail(failure, FAILURE_UNSUPPORTED,
		     "device \"%s\" is not available: no GPU: %s", text, list->reason);
	else
		fail(failure, FAILURE_UNSUPPORTED,
		     "device \"%s\" is not available: this server has %d GPU%s", text,
		     list->count, list->count == 1 ? "" : "s");
	list_devices(list, there, sizeof(there));
	return fail_hint(failure, "Devices here are: %s.", there);
}

static bool
take_listed(const DeviceSpec *spec, const DeviceList *list,
            DeviceChoice *choice)
{
	for (int i = 0; i < spec->count; i++)
	{
		if (spec->number[i] >= list->count)
			return false;
		choice->number[i] = spec->number[i];
	}
	choice->count = spec->count;
	return true;
}

/* GPUs, of which there is one at least. */
static bool
choose_gpus(const DeviceSpec *spec, const char *claims, const DeviceList *list,
            DeviceChoice *choice)
{
	choice->is_gpu = true;
	if (spec->kind != DEVICE_GPU_ALL && spec->count == 0)
	{
		choice->count = 1;
		choice->number[0] = choose_one(claims, list);
		return true;
	}
	if (spec->kind == DEVICE_GPU && !take_listed(spec, list, choice))
		return false;
	if (spec->kind == DEVICE_GPU_ALL)
		for (choice->count = 0; choice->count < list->count; choice->count++)
			choice->number[choice->count] = choice->count;
	/* Told to use them, it does so whoever else does. */
	for (int i = 0; i < choice->count && claims != NULL; i++)
		(void) claim(claims, list->info[choice->number[i]].device);
	return true;
}

bool
device_choose(const char *text, const char *claims, const DeviceList *list,
              DeviceChoice *choice, Failure *failure)
{
	DeviceSpec spec;

	memset(choice, 0, sizeof(DeviceChoice));
	if (!device_spec_parse(text, &spec))
		return fail(failure, FAILURE_BAD_INPUT, "a device is %s, not \"%s\"",
		            DEVICE_SPEC_FORMS, text);
	if (spec.kind == DEVICE_CPU ||
	    (spec.kind == DEVICE_AUTO && list->count == 0))
	{
		choice->count = spec.kind == DEVICE_CPU ? spec.count : 1;
		return true;
	}
	return (list->count > 0 && choose_gpus(&spec, claims, list, choice)) ||
	       fail_missing(text, list, failure);
}

static const char *
device_at(const DeviceList *list, const DeviceChoice *choice, int i)
{
	return choice->is_gpu ? list->info[choice->number[i]].device : "cpu";
}

void
device_use(const char *claims, const DeviceList *list, DeviceChoice *choice)
{
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	choice->locks = choice->is_gpu ? choice->count : 1;
	for (int i = 0; i < choice->locks; i++)
	{
		choice->lock[i] =
			open_lock(claims, device_at(list, choice, i), DEVICE_USERS);
		if (choice->lock[i] >= 0)
			(void) fcntl(choice->lock[i], F_OFD_SETLK, &shared);
	}
}

/* Does another job compute on one of them? */
static bool
others_use(const DeviceChoice *choice)
{
	for (int i = 0; i < choice->locks; i++)
	{
		struct flock alone = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

		if (choice->lock[i] >= 0 &&
		    fcntl(choice->lock[i], F_OFD_GETLK, &alone) == 0 &&
		    alone.l_type != F_UNLCK)
			return true;
	}
	return false;
}

bool
device_judge(const DeviceList *list, const DeviceChoice *choice,
             uint64_t host_most, Failure *failure)
{
	uint64_t most = failure->is_of_host ? host_most : 0;

	for (int i = 0; i < choice->count && !failure->is_of_host; i++)
		if (choice->is_gpu && list->info[choice->number[i]].memory_total > most)
			most = list->info[choice->number[i]].memory_total;
	if (failure->code == FAILURE_OUT_OF_MEMORY && failure->needed <= most &&
	    others_use(choice))
		failure->code = FAILURE_NO_ROOM_NOW;
	return false;
}

char *
device_choice_name(Arena *arena, const DeviceList *list,
                   const DeviceChoice *choice)
{
	char *name;

	if (!choice->is_gpu)
		return choice->count == 1
		           ? arena_strdup(arena, "cpu")
		           : arena_printf(arena, "cpu:%d", choice->count);
	name = arena_strdup(arena, list->info[choice->number[0]].device);
	for (int i = 1; i < choice->count; i++)
		name = arena_printf(arena, "%s,%d", name, choice->number[i]);
	return name;
}
