/*
 * collective.h
 *		What the ranks of one job do together: sums and copies of arrays that
 *		lie on their devices.
 *
 * Each rank is a process with a device of its own.  All ranks call the same
 * functions with the same counts in the same order.  Three bodies: of one
 * rank, of sockets (collective_socket.c), and what a device module brings
 * (NCCL).  Whoever reaches over to other hosts adds a fourth.
 */
#pragma once

#include "device/device.h"

#include <stddef.h>

/* Bytes of what one rank makes for all to find each other by. */
#define COLLECTIVE_ID_SIZE 128

/* As many as there may be devices of one kind. */
#define COLLECTIVE_RANKS_MAX 64

typedef struct Collective Collective;

struct Collective
{
	const char *name; /* "one rank", "sockets", "nccl": sums depend on it */
	int rank;         /* 0 .. ranks - 1 */
	int ranks;
	Device *device; /* of this rank */

	/* Asked at least ten times a second by what waits for other ranks, which
	 * gives up when it says false: one of them is dead, or the job is to stop.
	 * NULL: nothing to ask. */
	bool (*check)(void *argument, Failure *failure);
	void *argument;

	/*
	 * data[count], fp32 in the device's memory, becomes the sum over all
	 * ranks: the same bits on each, and the same again when the same ranks
	 * add the same numbers.  Back when data may be read by operations that
	 * are asked for later; waits for what was asked before.
	 */
	bool (*all_reduce)(Collective *collective, float *data, int64_t count,
	                   Failure *failure);
	/* data[bytes] in the device's memory becomes that of rank 0. */
	bool (*broadcast)(Collective *collective, void *data, size_t bytes,
	                  Failure *failure);
	/* Back when every rank has called it. */
	bool (*barrier)(Collective *collective, Failure *failure);
	void (*close)(Collective *collective);
};

typedef struct Channel Channel;

/*
 * Ranks that have a socket to rank 0, through which all goes: rank 0 adds in
 * the order of ranks.  channel: of rank 0 one to each rank, that to itself
 * unused; of another one to rank 0.  They must stay; nothing else is on its
 * way through them when a function is called.
 */
extern bool collective_open_sockets(Device *device, int rank, int ranks,
                                    Channel *channel, Collective **collective,
                                    Failure *failure);

/* One rank, which is alone. */
extern bool collective_open_single(Device *device, Collective **collective,
                                   Failure *failure);
