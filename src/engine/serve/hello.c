/*
 * hello.c
 *		The handshake, and what the engine can do here.
 *
 * The handshake fixes what holds for the whole process: the parent it must
 * not outlive, the memory it may take, the threads, the device.
 */
#include "base/poll.h"
#include "formats/json.h"
#include "method/critic.h"
#include "model/model.h"
#include "serve/choose.h"
#include "serve/requests.h"
#include "serve/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *
list_methods(void)
{
	json_t *list = json_array();

	for (int i = 0; i < objective_count(); i++)
	{
		const Objective *objective = objective_at(i);

		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:b, s:b}", "name", objective->name, "rows",
		              objective_rows_name(objective->rows), "reference",
		              (int) objective->needs_reference, "value",
		              (int) (objective->rows == ROWS_POSITIVE_ADVANTAGE)));
	}
	return list;
}

/* How classifiers are trained. */
static json_t *
list_objectives(void)
{
	json_t *list = json_array();

	for (int i = 0; i < critic_count(); i++)
	{
		const Objective *draws = &critic_at(i)->draws;

		json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", draws->name, "rows",
		                    objective_rows_name(draws->rows)));
	}
	return list;
}

static json_t *
list_architectures(void)
{
	json_t *list = json_array();

	for (int i = 0; architecture_name(i) != NULL; i++)
		json_array_append_new(list, json_string(architecture_name(i)));
	return list;
}

/* Devices other than the CPU: where they may be asked for, and where all are
 * to be listed. */
static void
look_for_devices(Serve *serve, const char *device, bool is_listing)
{
	char path[4096];
	DeviceSpec spec;

	if (!is_listing && device_spec_parse(device, &spec) &&
	    spec.kind == DEVICE_CPU)
		return;
	if (device_module_path(path, sizeof(path)))
		device_probe(path, PROBE_LIMIT_MS, &serve->devices);
}

static bool
open_gpu(int number, Device **device, Failure *failure)
{
	char path[4096];
	const DeviceModule *module = NULL;

	if (device_module_path(path, sizeof(path)))
		module = device_module_load(path, failure);
	return module != NULL && module->open(number, device, failure);
}

/*
 * Chooses and opens what to compute on.  Drivers open files and sockets and
 * start threads and processes, so the sandbox comes after theirs.
 */
static bool
open_device(Request *request, int threads, const char **name, Failure *failure)
{
	Serve *serve = request->serve;
	const json_t *head = request->head;
	const char *device, *claims;
	DeviceChoice choice;
	bool is_listing;

	if (!json_get_string(head, "device", "auto", &device, failure) ||
	    !json_get_string(head, "claims", NULL, &claims, failure) ||
	    !json_get_bool(head, "devices", false, &is_listing, failure))
		return false;
	look_for_devices(serve, device, is_listing);
	if (!device_choose(device, claims, &serve->devices, &choice, failure))
		return false;
	if (choice.count > 1 && claims != NULL)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "device \"%s\" is %d devices: a job uses one so far",
		            device, choice.count);
	choice.count = 1;
	*name = device_choice_name(request->arena, &serve->devices, &choice);
	if (choice.is_gpu && !open_gpu(choice.number[0], &serve->device, failure))
		return fail_while(failure, "opening device \"%s\"", *name);
	sandbox_enter();
	return choice.is_gpu || cpu_device_open(threads, &serve->device, failure);
}

/* Ends the process when its parent is gone: the death signal does not come
 * for a parent that died before it was asked for. */
static void
die_without_parent(int64_t parent)
{
	if (parent != 0 && parent != (int64_t) getppid())
	{
		fprintf(stderr, "the parent %lld is gone\n", (long long) parent);
		exit(1);
	}
}

bool
handle_hello(Request *request, Failure *failure)
{
	Serve *serve = request->serve;
	const json_t *head = request->head;
	int64_t version, parent, threads, limit, idle;
	const char *device = NULL;

	if (serve->device != NULL)
		return fail(failure, FAILURE_PROTOCOL, "a second \"hello\"");
	if (!json_get_int(head, "version", 0, 0, INT32_MAX, &version, failure) ||
	    !json_get_int(head, "parent", 0, 0, INT32_MAX, &parent, failure) ||
	    !json_get_int(head, "threads", 0, 0, 4096, &threads, failure) ||
	    !json_get_int(head, "memory_limit", 0, 0, INT64_MAX, &limit, failure) ||
	    !json_get_int(head, "idle_timeout", 0, 0, 2000000, &idle, failure))
		return false;
	die_without_parent(parent);
	if (version != WIRE_VERSION)
	{
		fail(failure, FAILURE_UNSUPPORTED,
		     "the engine speaks version %d of the protocol, not %lld",
		     WIRE_VERSION, (long long) version);
		return fail_hint(failure,
		                 "Install alol.so and alol-engine of the same build.");
	}
	memory_limit_set((uint64_t) limit);
	if (!open_device(request, (int) threads, &device, failure))
		return false;
	serve->idle_timeout_s = (int) idle;
	return reply_send(
		request, WIRE_RESULT,
		json_pack("{s:i, s:s, s:o, s:o, s:o, s:[ss], s:i, s:s, s:s?}",
	              "version", WIRE_VERSION, "engine", ALOL_VERSION, "methods",
	              list_methods(), "objectives", list_objectives(),
	              "architectures", list_architectures(), "formats",
	              "safetensors", "gguf", "pid", (int) getpid(), "device",
	              device, "fault",
	              serve->devices.is_fault ? serve->devices.reason : NULL),
		failure);
}
