/*
 * shared_memory.c
 *		A block's shared memory, and who touched it last: what one thread
 *		writes and another reads or writes without a barrier between is a
 *		fault, whatever order they happened to run in.
 *
 * Barriers order threads of a block, barriers of a warp its lanes; shuffles
 * order nothing in memory.  Undefined bytes are ones, which no float is.
 */
#include "shim.h"

#include <string.h>

/* The smallest piece that two threads may touch at once. */
#define CELL_BYTES 2
#define CELLS (SHIM_SHARED_MOST / CELL_BYTES)
#define MAX_VARIABLES 64
#define MAX_COPIES 256 /* of a thread, on their way */

/* An access by a thread, by several lanes of warp -2 - thread, or by
 * several warps. */
#define SEVERAL_WARPS (-1)
#define LANES_OF(warp) (-2 - (warp))

typedef struct Access
{
	uint64_t barriers; /* of the block by then; 0: none */
	uint64_t warp_barriers;
	int thread;
} Access;

typedef struct Cell
{
	Access write;
	Access read;
	bool is_coming; /* by a copy that was not waited for */
} Cell;

typedef struct Copy
{
	size_t at;
	const void *source;
	size_t bytes;
	size_t zeros;
	int group;
} Copy;

/* A thread's copies, in order. */
typedef struct Copies
{
	Copy copy[MAX_COPIES];
	int count;
	int group; /* that is open */
} Copies;

static unsigned char memory[SHIM_SHARED_MOST] __attribute__((aligned(128)));
static Cell cells[CELLS];
static Copies copies[SHIM_MAX_THREADS];
static int copies_coming; /* of all threads */
static struct
{
	const char *key;
	size_t at;
	size_t bytes;
} variables[MAX_VARIABLES];
static int variable_count;
static size_t dynamic_part;
static size_t used;

/* What a kernel left that was stopped. */
static void
forget_copies(void)
{
	for (int i = 0; i < SHIM_MAX_THREADS; i++)
		copies[i].count = 0;
	for (size_t i = 0; i < CELLS; i++)
		cells[i].is_coming = false;
	copies_coming = 0;
}

void
shim_shared_begin(size_t dynamic_bytes)
{
	variable_count = 0;
	dynamic_part = dynamic_bytes;
	used = (dynamic_bytes + 127) / 128 * 128;
	memset(memory, 0xff, used);
	/* Nearly all kernels leave nothing behind. */
	if (copies_coming > 0)
		forget_copies();
}

bool
shim_shared_end(void)
{
	for (int i = 0; i < SHIM_MAX_THREADS && copies_coming > 0; i++)
		if (copies[i].count > 0)
		{
			shim_fault("thread %d ends without waiting for its copies, in %s",
			           i, shim_place());
			return false;
		}
	return true;
}

static size_t
add_variable(const char *key, size_t bytes)
{
	size_t at = used;

	if (variable_count == MAX_VARIABLES)
		shim_fault("more than %d shared variables, in %s", MAX_VARIABLES,
		           shim_place());
	used += (bytes + 127) / 128 * 128;
	if (used - (dynamic_part + 127) / 128 * 128 > SHIM_SHARED_PLAIN ||
	    used > SHIM_SHARED_MOST)
		shim_fault("%zu bytes of shared memory, in %s", used, shim_place());
	memset(memory + at, 0xff, used - at);
	variables[variable_count].key = key;
	variables[variable_count].bytes = bytes;
	variables[variable_count++].at = at;
	return at;
}

size_t
shim_shared_variable(const char *key, size_t bytes)
{
	for (int i = 0; i < variable_count; i++)
		if (strcmp(variables[i].key, key) == 0 && variables[i].bytes == bytes)
			return variables[i].at;
	return add_variable(key, bytes);
}

size_t
shim_shared_dynamic(size_t *bytes)
{
	*bytes = dynamic_part;
	return 0;
}

/* Has the thread of an access reached a barrier that this one passed? */
static bool
comes_before(const Access *access, int thread)
{
	int warp = thread / SHIM_WARP;

	if (access->barriers < shim_barriers() || access->thread == thread)
		return true;
	if (access->thread >= 0 ? access->thread / SHIM_WARP != warp
	                        : access->thread != LANES_OF(warp))
		return false;
	return access->warp_barriers < shim_warp_barriers(warp);
}

static Access
access_now(int thread)
{
	return (Access){shim_barriers(), shim_warp_barriers(thread / SHIM_WARP),
	                thread};
}

static void
report_race(const char *what, const Access *before, size_t at)
{
	shim_fault("race: thread %d %s byte %zu of shared memory that %s %d "
	           "touched since the last barrier, in %s",
	           shim_thread(), what, at,
	           before->thread >= 0               ? "thread"
	           : before->thread == SEVERAL_WARPS ? "several warps, code"
	                                             : "lanes of warp",
	           before->thread >= -1 ? before->thread : -2 - before->thread,
	           shim_place());
}

/* Who reads together with others leaves their common sign. */
static void
note_read(Cell *cell, int thread)
{
	Access now = access_now(thread);
	Access *read = &cell->read;
	int warp = thread / SHIM_WARP;

	if (read->barriers < now.barriers || read->thread == thread)
		*read = now;
	else if (read->thread == SEVERAL_WARPS)
		return;
	else if (read->thread >= 0 ? read->thread / SHIM_WARP != warp
	                           : read->thread != LANES_OF(warp))
		read->thread = SEVERAL_WARPS;
	else if (read->warp_barriers == now.warp_barriers)
		read->thread = LANES_OF(warp);
	else
		*read = now;
}

static void
check_bounds(size_t at, size_t bytes)
{
	if (at % (bytes < 16 ? bytes : 16) != 0)
		shim_fault("%zu bytes at byte %zu of shared memory, not aligned, in %s",
		           bytes, at, shim_place());
	if (at >= used || bytes > used - at)
		shim_fault("byte %zu of %zu bytes of shared memory, in %s", at, used,
		           shim_place());
}

static void
note_write(size_t at, size_t bytes)
{
	int thread = shim_thread();

	check_bounds(at, bytes);
	for (size_t i = at / CELL_BYTES; i < (at + bytes) / CELL_BYTES; i++)
	{
		if (cells[i].is_coming)
			shim_fault("thread %d writes byte %zu of shared memory, where a "
			           "copy was not waited for, in %s",
			           thread, i * CELL_BYTES, shim_place());
		if (!comes_before(&cells[i].write, thread))
			report_race("writes", &cells[i].write, i * CELL_BYTES);
		if (!comes_before(&cells[i].read, thread))
			report_race("writes", &cells[i].read, i * CELL_BYTES);
		cells[i].write = access_now(thread);
	}
}

void
shim_shared_read(size_t at, void *value, size_t bytes)
{
	int thread = shim_thread();

	check_bounds(at, bytes);
	for (size_t i = at / CELL_BYTES; i < (at + bytes) / CELL_BYTES; i++)
	{
		if (cells[i].is_coming)
			shim_fault("thread %d reads byte %zu of shared memory, where a "
			           "copy was not waited for, in %s",
			           thread, i * CELL_BYTES, shim_place());
		if (!comes_before(&cells[i].write, thread))
			report_race("reads", &cells[i].write, i * CELL_BYTES);
		note_read(&cells[i], thread);
	}
	memcpy(value, memory + at, bytes);
}

void
shim_shared_write(size_t at, const void *value, size_t bytes)
{
	note_write(at, bytes);
	memcpy(memory + at, value, bytes);
}

static void
mark_coming(const Copy *copy, bool is_coming)
{
	for (size_t i = 0; i < (copy->bytes + copy->zeros) / CELL_BYTES; i++)
		cells[copy->at / CELL_BYTES + i].is_coming = is_coming;
}

void
shim_copy_async(size_t at, const void *source, size_t bytes, size_t zeros)
{
	Copies *mine = &copies[shim_thread()];
	Copy copy = {at, source, bytes, zeros, mine->group};

	if ((uintptr_t) source % (bytes + zeros) != 0)
		shim_fault("a copy of %zu bytes from an address that is not aligned, "
		           "in %s",
		           bytes + zeros, shim_place());
	if (mine->count == MAX_COPIES)
		shim_fault("more than %d copies on their way, in %s", MAX_COPIES,
		           shim_place());
	note_write(at, bytes + zeros);
	memset(memory + at, 0xff, bytes + zeros);
	mark_coming(&copy, true);
	mine->copy[mine->count++] = copy;
	copies_coming++;
}

void
shim_copy_commit(void)
{
	copies[shim_thread()].group++;
}

static void
deliver(const Copy *copy)
{
	mark_coming(copy, false);
	note_write(copy->at, copy->bytes + copy->zeros);
	if (copy->bytes > 0)
		memcpy(memory + copy->at, copy->source, copy->bytes);
	memset(memory + copy->at + copy->bytes, 0, copy->zeros);
}

void
shim_copy_wait(int groups_left)
{
	Copies *mine = &copies[shim_thread()];
	int kept = 0;

	for (int i = 0; i < mine->count; i++)
		if (mine->copy[i].group < mine->group - groups_left)
		{
			deliver(&mine->copy[i]);
			copies_coming--;
		}
		else
			mine->copy[kept++] = mine->copy[i];
	mine->count = kept;
}
