/*
 * helpers.c
 *		Threads that help with work which is too short to wait for them.
 *
 * A token of a single stream is a few hundred products of some microseconds
 * each.  Threads that each have a fixed share would wait for each other at the
 * end of every one: on a busy machine for whoever has lost its core, and on an
 * idle one for whoever must be woken.  Here whoever is free takes the next
 * piece, so the work goes on at the speed of those who are there, and nobody
 * waits but for a piece that somebody has begun.
 */
#include "device/cpu/cpu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* So often a helper looks for work before it sleeps: some 100 microseconds. */
#define LOOKS 4000

/* So often it is looked whether helpers have ended their pieces before one
 * sleeps until they have. */
#define LOOKS_AT_END 1000

/*
 * What there is to do.  `next` holds the work's number in its upper half and in
 * the lower the first item that nobody has taken.  A piece is taken by changing
 * it, which succeeds only while the work is that of the number; so whoever took
 * a piece knows that the other members, which it has read before, belong to
 * it, and that they stay until it adds its piece to `done`.
 */
struct CpuHelpers
{
	_Alignas(64) atomic_uint_least64_t next;
	_Alignas(64) atomic_uint_least32_t done; /* items */
	_Alignas(64) atomic_uint_least32_t count;
	atomic_uint_least32_t grain;
	_Atomic(CpuPart) part;
	_Atomic(void *) argument;

	pthread_mutex_t mutex;
	pthread_cond_t wake; /* there is work */
	pthread_cond_t end;  /* there is none, and all of it is done */
	atomic_int sleepers;
	atomic_bool is_awaited;
	atomic_bool is_closing;
	int most;    /* threads, the caller's included */
	int threads; /* that are there; 0: not started yet */
	pthread_t *thread;
};

/* Which helper this thread is, from 1; 0: none. */
static _Thread_local int here;

/* What a new helper is told. */
typedef struct Start
{
	CpuHelpers *helpers;
	int number;
} Start;

int
cpu_helper_number(void)
{
	return here;
}

static inline void
relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/* Something of the work is not taken yet. */
static bool
is_left(CpuHelpers *helpers)
{
	return (uint32_t) atomic_load(&helpers->next) <
	       atomic_load(&helpers->count);
}

/* Takes a piece, of fewer items the fewer are left; false: none is, or the
 * work is another now. */
static bool
take(CpuHelpers *helpers, uint64_t seen, uint32_t *first, uint32_t *last)
{
	uint64_t number = seen >> 32;
	uint32_t threads = (uint32_t) helpers->most;
	uint32_t count = atomic_load(&helpers->count);
	uint32_t grain = atomic_load(&helpers->grain);
	uint32_t size;

	do
	{
		*first = (uint32_t) seen;
		if (seen >> 32 != number || *first >= count)
			return false;
		size = (count - *first) / (2 * threads) / grain * grain;
		if (size < grain)
			size = grain;
		*last = size < count - *first ? *first + size : count;
	} while (!atomic_compare_exchange_weak(&helpers->next, &seen,
	                                       number << 32 | *last));
	return true;
}

/* Does a piece of what there is to do; false if there is nothing. */
static bool
do_piece(CpuHelpers *helpers)
{
	uint64_t seen = atomic_load(&helpers->next);
	CpuPart part = atomic_load(&helpers->part);
	void *argument = atomic_load(&helpers->argument);
	uint32_t count = atomic_load(&helpers->count);
	uint32_t first, last;

	if (!take(helpers, seen, &first, &last))
		return false;
	part(argument, first, last);
	if (atomic_fetch_add(&helpers->done, last - first) + last - first ==
	        count &&
	    atomic_load(&helpers->is_awaited))
	{
		pthread_mutex_lock(&helpers->mutex);
		pthread_cond_signal(&helpers->end);
		pthread_mutex_unlock(&helpers->mutex);
	}
	return true;
}

static void
sleep_until_work(CpuHelpers *helpers)
{
	pthread_mutex_lock(&helpers->mutex);
	atomic_fetch_add(&helpers->sleepers, 1);
	while (!is_left(helpers) && !atomic_load(&helpers->is_closing))
		pthread_cond_wait(&helpers->wake, &helpers->mutex);
	atomic_fetch_sub(&helpers->sleepers, 1);
	pthread_mutex_unlock(&helpers->mutex);
}

static void *
help(void *argument)
{
	Start start = *(Start *) argument;
	int looks = 0;

	free(argument);
	here = start.number;
	cpu_flush_denormals();
	while (!atomic_load(&start.helpers->is_closing))
	{
		if (is_left(start.helpers) && do_piece(start.helpers))
			looks = 0;
		else if (++looks < LOOKS)
			relax();
		else
		{
			sleep_until_work(start.helpers);
			looks = 0;
		}
	}
	return NULL;
}

static bool
start_helper(CpuHelpers *helpers, int number)
{
	Start *start = malloc(sizeof(Start));

	if (start == NULL)
		return false;
	*start = (Start){helpers, number};
	if (pthread_create(&helpers->thread[number], NULL, help, start) == 0)
		return true;
	free(start);
	return false;
}

CpuHelpers *
cpu_helpers_open(int threads)
{
	CpuHelpers *helpers =
		aligned_alloc(_Alignof(CpuHelpers), sizeof(CpuHelpers));
	pthread_t *thread = calloc((size_t) threads, sizeof(pthread_t));

	if (helpers == NULL || thread == NULL)
	{
		free(helpers);
		free(thread);
		return NULL;
	}
	memset(helpers, 0, sizeof(*helpers));
	helpers->most = threads;
	helpers->thread = thread;
	pthread_mutex_init(&helpers->mutex, NULL);
	pthread_cond_init(&helpers->wake, NULL);
	pthread_cond_init(&helpers->end, NULL);
	return helpers;
}

void
cpu_helpers_close(CpuHelpers *helpers)
{
	atomic_store(&helpers->is_closing, true);
	pthread_mutex_lock(&helpers->mutex);
	pthread_cond_broadcast(&helpers->wake);
	pthread_mutex_unlock(&helpers->mutex);
	for (int i = 1; i < helpers->threads; i++)
		pthread_join(helpers->thread[i], NULL);
	pthread_cond_destroy(&helpers->end);
	pthread_cond_destroy(&helpers->wake);
	pthread_mutex_destroy(&helpers->mutex);
	free(helpers->thread);
	free(helpers);
}

/* At first use: most engines that only train never need them.  Fewer than
 * wanted are no failure. */
static void
start_helpers(CpuHelpers *helpers)
{
	helpers->threads = 1;
	while (helpers->threads < helpers->most &&
	       start_helper(helpers, helpers->threads))
		helpers->threads++;
}

/* What helpers read stands before they can take anything of it; before it
 * changes nothing is left to take. */
static void
offer(CpuHelpers *helpers, uint32_t count, uint32_t grain, CpuPart part,
      void *argument)
{
	uint64_t number = (atomic_load(&helpers->next) >> 32) + 1;

	atomic_store(&helpers->next, number << 32 | UINT32_MAX);
	atomic_store(&helpers->done, 0);
	atomic_store(&helpers->count, count);
	atomic_store(&helpers->grain, grain);
	atomic_store(&helpers->part, part);
	atomic_store(&helpers->argument, argument);
	atomic_store(&helpers->next, (number + 1) << 32);
	if (atomic_load(&helpers->sleepers) == 0)
		return;
	pthread_mutex_lock(&helpers->mutex);
	pthread_cond_broadcast(&helpers->wake);
	pthread_mutex_unlock(&helpers->mutex);
}

/* Until the pieces are done that others have taken. */
static void
await_end(CpuHelpers *helpers, uint32_t count)
{
	for (int i = 0; i < LOOKS_AT_END; i++)
	{
		if (atomic_load(&helpers->done) == count)
			return;
		relax();
	}
	pthread_mutex_lock(&helpers->mutex);
	atomic_store(&helpers->is_awaited, true);
	while (atomic_load(&helpers->done) != count)
		pthread_cond_wait(&helpers->end, &helpers->mutex);
	atomic_store(&helpers->is_awaited, false);
	pthread_mutex_unlock(&helpers->mutex);
}

void
cpu_share(Device *device, int64_t count, int64_t grain, CpuPart part,
          void *argument)
{
	CpuHelpers *helpers = ((CpuDevice *) device)->helpers;

	if (count <= grain || cpu_threads(device) == 1)
	{
		part(argument, 0, count);
		return;
	}
	if (helpers->threads == 0)
		start_helpers(helpers);
	offer(helpers, (uint32_t) count, (uint32_t) grain, part, argument);
	while (do_piece(helpers))
		;
	await_end(helpers, (uint32_t) count);
}
