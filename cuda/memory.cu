/*
 * memory.cu
 *		Memory of the device, and copies to and from it.
 *
 * What is reserved is one block of the GPU's memory, out of which alloc then
 * gives pieces: nobody else can take it in between.  A block goes back when
 * its last piece does.  Without a reserve, or beyond it, each alloc asks CUDA.
 */
#include "cuda/backend.h"

#include <stdio.h>
#include <string.h>

/* As cudaMalloc aligns, so that every piece begins a line of the cache. */
#define ALIGNMENT 256

#define MEBIBYTE (1 << 20)

/* Room in a block for what aligning its pieces takes. */
#define SLACK MEBIBYTE

/* A part of a block, in the order of their places. */
typedef struct Span
{
	struct Span *next;
	size_t at;
	size_t bytes;
	bool is_used;
} Span;

typedef struct CudaBlock
{
	struct CudaBlock *next;
	char *data;
	Span *spans;
} CudaBlock;

static size_t
aligned(size_t bytes)
{
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Leaves `bytes` of a free span to its new owner, the rest free. */
static bool
split(Span *span, size_t bytes)
{
	Span *rest;

	if (span->bytes > bytes)
	{
		rest = (Span *) malloc(sizeof(*rest));
		if (rest == NULL)
			return false;
		*rest = Span{span->next, span->at + bytes, span->bytes - bytes, false};
		span->next = rest;
		span->bytes = bytes;
	}
	span->is_used = true;
	return true;
}

static void *
take_reserved(CudaDevice *cuda, size_t bytes)
{
	for (CudaBlock *block = cuda->blocks; block != NULL; block = block->next)
		for (Span *span = block->spans; span != NULL; span = span->next)
			if (!span->is_used && span->bytes >= bytes)
				return split(span, bytes) ? block->data + span->at : NULL;
	return NULL;
}

static void
merge_free(Span *span)
{
	while (span != NULL)
		if (!span->is_used && span->next != NULL && !span->next->is_used)
		{
			Span *gone = span->next;

			span->bytes += gone->bytes;
			span->next = gone->next;
			free(gone);
		}
		else
			span = span->next;
}

static void
drop_block(CudaDevice *cuda, CudaBlock *block)
{
	CudaBlock **at = &cuda->blocks;

	while (*at != block)
		at = &(*at)->next;
	*at = block->next;
	cuda_check(&cuda->device, cudaFree(block->data), "freeing memory");
	free(block->spans);
	free(block);
}

/* False: the memory is of no block. */
static bool
give_back(CudaDevice *cuda, void *memory)
{
	for (CudaBlock *block = cuda->blocks; block != NULL; block = block->next)
		for (Span *span = block->spans; span != NULL; span = span->next)
			if (span->is_used && block->data + span->at == memory)
			{
				span->is_used = false;
				merge_free(block->spans);
				if (block->spans->next == NULL)
					drop_block(cuda, block);
				return true;
			}
	return false;
}

static void *
take(Device *device, size_t bytes)
{
	CudaDevice *cuda = cuda_of(device);
	void *memory;
	cudaError_t error;
	char text[96];

	if (cuda->has_failed)
		return NULL;
	if (bytes > SIZE_MAX / 2)
	{
		cuda_fail(device, FAILURE_OUT_OF_MEMORY, "a tensor is too large", NULL);
		return NULL;
	}
	/* Nothing has an address too. */
	bytes = bytes == 0 ? ALIGNMENT : aligned(bytes);
	memory = take_reserved(cuda, bytes);
	if (memory != NULL)
		return memory;
	error = cudaMalloc(&memory, bytes);
	if (error == cudaSuccess)
		return memory;
	snprintf(text, sizeof(text), "cannot allocate %zu bytes of GPU memory",
	         bytes);
	cuda_check(device, error, text);
	return NULL;
}

void *
cuda_alloc(Device *device, size_t bytes)
{
	void *memory = take(device, bytes);

	if (memory != NULL)
		cuda_fill_zero(device, memory, bytes);
	return memory;
}

void
cuda_free(Device *device, void *memory)
{
	cuda_forget_rounded(device);
	if (memory != NULL && !give_back(cuda_of(device), memory))
		cuda_check(device, cudaFree(memory), "freeing memory");
}

void
cuda_upload(Device *device, void *target, const void *source, size_t bytes)
{
	CudaDevice *cuda = cuda_of(device);

	cuda_wrote_bytes(device, target, bytes);
	if (cuda->has_failed || bytes == 0)
		return;
	cuda_check(device,
	           cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice,
	                           cuda->stream),
	           "copying to the GPU");
	/* Pageable memory has been copied aside when the call returns; but a GPU
	 * that reads it by itself may do so later. */
	if (!cuda->has_failed && cuda->reads_pageable)
		cuda_check(device, cudaStreamSynchronize(cuda->stream),
		           "copying to the GPU");
}

void
cuda_download(Device *device, void *target, const void *source, size_t bytes)
{
	CudaDevice *cuda = cuda_of(device);

	if (bytes == 0)
		return;
	if (!cuda->has_failed &&
	    cuda_check(device,
	               cudaMemcpyAsync(target, source, bytes,
	                               cudaMemcpyDeviceToHost, cuda->stream),
	               "copying from the GPU") &&
	    cuda_check(device, cudaStreamSynchronize(cuda->stream),
	               "copying from the GPU"))
		return;
	/* Whoever reads before the next sync shall read numbers. */
	memset(target, 0, bytes);
}

void
cuda_fill_zero(Device *device, void *target, size_t bytes)
{
	CudaDevice *cuda = cuda_of(device);

	cuda_wrote_bytes(device, target, bytes);
	if (!cuda->has_failed && bytes > 0)
		cuda_check(device, cudaMemsetAsync(target, 0, bytes, cuda->stream),
		           "clearing memory");
}

const void *
cuda_adopt(Device *device, const void *mapped, size_t bytes)
{
	void *copy = take(device, bytes);

	if (copy != NULL)
		cuda_upload(device, copy, mapped, bytes);
	return copy;
}

void
cuda_release(Device *device, const void *adopted)
{
	cuda_free(device, (void *) (uintptr_t) adopted);
}

static size_t
reserved_and_free(const CudaDevice *cuda)
{
	size_t bytes = 0;

	for (const CudaBlock *block = cuda->blocks; block != NULL;
	     block = block->next)
		for (const Span *span = block->spans; span != NULL; span = span->next)
			bytes += span->is_used ? 0 : span->bytes;
	return bytes;
}

/* Bytes that products and sums may still ask for beside alloc's. */
static size_t
missing_scratch(const CudaDevice *cuda)
{
	size_t bytes = 0;

	for (int i = 0; i < SCRATCH_COUNT; i++)
		if (cuda->scratch_bytes[i] < CUDA_SCRATCH_MOST)
			bytes += CUDA_SCRATCH_MOST - cuda->scratch_bytes[i];
	return bytes;
}

uint64_t
cuda_room(Device *device)
{
	CudaDevice *cuda = cuda_of(device);
	size_t unused = 0;
	size_t total = 0;
	size_t scratch = missing_scratch(cuda);

	cuda_check(device, cudaMemGetInfo(&unused, &total),
	           "asking for free memory");
	unused += reserved_and_free(cuda);
	return unused > scratch ? unused - scratch : 0;
}

static bool
add_block(CudaDevice *cuda, size_t bytes)
{
	CudaBlock *block = (CudaBlock *) malloc(sizeof(*block));
	Span *span = (Span *) malloc(sizeof(*span));
	void *data = NULL;

	if (block == NULL || span == NULL ||
	    cudaMalloc(&data, bytes) != cudaSuccess)
	{
		free(block);
		free(span);
		/* Reported by the caller, with numbers. */
		(void) cudaGetLastError();
		return false;
	}
	*span = Span{NULL, 0, bytes, false};
	*block = CudaBlock{cuda->blocks, (char *) data, span};
	cuda->blocks = block;
	return true;
}

/* Takes what operations may ask for, before others can. */
static bool
take_scratch(CudaDevice *cuda)
{
	for (int i = 0; i < SCRATCH_COUNT && !cuda->has_failed; i++)
		cuda_scratch(&cuda->device, (CudaScratch) i, CUDA_SCRATCH_MOST);
	if (!cuda->has_failed)
		return true;
	cuda->has_failed = false;
	return false;
}

/* Is so much in one piece reserved and free? */
static bool
is_reserved(const CudaDevice *cuda, size_t bytes)
{
	for (const CudaBlock *block = cuda->blocks; block != NULL;
	     block = block->next)
		for (const Span *span = block->spans; span != NULL; span = span->next)
			if (!span->is_used && span->bytes >= bytes)
				return true;
	return false;
}

void
cuda_drop_unused(Device *device)
{
	CudaDevice *cuda = cuda_of(device);
	CudaBlock *next;

	for (CudaBlock *block = cuda->blocks; block != NULL; block = next)
	{
		next = block->next;
		if (!block->spans->is_used && block->spans->next == NULL)
			drop_block(cuda, block);
	}
}

static bool
reserve_block(CudaDevice *cuda, size_t bytes)
{
	if (is_reserved(cuda, bytes))
		return true;
	cuda_drop_unused(&cuda->device);
	return add_block(cuda, bytes);
}

/* So many bytes are not to be had. */
static bool
fail_full(CudaDevice *cuda, uint64_t bytes, Failure *failure)
{
	size_t used = 0, unused = 0, total = 0;
	uint64_t room;

	for (const CudaBlock *block = cuda->blocks; block != NULL;
	     block = block->next)
		for (const Span *span = block->spans; span != NULL; span = span->next)
			used += span->is_used ? span->bytes : 0;
	room = cuda_room(&cuda->device);
	cuda_check(&cuda->device, cudaMemGetInfo(&unused, &total),
	           "asking for free memory");
	/* A GPU that does not answer is not full. */
	if (cuda->has_failed)
		return cuda->device.sync(&cuda->device, failure);
	fail(
		failure, FAILURE_OUT_OF_MEMORY,
		"needs %.1f MiB more memory on %s, which has %.1f MiB free of %.1f MiB",
		(double) bytes / MEBIBYTE, cuda->name, (double) room / MEBIBYTE,
		(double) total / MEBIBYTE);
	return fail_needing(failure, used, bytes, false);
}

bool
cuda_reserve(Device *device, uint64_t bytes, Failure *failure)
{
	CudaDevice *cuda = cuda_of(device);

	if (!device->sync(device, failure))
		return false;
	if (bytes == 0 || (bytes <= SIZE_MAX / 2 && take_scratch(cuda) &&
	                   reserve_block(cuda, aligned((size_t) bytes + SLACK))))
		return true;
	return fail_full(cuda, bytes, failure);
}
