/*
 * collective.c
 *		One rank, which is alone: sums are what they are.
 */
#include "device/collective.h"

#include <stdlib.h>

static bool
single_all_reduce(Collective *collective, float *data, int64_t count,
                  Failure *failure)
{
	(void) data;
	(void) count;
	return collective->device->sync(collective->device, failure);
}

static bool
single_broadcast(Collective *collective, void *data, size_t bytes,
                 Failure *failure)
{
	(void) data;
	(void) bytes;
	return collective->device->sync(collective->device, failure);
}

static bool
single_barrier(Collective *collective, Failure *failure)
{
	return collective->device->sync(collective->device, failure);
}

static void
single_close(Collective *collective)
{
	free(collective);
}

bool
collective_open_single(Device *device, Collective **collective,
                       Failure *failure)
{
	Collective *single = calloc(1, sizeof(Collective));

	if (single == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for a collective");
	*single = (Collective){.name = "one rank",
	                       .ranks = 1,
	                       .device = device,
	                       .all_reduce = single_all_reduce,
	                       .broadcast = single_broadcast,
	                       .barrier = single_barrier,
	                       .close = single_close};
	*collective = single;
	return true;
}
