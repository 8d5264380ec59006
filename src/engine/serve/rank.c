/*
 * rank.c
 *		A rank other than 0: a process that follows the orders of rank 0.
 *
 * What fails here is told to rank 0 in place of what it waits for, and is the
 * end: the job goes on from its checkpoint, with new ranks.
 */
#include "serve/rank.h"

#include "base/poll.h"
#include "device/probe.h"
#include "formats/json.h"
#include "serve/job.h"
#include "serve/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct Rank
{
	Channel channel;
	Collective *collective;
	Serve serve; /* a device and a job, and nobody to talk to */
} Rank;

static void
die(Rank *rank, const Failure *failure)
{
	Failure ignored;

	(void) channel_send(&rank->channel, CHANNEL_FAILURE, failure,
	                    sizeof(Failure), &ignored);
	fprintf(stderr, "%s\n", failure->message);
	fflush(NULL);
	_exit(1);
}

/* What poll_check() asks: without rank 0 nothing is worth doing. */
static bool
check_socket(void *argument, Failure *failure)
{
	Rank *rank = argument;
	char byte;

	(void) failure;
	if (recv(rank->channel.socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
		_exit(0);
	return true;
}

static bool
join(Rank *rank, const RankStart *start, const DeviceModule *module,
     Failure *failure)
{
	Device *device = rank->serve.device;
	bool done = start->has_id
	                ? module->join(device, start->id, start->rank, start->ranks,
	                               &rank->collective, failure)
	                : collective_open_sockets(device, start->rank, start->ranks,
	                                          &rank->channel, &rank->collective,
	                                          failure);

	if (!done)
		return fail_while(failure, "joining the other ranks");
	rank->collective->check = check_socket;
	rank->collective->argument = rank;
	return true;
}

static bool
begin(Rank *rank, Failure *failure)
{
	const DeviceModule *module = NULL;
	RankStart start;

	if (!channel_receive(&rank->channel, RANK_START, &start, sizeof(start),
	                     failure))
		_exit(0);
	if (start.parent != (int32_t) getppid())
		_exit(0);
	memory_limit_set(start.memory_limit);
	return (start.is_gpu ? device_open_gpu(start.number, &module,
	                                       &rank->serve.device, failure)
	                     : cpu_device_open(start.threads, &rank->serve.device,
	                                       failure)) &&
	       channel_send(&rank->channel, RANK_READY, NULL, 0, failure) &&
	       join(rank, &start, module, failure) && (sandbox_enter(), true) &&
	       channel_send(&rank->channel, RANK_JOINED, NULL, 0, failure);
}

/* The head of the job's WIRE_JOB_OPEN. */
static bool
open_job(Rank *rank, Arena *arena, const char *text, size_t size,
         Failure *failure)
{
	Request request = {.serve = &rank->serve, .arena = arena};
	int32_t budget;

	if (!json_open_text(arena, text, size, "a job", &request.head, failure) ||
	    !job_open_policy(&request, failure))
		return false;
	budget = model_token_budget(rank->serve.job->model, true);
	model_limit_passes(rank->serve.job->model,
	                   model_pass_room(rank->serve.job->model));
	return model_reserve_budget(rank->serve.job->model, budget, failure) &&
	       channel_send(&rank->channel, TEAM_OPENED, &budget, sizeof(budget),
	                    failure);
}

static bool
follow(Rank *rank, Arena *arena, Failure *failure)
{
	const Job *job = rank->serve.job;
	uint32_t order;
	void *data;
	size_t size;

	if (!channel_receive_any(&rank->channel, arena, &order, &data, &size,
	                         failure))
		return false;
	if (order == TEAM_OPEN)
		return open_job(rank, arena, data, size, failure);
	if (job == NULL)
		return fail(failure, FAILURE_INTERNAL, "an order without a job");
	return team_follow(&rank->channel, rank->collective, job->model,
	                   &job->options, order, data, size, failure);
}

void
rank_run(int socket)
{
	static Rank rank;
	Failure failure = {0};

	rank.channel.socket = socket;
	if (!begin(&rank, &failure))
		die(&rank, &failure);
	poll_install(check_socket, &rank);
	for (;;)
	{
		Arena *arena = arena_create();
		bool done = follow(&rank, arena, &failure);

		if (!done && rank.channel.is_closed)
			_exit(0);
		if (!done)
			die(&rank, &failure);
		arena_destroy(arena);
	}
}
