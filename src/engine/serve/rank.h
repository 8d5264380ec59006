/*
 * rank.h
 *		A rank other than 0: a process that follows the orders of rank 0.
 *
 * It is the engine's program, started by the engine with --rank and a socket
 * as descriptor 3.  Rank 0 says first what it is (RankStart); it opens its
 * device, joins the others, enters the sandbox and then opens models and
 * computes its share of steps until the socket is closed.
 */
#pragma once

#include "device/collective.h"
#include "train/team.h"

/* Before any TeamOrder, each once. */
typedef enum RankMessage
{
	RANK_START = 1000, /* RankStart, to it */
	RANK_READY,        /* nothing, from it: the device is open */
	RANK_JOINED        /* nothing, from it: it can follow orders */
} RankMessage;

typedef struct RankStart
{
	int32_t rank;
	int32_t ranks;
	int32_t parent; /* pid of rank 0 */
	int32_t threads;
	uint64_t memory_limit;
	bool is_gpu;
	bool has_id; /* they join by the module, else by sockets */
	int32_t number;
	uint8_t id[COLLECTIVE_ID_SIZE];
} RankStart;

/* Serves rank 0 until that closes the socket; never returns. */
extern void rank_run(int socket) __attribute__((noreturn));
