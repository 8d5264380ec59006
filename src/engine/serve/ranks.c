/*
 * ranks.c
 *		The other ranks of this process, which is rank 0.
 */
#include "serve/ranks.h"

#include "base/poll.h"
#include "serve/rank.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SOCKET 3

/* How long one that ends may take. */
#define END_WAIT_MS 1000

/* Of its last words, so many bytes are kept. */
#define WORDS_SIZE 800

extern char **environ;

/* A rank, as rank 0 knows it. */
typedef struct Member
{
	pid_t pid; /* 0: it has been waited for */
	int status;
	int words; /* what it writes to its standard error */
	char device[48];
} Member;

struct Ranks
{
	Team team;
	const DeviceModule *module;
	bool has_id;
	uint8_t id[COLLECTIVE_ID_SIZE];
	Channel channel[COLLECTIVE_RANKS_MAX];
	Member member[COLLECTIVE_RANKS_MAX];
};

/* ----------------------------------------------------------- how they end */

/* True when it has ended; waits for that a while. */
static bool
wait_for_end(Member *member, int wait_ms)
{
	for (int waited_ms = 0; member->pid != 0; waited_ms++)
	{
		pid_t gone = waitpid(member->pid, &member->status, WNOHANG);

		if (gone != 0)
			member->pid = 0;
		else if (waited_ms >= wait_ms)
			return false;
		else
			usleep(1000);
	}
	return true;
}

/* The end of what it wrote. */
static void
last_words(const Member *member, char *words)
{
	char part[WORDS_SIZE];
	size_t kept = 0;
	ssize_t got;

	words[0] = '\0';
	while ((got = read(member->words, part, sizeof(part))) > 0)
	{
		size_t length = (size_t) got;
		size_t old = kept < WORDS_SIZE - length ? kept : WORDS_SIZE - length;

		memmove(words, words + kept - old, old);
		memcpy(words + old, part, length);
		kept = old + length;
		words[kept] = '\0';
	}
	while (kept > 0 && (unsigned char) words[kept - 1] <= ' ')
		words[--kept] = '\0';
}

/* explain() of a Team. */
static void
explain(void *argument, int rank, Failure *failure)
{
	Ranks *ranks = argument;
	Member *member = &ranks->member[rank];
	char words[WORDS_SIZE + 1];

	if (!wait_for_end(member, END_WAIT_MS))
		fail(failure, FAILURE_DEVICE, "rank %d (%s) does not answer any more",
		     rank, member->device);
	else if (WIFSIGNALED(member->status))
		fail(failure, FAILURE_DEVICE, "rank %d (%s) exited on signal %d", rank,
		     member->device, WTERMSIG(member->status));
	else
		fail(failure, FAILURE_DEVICE, "rank %d (%s) exited with status %d",
		     rank, member->device, WEXITSTATUS(member->status));
	last_words(member, words);
	fail_detail(failure, "%s", words);
}

void
ranks_end(Ranks *ranks)
{
	for (int rank = 1; rank < ranks->team.ranks; rank++)
	{
		if (ranks->channel[rank].socket >= 0)
			close(ranks->channel[rank].socket);
		ranks->channel[rank].socket = -1;
	}
	for (int rank = 1; rank < ranks->team.ranks; rank++)
		(void) wait_for_end(&ranks->member[rank], END_WAIT_MS);
}

/* --------------------------------------------------------------- the start */

/* Between fork and exec; does not return. */
static void
become_rank(const char *path, int socket, int words)
{
	char *const arguments[] = {"alol-engine", "--rank", NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* First out of the way of where they go. */
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 16);
	words = fcntl(words, F_DUPFD_CLOEXEC, 16);
	if (dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(words, 2) == 2 &&
	    dup2(socket, CHILD_SOCKET) == CHILD_SOCKET)
	{
		/* What this process has of its parent's must not be theirs. */
		(void) syscall(SYS_close_range, CHILD_SOCKET + 1, ~0U, 0U);
		execve(path, arguments, environ);
	}
	_exit(127);
}

static bool
start_one(Ranks *ranks, int rank, const char *path, Failure *failure)
{
	Member *member = &ranks->member[rank];
	int sockets[2], words[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
		return fail_errno(failure, "cannot make a socket for rank %d", rank);
	/* A rank that says too much must not wait for us to read it. */
	if (pipe2(words, O_CLOEXEC | O_NONBLOCK) != 0)
		return fail_errno(failure, "cannot make a pipe for rank %d", rank);
	member->pid = fork();
	if (member->pid == 0)
		become_rank(path, sockets[1], words[1]);
	close(sockets[1]);
	close(words[1]);
	member->words = words[0];
	ranks->channel[rank].socket = sockets[0];
	if (member->pid > 0)
		return true;
	member->pid = 0;
	return fail_errno(failure, "cannot start rank %d", rank);
}

/* check of channels: the job may be cancelled while one waits. */
static bool
check_job(void *argument, Failure *failure)
{
	(void) argument;
	return poll_check(failure);
}

/* check of the collective, which may wait without its sockets. */
static bool
check_all(void *argument, Failure *failure)
{
	Ranks *ranks = argument;

	for (int rank = 1; rank < ranks->team.ranks; rank++)
		if (!channel_is_well(&ranks->channel[rank], failure))
			return false;
	return poll_check(failure);
}

static void
name_member(Ranks *ranks, int rank, const DeviceChoice *choice)
{
	Member *member = &ranks->member[rank];

	snprintf(member->device, sizeof(member->device), "%s:%d",
	         choice->is_gpu ? ranks->module->kind : "cpu",
	         choice->is_gpu ? choice->number[rank] : rank);
}

static bool
send_start(Ranks *ranks, int rank, const DeviceChoice *choice, int threads,
           uint64_t memory_limit, Failure *failure)
{
	RankStart start = {.rank = rank,
	                   .ranks = choice->count,
	                   .parent = (int32_t) getpid(),
	                   .threads = threads,
	                   .memory_limit = memory_limit,
	                   .is_gpu = choice->is_gpu,
	                   .has_id = ranks->has_id,
	                   .number = choice->is_gpu ? choice->number[rank] : 0};

	memcpy(start.id, ranks->id, sizeof(start.id));
	return channel_send(&ranks->channel[rank], RANK_START, &start,
	                    sizeof(start), failure);
}

/* By which the ranks find each other, where their module has a way. */
static bool
make_id(Ranks *ranks, Failure *failure)
{
	const DeviceModule *module = ranks->module;

	if (module == NULL || module->make_id == NULL)
		return true;
	ranks->has_id = module->make_id(ranks->id, failure);
	return ranks->has_id || failure->code == FAILURE_NOT_FOUND;
}

bool
ranks_start(const DeviceChoice *choice, const DeviceModule *module, int threads,
            uint64_t memory_limit, Ranks **ranks, Failure *failure)
{
	Ranks *self = calloc(1, sizeof(Ranks));
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (self == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for ranks");
	*ranks = self;
	if (length <= 0)
		return fail_errno(failure, "cannot find this program");
	path[length] = '\0';
	self->module = module;
	self->team = (Team){.ranks = choice->count,
	                    .channel = self->channel,
	                    .explain = explain,
	                    .argument = self};
	for (int rank = 1; rank < choice->count; rank++)
	{
		name_member(self, rank, choice);
		self->channel[rank] =
			(Channel){.socket = -1, .check = check_job, .argument = self};
		if (!start_one(self, rank, path, failure))
			return false;
	}
	if (!make_id(self, failure))
		return false;
	for (int rank = 1; rank < choice->count; rank++)
		if (!send_start(self, rank, choice, threads, memory_limit, failure))
			return false;
	return true;
}

static bool
await_all(Ranks *ranks, RankMessage message, Failure *failure)
{
	for (int rank = 1; rank < ranks->team.ranks; rank++)
	{
		if (channel_receive(&ranks->channel[rank], message, NULL, 0, failure))
			continue;
		if (ranks->channel[rank].is_closed)
			explain(ranks, rank, failure);
		return fail_while(failure, "starting rank %d (%s)", rank,
		                  ranks->member[rank].device);
	}
	return true;
}

bool
ranks_join(Ranks *ranks, Device *device, Failure *failure)
{
	Team *team = &ranks->team;
	bool done;

	if (!await_all(ranks, RANK_READY, failure))
		return false;
	done = ranks->has_id
	           ? ranks->module->join(device, ranks->id, 0, team->ranks,
	                                 &team->collective, failure)
	           : collective_open_sockets(device, 0, team->ranks, team->channel,
	                                     &team->collective, failure);
	if (!done)
		return fail_while(failure, "joining the other ranks");
	team->collective->check = check_all;
	team->collective->argument = ranks;
	return await_all(ranks, RANK_JOINED, failure);
}

Team *
ranks_team(Ranks *ranks)
{
	return &ranks->team;
}
