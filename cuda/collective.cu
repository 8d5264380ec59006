/*
 * collective.cu
 *		Ranks that add up by NCCL.
 *
 * The library is loaded where a job has several GPUs, and needed nowhere else.
 * Its declarations stand here, as nccl.h of version 2 has them.  With one
 * algorithm and one protocol, the ring and "simple", the order of a sum
 * depends on the ranks alone.
 */
#include "cuda/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIBRARY "libnccl.so.2"

/* How often one that waits asks whether it should go on. */
#define CHECK_INTERVAL_MS 50
#define WAIT_US 20

/* Of nccl.h: results, types and operations are enumerations of int size. */
#define NCCL_SUCCESS 0
#define NCCL_IN_PROGRESS 7
#define NCCL_UINT8 1
#define NCCL_FLOAT32 7
#define NCCL_SUM 0

typedef struct NcclId
{
	char internal[COLLECTIVE_ID_SIZE];
} NcclId;

typedef struct ncclComm *NcclComm;

typedef struct Nccl
{
	int (*get_unique_id)(NcclId *id);
	int (*comm_init_rank)(NcclComm *comm, int ranks, NcclId id, int rank);
	int (*comm_abort)(NcclComm comm);
	int (*comm_get_async_error)(NcclComm comm, int *error);
	int (*all_reduce)(const void *from, void *to, size_t count, int type,
	                  int operation, NcclComm comm, cudaStream_t stream);
	int (*broadcast)(const void *from, void *to, size_t count, int type,
	                 int root, NcclComm comm, cudaStream_t stream);
	const char *(*get_error_string)(int result);
} Nccl;

typedef struct NcclCollective
{
	Collective collective; /* first */
	NcclComm comm;         /* NULL: aborted */
	float *token;          /* device: what a barrier adds up */
} NcclCollective;

static Nccl nccl;

/* ------------------------------------------------------------- the library */

static bool
find(void *library, const char *name, void *function, Failure *failure)
{
	void *symbol = dlsym(library, name);

	memcpy(function, &symbol, sizeof(symbol));
	return symbol != NULL ||
	       fail(failure, FAILURE_DEVICE, "%s has no %s", LIBRARY, name);
}

static bool
load(Failure *failure)
{
	void *library;

	if (nccl.get_unique_id != NULL)
		return true;
	/* Before its first call: the order of sums, and no connection that is
	 * made only when it is used, behind the sandbox. */
	setenv("NCCL_ALGO", "Ring", 1);
	setenv("NCCL_PROTO", "Simple", 1);
	setenv("NCCL_RUNTIME_CONNECT", "0", 1);
	setenv("NCCL_NVLS_ENABLE", "0", 1);
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		return fail(failure, FAILURE_NOT_FOUND, "%s", dlerror());
	return find(library, "ncclCommInitRank", &nccl.comm_init_rank, failure) &&
	       find(library, "ncclCommAbort", &nccl.comm_abort, failure) &&
	       find(library, "ncclCommGetAsyncError", &nccl.comm_get_async_error,
	            failure) &&
	       find(library, "ncclAllReduce", &nccl.all_reduce, failure) &&
	       find(library, "ncclBroadcast", &nccl.broadcast, failure) &&
	       find(library, "ncclGetErrorString", &nccl.get_error_string,
	            failure) &&
	       find(library, "ncclGetUniqueId", &nccl.get_unique_id, failure);
}

static bool
fail_nccl(const char *what, int result, Failure *failure)
{
	return fail(failure, FAILURE_DEVICE, "NCCL could not %s: %s", what,
	            nccl.get_error_string(result));
}

/* ------------------------------------------------------------------ waiting */

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False when a rank is lost, or the job is to stop. */
static bool
is_well(NcclCollective *self, Failure *failure)
{
	const Collective *collective = &self->collective;
	int error = NCCL_SUCCESS;
	int result = nccl.comm_get_async_error(self->comm, &error);

	if (result == NCCL_SUCCESS && error != NCCL_IN_PROGRESS)
		result = error;
	if (result != NCCL_SUCCESS)
		return fail_nccl("reach the other ranks", result, failure);
	return collective->check == NULL ||
	       collective->check(collective->argument, failure);
}

/* Waits for the stream; a kernel that waits for a lost rank would never end,
 * and is aborted. */
static bool
wait_for_all(NcclCollective *self, Failure *failure)
{
	Device *device = self->collective.device;
	int64_t asked_ms = now_ms();
	cudaError_t state;

	while ((state = cudaStreamQuery(cuda_of(device)->stream)) ==
	       cudaErrorNotReady)
	{
		usleep(WAIT_US);
		if (now_ms() - asked_ms < CHECK_INTERVAL_MS)
			continue;
		asked_ms = now_ms();
		if (is_well(self, failure))
			continue;
		nccl.comm_abort(self->comm);
		self->comm = NULL;
		return false;
	}
	cuda_check(device, state, "adding up with other ranks");
	return device->sync(device, failure);
}

/* The result of asking NCCL for something, then that thing. */
static bool
finish(NcclCollective *self, const char *what, int result, Failure *failure)
{
	if (result != NCCL_SUCCESS)
		return fail_nccl(what, result, failure);
	return wait_for_all(self, failure);
}

/* Nothing is added to what a lost device has left. */
static bool
begin(NcclCollective *self, Failure *failure)
{
	Device *device = self->collective.device;

	if (self->comm == NULL)
		return fail(failure, FAILURE_DEVICE, "the ranks have parted");
	return device->sync(device, failure);
}

/* --------------------------------------------------------------- operations */

static bool
nccl_all_reduce(Collective *collective, float *data, int64_t count,
                Failure *failure)
{
	NcclCollective *self = (NcclCollective *) collective;

	cuda_wrote_bytes(collective->device, data, (size_t) count * sizeof(float));
	return begin(self, failure) &&
	       finish(self, "add up",
	              nccl.all_reduce(data, data, (size_t) count, NCCL_FLOAT32,
	                              NCCL_SUM, self->comm,
	                              cuda_of(collective->device)->stream),
	              failure);
}

static bool
nccl_broadcast(Collective *collective, void *data, size_t bytes,
               Failure *failure)
{
	NcclCollective *self = (NcclCollective *) collective;

	cuda_wrote_bytes(collective->device, data, bytes);
	return begin(self, failure) &&
	       finish(self, "copy to all",
	              nccl.broadcast(data, data, bytes, NCCL_UINT8, 0, self->comm,
	                             cuda_of(collective->device)->stream),
	              failure);
}

static bool
nccl_barrier(Collective *collective, Failure *failure)
{
	NcclCollective *self = (NcclCollective *) collective;

	return nccl_all_reduce(collective, self->token, 1, failure);
}

/* Aborts: an orderly end would wait for ranks that may be gone. */
static void
nccl_close(Collective *collective)
{
	NcclCollective *self = (NcclCollective *) collective;

	if (self->comm != NULL)
		nccl.comm_abort(self->comm);
	cuda_free(collective->device, self->token);
	free(self);
}

bool
cuda_make_id(uint8_t id[COLLECTIVE_ID_SIZE], Failure *failure)
{
	NcclId unique;
	int result;

	if (!load(failure))
		return false;
	result = nccl.get_unique_id(&unique);
	if (result != NCCL_SUCCESS)
		return fail_nccl("start", result, failure);
	memcpy(id, &unique, COLLECTIVE_ID_SIZE);
	return true;
}

bool
cuda_join(Device *device, const uint8_t id[COLLECTIVE_ID_SIZE], int rank,
          int ranks, Collective **collective, Failure *failure)
{
	NcclCollective *self;
	NcclId unique;
	int result;

	if (!load(failure))
		return false;
	self = (NcclCollective *) calloc(1, sizeof(NcclCollective));
	if (self == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for a collective");
	self->collective.name = "nccl";
	self->collective.rank = rank;
	self->collective.ranks = ranks;
	self->collective.device = device;
	self->collective.all_reduce = nccl_all_reduce;
	self->collective.broadcast = nccl_broadcast;
	self->collective.barrier = nccl_barrier;
	self->collective.close = nccl_close;
	self->token = (float *) cuda_alloc(device, sizeof(float));
	memcpy(&unique, id, COLLECTIVE_ID_SIZE);
	result = nccl.comm_init_rank(&self->comm, ranks, unique, rank);
	*collective = &self->collective;
	/* The first sum makes what is made at first use. */
	if (result == NCCL_SUCCESS && nccl_barrier(&self->collective, failure))
		return true;
	if (result != NCCL_SUCCESS)
		fail_nccl("join the ranks", result, failure);
	nccl_close(&self->collective);
	return false;
}
