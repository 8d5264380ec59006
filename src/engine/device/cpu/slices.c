/*
 * slices.c
 *		Parts of a pass side by side, a thread each, and their turns at the
 *		gradients that they share.
 *
 * Threads that divide every product wait for each other at the end of every
 * one, and on a busy machine for whoever has lost its core.  Slices meet only
 * where they begin and end, and a slice that is behind another in turn is so by
 * one product, which both do anyway.
 */
#include "device/cpu/cpu.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* So often a thread looks again before it sleeps: some microseconds. */
#define LOOKS 1000

/* How many turns a slice has ended, on a cache line of its own. */
typedef struct Ended
{
	_Alignas(64) atomic_int turns;
} Ended;

struct CpuTurns
{
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	Ended *ended; /* [slices] */
};

/* The slice that this thread is in. */
static _Thread_local struct
{
	bool is_slice;
	int number;
	int turns; /* that it has begun */
} here;

CpuTurns *
cpu_turns_open(int slices)
{
	CpuTurns *turns = malloc(sizeof(CpuTurns));
	Ended *ended =
		aligned_alloc(sizeof(Ended), (size_t) slices * sizeof(Ended));

	if (turns == NULL || ended == NULL)
	{
		free(turns);
		free(ended);
		return NULL;
	}
	*turns = (CpuTurns){.ended = ended};
	pthread_mutex_init(&turns->mutex, NULL);
	pthread_cond_init(&turns->changed, NULL);
	return turns;
}

void
cpu_turns_close(CpuTurns *turns)
{
	pthread_cond_destroy(&turns->changed);
	pthread_mutex_destroy(&turns->mutex);
	free(turns->ended);
	free(turns);
}

int
cpu_threads(const Device *device)
{
	return here.is_slice ? 1 : device->threads;
}

/* Looks whether the slice has ended more turns than so many. */
static bool
has_ended(const CpuTurns *turns, int slice, int count)
{
	return atomic_load_explicit(&turns->ended[slice].turns,
	                            memory_order_acquire) > count;
}

void
cpu_turn_begin(Device *device)
{
	CpuTurns *turns = ((CpuDevice *) device)->turns;
	int turn;

	if (!here.is_slice)
		return;
	turn = here.turns++;
	if (here.number == 0)
		return;
	for (int i = 0; i < LOOKS; i++)
		if (has_ended(turns, here.number - 1, turn))
			return;
	pthread_mutex_lock(&turns->mutex);
	while (!has_ended(turns, here.number - 1, turn))
		pthread_cond_wait(&turns->changed, &turns->mutex);
	pthread_mutex_unlock(&turns->mutex);
}

void
cpu_turn_end(Device *device)
{
	CpuTurns *turns = ((CpuDevice *) device)->turns;

	if (!here.is_slice)
		return;
	pthread_mutex_lock(&turns->mutex);
	atomic_store_explicit(&turns->ended[here.number].turns, here.turns,
	                      memory_order_release);
	pthread_cond_broadcast(&turns->changed);
	pthread_mutex_unlock(&turns->mutex);
}

void
cpu_run_slices(Device *device, int count,
               void (*work)(void *argument, int slice), void *argument)
{
	CpuTurns *turns = ((CpuDevice *) device)->turns;

	if (count == 1)
	{
		work(argument, 0);
		return;
	}
	for (int i = 0; i < count; i++)
		atomic_init(&turns->ended[i].turns, 0);
		/* Should there be fewer threads, each takes its slices in their order. */
#pragma omp parallel num_threads(count)
	for (int i = omp_get_thread_num(); i < count; i += omp_get_num_threads())
	{
		here.is_slice = true;
		here.number = i;
		here.turns = 0;
		work(argument, i);
		here.is_slice = false;
	}
}
