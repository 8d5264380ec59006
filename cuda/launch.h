/*
 * launch.h
 *		Starting a kernel.
 *
 *	LAUNCH(device, scale_kernel, dim3(blocks), threads, 0, x, factor);
 *
 * Threads are a multiple of 32, counted along x.  Nothing is started where
 * blocks are 0; a kernel that cannot start is a failure kept for sync.
 */
#pragma once

#include "cuda/backend.h"

/* Threads of a block that works on elements one by one. */
#define ELEMENT_THREADS 256

/* Without asking, a kernel has this much shared memory. */
#define PLAIN_SHARED_BYTES (48 << 10)

#define LAUNCH(device, kernel, grid, threads, shared_bytes, ...)               \
	cuda_launch(device, #kernel, kernel, grid, threads, shared_bytes,          \
	            __VA_ARGS__)

/* The arguments, as the kernel's own types. */
template <typename... P>
static inline cudaError_t
cuda_start(cudaStream_t stream, void (*kernel)(P...), dim3 grid, int threads,
           size_t shared_bytes, P... arguments)
{
	void *addresses[] = {(void *) &arguments...};

	if (shared_bytes > PLAIN_SHARED_BYTES)
	{
		cudaError_t error = cudaFuncSetAttribute(
			kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
			(int) shared_bytes);

		if (error != cudaSuccess)
			return error;
	}
	return cudaLaunchKernel(kernel, grid, dim3((unsigned) threads), addresses,
	                        shared_bytes, stream);
}

template <typename... P, typename... A>
static inline void
cuda_launch(Device *device, const char *name, void (*kernel)(P...), dim3 grid,
            int threads, size_t shared_bytes, A... arguments)
{
	CudaDevice *cuda = cuda_of(device);

	if (cuda->has_failed || grid.x == 0 || grid.y == 0 || grid.z == 0)
		return;
#ifndef __CUDACC__
	shim_name_kernel(name);
#endif
	cuda_check(device,
	           cuda_start<P...>(cuda->stream, kernel, grid, threads,
	                            shared_bytes, (P) arguments...),
	           name);
}

/* How many pieces of this size a count has. */
static inline unsigned
pieces_of(int64_t count, int64_t size)
{
	return (unsigned) ((count + size - 1) / size);
}

/* Do all rows of fp32 numbers begin at multiples of 16 bytes? */
static inline bool
rows_are_wide(const Tensor &x)
{
	return (uintptr_t) x.data % 16 == 0 && x.stride % 4 == 0;
}

/* Kernels of elements have a thread for each: grid x counts rows, y pieces of
 * columns. */
static inline dim3
grid_of(const Tensor &x)
{
	return dim3((unsigned) x.rows, pieces_of(x.cols, ELEMENT_THREADS));
}

/* The column of this thread; the row is blockIdx.x. */
static __device__ __forceinline__ int64_t
column(void)
{
	return (int64_t) blockIdx.y * ELEMENT_THREADS + threadIdx.x;
}
