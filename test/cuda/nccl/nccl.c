/*
 * nccl.c
 *		NCCL in software, for tests: what cuda/collective.cu calls of it, as the
 *		library of that name.
 *
 * Ranks are processes that map one file, which the id names.  A call only
 * puts its work on the stream; what the stream has done is found out when it
 * is asked (shim_keep_busy).  Sums are made in the order of ranks.
 *
 * ALOL_NCCL_FAIL_CALL is the number of the call that fails, from 1, of a
 * process; one that was forked counts anew.
 */
#include "shim.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANKS_MAX 8
#define SLOT_BYTES ((size_t) 256 << 10)

/* As nccl.h numbers them. */
#define SUCCESS 0
#define SYSTEM_ERROR 2
#define INVALID_ARGUMENT 4
#define REMOTE_ERROR 6
#define UINT8 1
#define FLOAT32 7
#define SUM 0

typedef struct Id
{
	char path[128];
} Id;

/* What the ranks share. */
typedef struct Ring
{
	atomic_int joined;
	atomic_int aborted;           /* ranks that are */
	atomic_int posted[RANKS_MAX]; /* operations that a rank has given for */
	atomic_int read[RANKS_MAX];   /* and those whose result it has */
	unsigned char slot[RANKS_MAX][SLOT_BYTES];
} Ring;

typedef struct Comm
{
	Ring *ring;
	int rank;
	int ranks;
	int operations;
	/* The one that is on the stream. */
	const void *from;
	void *to;
	size_t bytes;
	bool is_sum;
	int root;
} Comm;

/* What the call is to answer. */
static int
count_call(void)
{
	static pid_t process;
	static int calls;
	const char *fail = getenv("ALOL_NCCL_FAIL_CALL");

	if (process != getpid())
		calls = 0;
	process = getpid();
	return ++calls == (fail == NULL ? 0 : atoi(fail)) ? SYSTEM_ERROR : SUCCESS;
}

int
ncclGetUniqueId(Id *id)
{
	int result = count_call();
	int file;

	memset(id, 0, sizeof(*id));
	snprintf(id->path, sizeof(id->path), "%s/alol-ring-XXXXXX",
	         getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR"));
	if (result != SUCCESS)
		return result;
	file = mkstemp(id->path);
	if (file < 0 || ftruncate(file, sizeof(Ring)) != 0)
		return SYSTEM_ERROR;
	close(file);
	return SUCCESS;
}

/* Waits for all, and forgets the file when all have it. */
int
ncclCommInitRank(Comm **comm, int ranks, Id id, int rank)
{
	int result = count_call();
	int file = open(id.path, O_RDWR | O_CLOEXEC);
	Comm *made = calloc(1, sizeof(*made));

	*comm = NULL;
	if (file < 0 || made == NULL || ranks > RANKS_MAX || rank >= ranks)
		return INVALID_ARGUMENT;
	made->ring =
		mmap(NULL, sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (made->ring == MAP_FAILED)
		return SYSTEM_ERROR;
	made->rank = rank;
	made->ranks = ranks;
	if (result != SUCCESS)
	{
		made->ring->aborted++;
		munmap(made->ring, sizeof(Ring));
		free(made);
		return result;
	}
	made->ring->joined++;
	while (made->ring->joined < ranks && made->ring->aborted == 0)
		usleep(100);
	unlink(id.path);
	*comm = made;
	return made->ring->aborted == 0 ? SUCCESS : REMOTE_ERROR;
}

int
ncclCommAbort(Comm *comm)
{
	int result = count_call();

	shim_keep_busy(NULL, NULL);
	comm->ring->aborted++;
	munmap(comm->ring, sizeof(Ring));
	free(comm);
	return result;
}

int
ncclCommGetAsyncError(Comm *comm, int *error)
{
	*error = comm->ring->aborted > 0 ? REMOTE_ERROR : SUCCESS;
	return SUCCESS;
}

static bool
have_all(const Comm *comm, const atomic_int *counts, int operation)
{
	for (int i = 0; i < comm->ranks; i++)
		if (counts[i] < operation)
			return false;
	return true;
}

static void
take_result(Comm *comm)
{
	float *sums = comm->to;

	if (!comm->is_sum)
		memcpy(comm->to, comm->ring->slot[comm->root], comm->bytes);
	for (size_t i = 0; comm->is_sum && i < comm->bytes / sizeof(float); i++)
	{
		sums[i] = 0;
		for (int r = 0; r < comm->ranks; r++)
			sums[i] += ((const float *) (void *) comm->ring->slot[r])[i];
	}
}

/* Goes on with the operation as far as the others let it; it is for ever
 * where one of them has left. */
static bool
is_busy(void *of)
{
	Comm *comm = of;
	Ring *ring = comm->ring;

	if (ring->posted[comm->rank] < comm->operations)
	{
		if (!have_all(comm, ring->read, comm->operations - 1))
			return true;
		shim_open_memory();
		memcpy(ring->slot[comm->rank], comm->from, comm->bytes);
		shim_close_memory();
		ring->posted[comm->rank] = comm->operations;
	}
	if (!have_all(comm, ring->posted, comm->operations))
		return true;
	shim_open_memory();
	take_result(comm);
	shim_close_memory();
	ring->read[comm->rank] = comm->operations;
	return false;
}

static int
begin(Comm *comm, const void *from, void *to, size_t bytes, bool is_sum,
      int root)
{
	int result = count_call();

	if (result != SUCCESS || bytes > SLOT_BYTES)
		return result != SUCCESS ? result : INVALID_ARGUMENT;
	comm->operations++;
	comm->from = from;
	comm->to = to;
	comm->bytes = bytes;
	comm->is_sum = is_sum;
	comm->root = root;
	shim_keep_busy(is_busy, comm);
	return SUCCESS;
}

int
ncclAllReduce(const void *from, void *to, size_t count, int type, int operation,
              Comm *comm, void *stream)
{
	(void) stream;
	if (type != FLOAT32 || operation != SUM)
		return INVALID_ARGUMENT;
	return begin(comm, from, to, count * sizeof(float), true, 0);
}

int
ncclBroadcast(const void *from, void *to, size_t count, int type, int root,
              Comm *comm, void *stream)
{
	(void) stream;
	if (type != UINT8)
		return INVALID_ARGUMENT;
	return begin(comm, from, to, count, false, root);
}

const char *
ncclGetErrorString(int result)
{
	switch (result)
	{
		case SUCCESS:
			return "no error";
		case SYSTEM_ERROR:
			return "unhandled system error";
		case REMOTE_ERROR:
			return "remote process exited or there was a network error";
		default:
			return "invalid argument";
	}
}
