/*
 * runtime.c
 *		The calls of the CUDA runtime: devices, memory, copies, launches, and
 *		failing when told to.
 */
#include "cuda_runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(at, bytes)
#define __asan_unpoison_memory_region(at, bytes)
#endif

#define MAX_DEVICES 8
#define MAX_KERNELS 512

/* Limits of the grid on every GPU. */
#define MAX_BLOCKS_YZ 65535

/* A piece of device memory; they form a list. */
typedef struct Piece
{
	struct Piece *next;
	unsigned char *data;
	size_t bytes;
	int device;
} Piece;

struct CUstream_st
{
	int device;
};

static struct
{
	bool is_ready;
	int devices;
	int driver;
	size_t memory;
	uint64_t seed;
	uint64_t draws;
	int fail_call; /* 0: none */
	int calls;
	int device;        /* that calls are for */
	cudaError_t error; /* of all calls from now on */
	char fault[1024];
	size_t in_use[MAX_DEVICES];
	Piece *pieces;
	/* Kernels that may use more shared memory than others. */
	const void *kernels[MAX_KERNELS];
	int kernel_bytes[MAX_KERNELS];
	int kernel_count;
	const char *kernel_name; /* of the next launch */
	bool is_pageable;
	/* A copy from the host that is still to come. */
	void *target;
	const void *source;
	size_t bytes; /* 0: none */
	bool (*is_busy)(void *argument);
	void *busy_argument;
} machine;

static long long
setting(const char *name, long long fallback)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? fallback : atoll(value);
}

void
shim_reset(void)
{
	machine.is_ready = true;
	machine.devices = (int) setting("ALOL_SHIM_DEVICES", 1);
	machine.is_pageable = setting("ALOL_SHIM_PAGEABLE", 0) != 0;
	machine.driver = (int) setting("ALOL_SHIM_DRIVER", 13000);
	if (machine.devices > MAX_DEVICES)
		machine.devices = MAX_DEVICES;
	machine.memory = (size_t) setting("ALOL_SHIM_MEMORY", 1 << 30);
	machine.seed = (uint64_t) setting("ALOL_SHIM_SEED", 0);
	machine.draws = 0;
	machine.fail_call = (int) setting("ALOL_SHIM_FAIL_CALL", 0);
	machine.calls = 0;
	machine.error = cudaSuccess;
	machine.fault[0] = '\0';
}

int
shim_calls(void)
{
	return machine.calls;
}

size_t
shim_memory_in_use(void)
{
	size_t sum = 0;

	for (int i = 0; i < MAX_DEVICES; i++)
		sum += machine.in_use[i];
	return sum;
}

const char *
shim_fault_text(void)
{
	return machine.fault[0] == '\0' ? NULL : machine.fault;
}

void
shim_fault(const char *format, ...)
{
	va_list arguments;

	if (machine.fault[0] == '\0')
	{
		va_start(arguments, format);
		vsnprintf(machine.fault, sizeof(machine.fault), format, arguments);
		va_end(arguments);
	}
	machine.error = cudaErrorLaunchFailure;
	shim_stop_thread();
}

/* SplitMix64 of a counter. */
uint64_t
shim_draw(void)
{
	uint64_t z = machine.seed * 0xd1342543de82ef95u +
	             ++machine.draws * 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void
shim_open_memory(void)
{
	for (const Piece *p = machine.pieces; p != NULL; p = p->next)
		__asan_unpoison_memory_region(p->data, p->bytes);
}

void
shim_close_memory(void)
{
	for (const Piece *p = machine.pieces; p != NULL; p = p->next)
		__asan_poison_memory_region(p->data, p->bytes);
}

/* Whatever is asked next comes after it. */
static void
finish_copy(void)
{
	if (machine.bytes == 0)
		return;
	shim_open_memory();
	memcpy(machine.target, machine.source, machine.bytes);
	shim_close_memory();
	machine.bytes = 0;
}

bool
shim_count_call(void)
{
	if (!machine.is_ready)
		shim_reset();
	finish_copy();
	machine.calls++;
	if (machine.fail_call > 0 && machine.calls >= machine.fail_call &&
	    machine.error == cudaSuccess)
	{
		snprintf(machine.fault, sizeof(machine.fault),
		         "the GPU is lost at call %d", machine.calls);
		machine.error = cudaErrorUnknown;
	}
	return machine.error == cudaSuccess;
}

/* ---------------------------------------------------------------- devices */

cudaError_t
cudaDriverGetVersion(int *version)
{
	if (!shim_count_call())
		return machine.error;
	*version = machine.driver;
	return cudaSuccess;
}

cudaError_t
cudaGetDeviceCount(int *count)
{
	*count = 0;
	if (!shim_count_call())
		return machine.error;
	*count = machine.devices;
	return machine.devices > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t
cudaGetDeviceProperties(cudaDeviceProp *properties, int device)
{
	if (!shim_count_call())
		return machine.error;
	if (device < 0 || device >= machine.devices)
		return cudaErrorInvalidDevice;
	memset(properties, 0, sizeof(*properties));
	snprintf(properties->name, sizeof(properties->name), "software GPU");
	properties->totalGlobalMem = machine.memory;
	properties->sharedMemPerBlockOptin = SHIM_SHARED_MOST;
	properties->major = 8;
	properties->minor = 0;
	properties->multiProcessorCount = 4;
	properties->pageableMemoryAccess = machine.is_pageable;
	return cudaSuccess;
}

cudaError_t
cudaSetDevice(int device)
{
	if (!shim_count_call())
		return machine.error;
	if (device < 0 || device >= machine.devices)
		return cudaErrorInvalidDevice;
	machine.device = device;
	return cudaSuccess;
}

cudaError_t
cudaDeviceReset(void)
{
	return shim_count_call() ? cudaSuccess : machine.error;
}

/* ----------------------------------------------------------------- memory */

cudaError_t
cudaMemGetInfo(size_t *unused, size_t *total)
{
	if (!shim_count_call())
		return machine.error;
	*total = machine.memory;
	*unused = machine.memory - machine.in_use[machine.device];
	return cudaSuccess;
}

cudaError_t
shim_malloc(void **memory, size_t bytes)
{
	Piece *piece;
	void *data;

	*memory = NULL;
	if (!shim_count_call())
		return machine.error;
	if (bytes > machine.memory - machine.in_use[machine.device])
		return cudaErrorMemoryAllocation;
	if (bytes == 0)
		return cudaSuccess;
	piece = malloc(sizeof(*piece));
	if (piece == NULL || posix_memalign(&data, 256, bytes) != 0)
	{
		free(piece);
		return cudaErrorMemoryAllocation;
	}
	/* What nobody wrote is no number. */
	memset(data, 0xff, bytes);
	*piece = (Piece){machine.pieces, data, bytes, machine.device};
	machine.pieces = piece;
	machine.in_use[machine.device] += bytes;
	__asan_poison_memory_region(data, bytes);
	*memory = data;
	return cudaSuccess;
}

cudaError_t
cudaFree(void *memory)
{
	bool is_good = shim_count_call();

	if (memory == NULL)
		return is_good ? cudaSuccess : machine.error;
	for (Piece **at = &machine.pieces; *at != NULL; at = &(*at)->next)
		if ((*at)->data == memory)
		{
			Piece *piece = *at;

			*at = piece->next;
			machine.in_use[piece->device] -= piece->bytes;
			__asan_unpoison_memory_region(piece->data, piece->bytes);
			free(piece->data);
			free(piece);
			/* Of a lost device memory is gone in any case. */
			return is_good ? cudaSuccess : machine.error;
		}
	shim_fault("memory is freed that was not allocated");
	return machine.error;
}

/* Does [at, at + bytes) lie in one piece of device memory? */
static bool
is_device_memory(const void *at, size_t bytes)
{
	const unsigned char *begin = at;

	for (const Piece *p = machine.pieces; p != NULL; p = p->next)
		if (begin >= p->data && begin <= p->data + p->bytes &&
		    bytes <= (size_t) (p->data + p->bytes - begin))
			return true;
	return false;
}

cudaError_t
cudaMemcpyAsync(void *target, const void *source, size_t bytes,
                cudaMemcpyKind kind, cudaStream_t stream)
{
	(void) stream;
	if (!shim_count_call())
		return machine.error;
	if (bytes == 0)
		return cudaSuccess;
	if ((kind != cudaMemcpyHostToDevice && !is_device_memory(source, bytes)) ||
	    (kind != cudaMemcpyDeviceToHost && !is_device_memory(target, bytes)))
	{
		shim_fault("a copy of %zu bytes leaves device memory", bytes);
		return machine.error;
	}
	if (kind == cudaMemcpyHostToDevice && machine.is_pageable)
	{
		machine.target = target;
		machine.source = source;
		machine.bytes = bytes;
		return cudaSuccess;
	}
	shim_open_memory();
	memmove(target, source, bytes);
	shim_close_memory();
	return cudaSuccess;
}

cudaError_t
cudaMemsetAsync(void *target, int value, size_t bytes, cudaStream_t stream)
{
	(void) stream;
	if (!shim_count_call())
		return machine.error;
	if (bytes == 0)
		return cudaSuccess;
	if (!is_device_memory(target, bytes))
	{
		shim_fault("%zu bytes to be set leave device memory", bytes);
		return machine.error;
	}
	shim_open_memory();
	memset(target, value, bytes);
	shim_close_memory();
	return cudaSuccess;
}

/* ------------------------------------------------------ streams, launches */

cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
	(void) flags;
	*stream = NULL;
	if (!shim_count_call())
		return machine.error;
	*stream = malloc(sizeof(**stream));
	if (*stream == NULL)
		return cudaErrorMemoryAllocation;
	(*stream)->device = machine.device;
	return cudaSuccess;
}

cudaError_t
cudaStreamDestroy(cudaStream_t stream)
{
	bool is_good = shim_count_call();

	free(stream);
	return is_good ? cudaSuccess : machine.error;
}

void
shim_keep_busy(bool (*is_busy)(void *argument), void *argument)
{
	machine.is_busy = is_busy;
	machine.busy_argument = argument;
}

/* All that was asked for is done when the call returns, but what others do. */
static bool
is_busy(void)
{
	if (machine.is_busy == NULL || machine.error != cudaSuccess)
		return false;
	if (machine.is_busy(machine.busy_argument))
		return true;
	machine.is_busy = NULL;
	return false;
}

cudaError_t
cudaStreamSynchronize(cudaStream_t stream)
{
	(void) stream;
	if (!shim_count_call())
		return machine.error;
	while (is_busy())
		usleep(100);
	return machine.error;
}

/* Is asked as often as time has it, and not counted: calls shall have the
 * same numbers each time. */
cudaError_t
cudaStreamQuery(cudaStream_t stream)
{
	(void) stream;
	return is_busy() ? cudaErrorNotReady : machine.error;
}

cudaError_t
cudaGetLastError(void)
{
	return machine.error;
}

const char *
cudaGetErrorString(cudaError_t error)
{
	if (machine.fault[0] != '\0' && error == machine.error)
		return machine.fault;
	switch (error)
	{
		case cudaSuccess:
			return "no error";
		case cudaErrorMemoryAllocation:
			return "out of memory";
		case cudaErrorInvalidConfiguration:
			return "invalid configuration argument";
		case cudaErrorNoDevice:
			return "no CUDA-capable device is detected";
		case cudaErrorInvalidDevice:
			return "invalid device ordinal";
		default:
			return "unknown error";
	}
}

cudaError_t
shim_set_attribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
	int i = 0;

	if (!shim_count_call())
		return machine.error;
	if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
	    value > SHIM_SHARED_MOST)
		return cudaErrorInvalidValue;
	while (i < machine.kernel_count && machine.kernels[i] != kernel)
		i++;
	if (i == MAX_KERNELS)
		return cudaErrorInvalidValue;
	if (i == machine.kernel_count)
		machine.kernel_count++;
	machine.kernels[i] = kernel;
	machine.kernel_bytes[i] = value;
	return cudaSuccess;
}

static size_t
most_dynamic_bytes(const void *kernel)
{
	for (int i = 0; i < machine.kernel_count; i++)
		if (machine.kernels[i] == kernel)
			return (size_t) machine.kernel_bytes[i];
	return SHIM_SHARED_PLAIN;
}

static bool
is_possible(const ShimGrid *grid, const void *kernel)
{
	uint64_t threads =
		(uint64_t) grid->threads[0] * grid->threads[1] * grid->threads[2];

	for (int i = 0; i < 3; i++)
		if (grid->blocks[i] == 0 ||
		    grid->blocks[i] > (i == 0 ? 0x7fffffffu : MAX_BLOCKS_YZ))
			return false;
	return threads > 0 && threads <= SHIM_MAX_THREADS &&
	       threads % SHIM_WARP == 0 &&
	       grid->dynamic_bytes <= most_dynamic_bytes(kernel);
}

void
shim_name_kernel(const char *name)
{
	machine.kernel_name = name;
}

cudaError_t
shim_launch(const void *kernel, const ShimGrid *grid)
{
	ShimGrid named = *grid;

	if (!shim_count_call())
		return machine.error;
	if (!is_possible(grid, kernel))
		return cudaErrorInvalidConfiguration;
	named.name = machine.kernel_name == NULL ? "a kernel" : machine.kernel_name;
	machine.kernel_name = NULL;
	shim_run(&named);
	/* As on a GPU, a fault shows later. */
	return cudaSuccess;
}
