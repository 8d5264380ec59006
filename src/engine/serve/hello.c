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
#include "serve/ranks.h"
#include "serve/requests.h"
#include "serve/sandbox.h"

#include <omp.h>
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

/* Threads of each of so many ranks that share the processors. */
static int
divide_processors(int ranks)
{
	int threads = omp_get_num_procs() / ranks;

	return threads < 1 ? 1 : threads;
}

static bool
open_chosen(Serve *serve, const DeviceChoice *choice, int threads,
            Failure *failure)
{
	const DeviceModule *module = NULL;
	uint64_t limit = memory_limit() / (uint64_t) choice->count;
	char path[4096];

	if (threads == 0 && choice->count > 1 && !choice->is_gpu)
		threads = divide_processors(choice->count);
	if (choice->is_gpu && device_module_path(path, sizeof(path)))
		module = device_module_load(path, failure);
	if (choice->is_gpu && module == NULL)
		return false;
	memory_limit_set(limit);
	if (choice->count > 1 &&
	    !ranks_start(choice, module, threads, limit, &serve->ranks, failure))
		return false;
	return (choice->is_gpu
	            ? module->open(choice->number[0], &serve->device, failure)
	            : cpu_device_open(threads, &serve->device, failure)) &&
	       (serve->ranks == NULL ||
	        ranks_join(serve->ranks, serve->device, failure));
}

/*
 * Chooses and opens what to compute on.  Drivers open files and sockets and
 * start threads and processes, and other ranks are processes, so the sandbox
 * comes after them.
 */
static bool
open_device(Request *request, int threads, const char **name, Failure *failure)
{
	Serve *serve = request->serve;
	const json_t *head = request->head;
	DeviceChoice *choice = &serve->choice;
	const char *device, *claims;
	bool is_listing, has_ranks;
	int64_t most;

	if (!json_get_string(head, "device", "auto", &device, failure) ||
	    !json_get_string(head, "claims", NULL, &claims, failure) ||
	    !json_get_int(head, "memory_most", 0, 0, INT64_MAX, &most, failure) ||
	    !json_get_bool(head, "ranks", false, &has_ranks, failure) ||
	    !json_get_bool(head, "devices", false, &is_listing, failure))
		return false;
	look_for_devices(serve, device, is_listing);
	if (!device_choose(device, claims, &serve->devices, choice, failure))
		return false;
	if (!has_ranks)
		choice->count = 1;
	serve->memory_most = (uint64_t) (most / choice->count);
	if (claims != NULL)
		device_use(claims, &serve->devices, choice);
	*name = device_choice_name(request->arena, &serve->devices, choice);
	if (!open_chosen(serve, choice, threads, failure))
		return fail_while(failure, "opening device \"%s\"", *name);
	sandbox_enter();
	return true;
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
