/*
 * collective_test.c
 *		Ranks on software GPUs add up by NCCL, or rather what stands in for it;
 *		and whatever fails on one of them, each ends with an error in words.
 */
#include "shim.h"
#include "testing.h"

#include "device/module.h"

#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define COUNT 1000

/* Nothing here takes as long. */
#define PATIENCE_S 3

extern const DeviceModule alol_device_module;

static const DeviceModule *module = &alol_device_module;

/* What fails where: in the calls of the runtime or of NCCL, 0: nothing. */
typedef struct Fault
{
	int rank;
	int runtime_call;
	int nccl_call;
	bool leaves; /* the rank ends between two sums, without a word */
} Fault;

/* How a rank ended: in memory that all share. */
typedef struct Ending
{
	atomic_int opened; /* 1: its device is; -1: that failed */
	bool is_done;
	int calls; /* of the runtime */
	Failure failure;
} Ending;

typedef struct World
{
	int ranks;
	Fault fault;
	Ending *ending; /* [ranks] */
	int64_t deadline_s;
} World;

static int64_t
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Collective.check: a job asks whether a rank has ended; here that is what
 * the time says. */
static bool
is_time_left(void *argument, Failure *failure)
{
	const World *world = argument;

	return now_s() < world->deadline_s ||
	       (fail) (failure, FAILURE_CANCELLED, "a rank did not come");
}

/* data[COUNT] = rank * 1000 + i */
static void
put_numbers(Device *device, float *data, int rank)
{
	float numbers[COUNT];

	for (int i = 0; i < COUNT; i++)
		numbers[i] = (float) (rank * 1000 + i);
	device->upload(device, data, numbers, sizeof(numbers));
}

/* data[i] must be factor * i + more */
static bool
has_numbers(Device *device, const float *data, double factor, double more,
            Failure *failure)
{
	float numbers[COUNT];

	device->download(device, numbers, data, sizeof(numbers));
	if (!device->sync(device, failure))
		return false;
	for (int i = 0; i < COUNT; i++)
		if (fabs((double) numbers[i] - (factor * i + more)) > 1e-3)
			return (fail) (failure, FAILURE_INTERNAL, "number %d is %g, not %g",
			               i, (double) numbers[i], factor * i + more);
	return true;
}

/* Some steps: sums, copies, barriers. */
static bool
work_together(const World *world, Collective *all, float *data,
              Failure *failure)
{
	Device *device = all->device;
	int ranks = world->ranks;

	for (int step = 0; step < 3; step++)
	{
		put_numbers(device, data, all->rank);
		if (!all->all_reduce(all, data, COUNT, failure) ||
		    !has_numbers(device, data, ranks, 500.0 * ranks * (ranks - 1),
		                 failure))
			return false;
		if (step == 1 && world->fault.leaves && world->fault.rank == all->rank)
			_exit(0);
		if (!all->all_reduce(all, data, 1, failure))
			return false;
	}
	put_numbers(device, data, all->rank + 3);
	return all->broadcast(all, data, COUNT * sizeof(float), failure) &&
	       has_numbers(device, data, 1, 3000, failure) &&
	       all->barrier(all, failure);
}

/* As a job does: nobody joins before all have opened their devices. */
static bool
open_together(World *world, int rank, Device **device, Failure *failure)
{
	bool is_open = module->open(rank, device, failure);

	world->ending[rank].opened = is_open ? 1 : -1;
	for (int r = 0; is_open && r < world->ranks; r++)
	{
		while (world->ending[r].opened == 0)
			usleep(100);
		if (world->ending[r].opened > 0)
			continue;
		(*device)->close(*device);
		return (fail) (failure, FAILURE_DEVICE, "rank %d has no device", r);
	}
	return is_open;
}

static bool
live_as_rank(World *world, const uint8_t *id, int rank, Failure *failure)
{
	Device *device;
	Collective *all;
	float *data;
	bool is_good;

	if (!open_together(world, rank, &device, failure))
		return false;
	if (!module->join(device, id, rank, world->ranks, &all, failure))
	{
		device->close(device);
		return false;
	}
	all->check = is_time_left;
	all->argument = world;
	data = device->alloc(device, COUNT * sizeof(float));
	is_good = data == NULL ? device->sync(device, failure)
	                       : work_together(world, all, data, failure);
	device->free(device, data);
	all->close(all);
	device->close(device);
	return is_good;
}

static void
set_number(const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	setenv(name, text, 1);
}

/* A rank's process. */
static void
be_rank(World *world, const uint8_t *id, int rank)
{
	const Fault *fault = &world->fault;
	Ending *ending = &world->ending[rank];

	set_number("ALOL_SHIM_DEVICES", world->ranks);
	if (fault->rank == rank)
	{
		set_number("ALOL_SHIM_FAIL_CALL", fault->runtime_call);
		set_number("ALOL_NCCL_FAIL_CALL", fault->nccl_call);
	}
	shim_reset();
	ending->is_done = live_as_rank(world, id, rank, &ending->failure);
	ending->calls = shim_calls();
	if (shim_memory_in_use() != 0)
		(fail)(&ending->failure, FAILURE_INTERNAL, "%zu bytes are left",
		       shim_memory_in_use());
	_exit(0);
}

/* All ranks, each a process, to their end. */
static void
live(World *world)
{
	size_t bytes = sizeof(Ending) * (size_t) world->ranks;
	uint8_t id[COLLECTIVE_ID_SIZE];
	Failure failure = {0};

	memset(world->ending, 0, bytes);
	world->deadline_s = now_s() + PATIENCE_S;
	assert_ok(module->make_id(id, &failure), failure);
	for (int rank = 0; rank < world->ranks; rank++)
	{
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			be_rank(world, id, rank);
	}
	for (int rank = 0; rank < world->ranks; rank++)
	{
		int status = 0;

		assert_true(wait(&status) > 0);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	/* Left behind where not all came. */
	unlink((const char *) id);
}

static World
make_world(int ranks)
{
	World world = {.ranks = ranks};

	world.ending =
		mmap(NULL, sizeof(Ending) * (size_t) ranks, PROT_READ | PROT_WRITE,
	         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(world.ending != MAP_FAILED);
	return world;
}

static void
end_world(World *world)
{
	munmap(world->ending, sizeof(Ending) * (size_t) world->ranks);
}

/* --------------------------------------------------------------- the claims */

/* In a process of its own, where what is found does not stay. */
static void
without_the_library_sockets_are_used(void **state)
{
	uint8_t id[COLLECTIVE_ID_SIZE];
	Failure failure = {0};
	int status = 0;

	(void) state;
	if (fork() == 0)
	{
		if (module->make_id(id, &failure))
			_exit(0);
		_exit(failure.code == FAILURE_NOT_FOUND &&
		              strstr(failure.message, "libnccl.so.2") != NULL
		          ? 1
		          : 2);
	}
	assert_true(wait(&status) > 0 && WIFEXITED(status));
	if (WEXITSTATUS(status) == 0)
		skip(); /* NCCL is installed */
	assert_int_equal(WEXITSTATUS(status), 1);
}

/* From here on it is there: a library that is loaded is found by its name. */
static void
ranks_add_up_and_copy(void **state)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);

	(void) state;
	assert_true(length > 0);
	path[length] = '\0';
	strcpy(strrchr(path, '/'), "/libnccl.so.2");
	if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == NULL)
		fail_msg("%s", dlerror());
	for (int ranks = 1; ranks <= 3; ranks++)
	{
		World world = make_world(ranks);

		live(&world);
		for (int r = 0; r < ranks; r++)
			assert_ok(world.ending[r].is_done, world.ending[r].failure);
		end_world(&world);
	}
}

/* Both ranks must have ended with a failure in words. */
static void
expect_failures(const World *world, const char *what, int n)
{
	for (int r = 0; r < world->ranks; r++)
	{
		const Ending *ending = &world->ending[r];

		if (ending->is_done && ending->failure.message[0] == '\0')
			continue;
		if (ending->failure.code != FAILURE_DEVICE &&
		    ending->failure.code != FAILURE_OUT_OF_MEMORY)
			fail_msg("%s %d: rank %d says \"%s\"", what, n, r,
			         ending->failure.message);
	}
}

static void
a_failing_call_of_nccl_ends_both_ranks(void **state)
{
	World world = make_world(2);

	(void) state;
	for (int rank = 0; rank < 2; rank++)
		for (int n = 1;; n++)
		{
			world.fault = (Fault){.rank = rank, .nccl_call = n};
			live(&world);
			if (world.ending[rank].is_done)
			{
				/* Joining, sums and the rest were all of them. */
				assert_int_equal(n, 11);
				break;
			}
			assert_non_null(strstr(world.ending[rank].failure.message, "NCCL"));
			assert_false(world.ending[1 - rank].is_done);
			expect_failures(&world, "NCCL's call", n);
		}
	end_world(&world);
}

static void
a_lost_device_ends_both_ranks(void **state)
{
	World world = make_world(2);
	int calls;

	(void) state;
	live(&world);
	calls = world.ending[1].calls;
	assert_true(calls > 30);
	for (int n = 1; n <= calls; n++)
	{
		world.fault = (Fault){.rank = 1, .runtime_call = n};
		live(&world);
		expect_failures(&world, "the runtime's call", n);
		/* Its last calls give back what has done its work. */
		assert_true(!world.ending[1].is_done || n > calls - 20);
	}
	end_world(&world);
}

static void
a_rank_that_leaves_ends_the_wait(void **state)
{
	World world = make_world(2);

	(void) state;
	world.fault = (Fault){.rank = 1, .leaves = true};
	live(&world);
	assert_false(world.ending[0].is_done);
	assert_string_equal(world.ending[0].failure.message, "a rank did not come");
	end_world(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_the_library_sockets_are_used),
		cmocka_unit_test(ranks_add_up_and_copy),
		cmocka_unit_test(a_failing_call_of_nccl_ends_both_ranks),
		cmocka_unit_test(a_lost_device_ends_both_ranks),
		cmocka_unit_test(a_rank_that_leaves_ends_the_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
