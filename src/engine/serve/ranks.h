/*
 * ranks.h
 *		The other ranks of this process, which is rank 0.
 *
 * Order of life, all of it before the sandbox but for the end: ranks_start()
 * forks them, ranks_join() waits until each has its device and they know each
 * other.  They die with this process.
 */
#pragma once

#include "serve/choose.h"
#include "train/team.h"

typedef struct Ranks Ranks;

/*
 * Starts a rank for each device of the choice but the first.  module: of GPUs,
 * else NULL.  threads and memory_limit: of each; the limit 0 for none.
 */
extern bool ranks_start(const DeviceChoice *choice, const DeviceModule *module,
                        int threads, uint64_t memory_limit, Ranks **ranks,
                        Failure *failure);

/* device: of this process. */
extern bool ranks_join(Ranks *ranks, Device *device, Failure *failure);

extern Team *ranks_team(Ranks *ranks);

/* Closes their sockets, upon which they end, and waits for that a second at
 * most.  Whatever is asked of them later fails. */
extern void ranks_end(Ranks *ranks);
