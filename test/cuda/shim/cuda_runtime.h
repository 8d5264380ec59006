/*
 * cuda_runtime.h
 *		Stands in for CUDA's header of this name when g++ compiles cuda/ for
 *		the tests: of the runtime and of the language what cuda/ uses.
 */
#pragma once

#include "shim.h"

#ifdef __cplusplus
#include <cmath>
#include <cstring>
#include <utility>
#endif

/* --------------------------------------------------------------- language */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

typedef struct uint3
{
	unsigned x, y, z;
} uint3;

typedef struct dim3
{
	unsigned x, y, z;
#ifdef __cplusplus
	dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1)
		: x(x_), y(y_), z(z_)
	{
	}
#endif
} dim3;

typedef struct float2
{
	float x, y;
} __attribute__((aligned(8))) float2;

typedef struct float4
{
	float x, y, z, w;
} __attribute__((aligned(16))) float4;

typedef struct uint2
{
	unsigned x, y;
} __attribute__((aligned(8))) uint2;

typedef struct uint4
{
	unsigned x, y, z, w;
} __attribute__((aligned(16))) uint4;
SHIM_API uint3 threadIdx;
SHIM_API uint3 blockIdx;
SHIM_API dim3 blockDim;
SHIM_API dim3 gridDim;

/* ---------------------------------------------------------------- runtime */

typedef enum cudaError
{
	cudaSuccess = 0,
	cudaErrorInvalidValue = 1,
	cudaErrorMemoryAllocation = 2,
	cudaErrorInvalidConfiguration = 9,
	cudaErrorInvalidDevicePointer = 17,
	cudaErrorInsufficientDriver = 35,
	cudaErrorNoDevice = 100,
	cudaErrorInvalidDevice = 101,
	cudaErrorNotReady = 600,
	cudaErrorLaunchFailure = 719,
	cudaErrorDevicesUnavailable = 46,
	cudaErrorUnknown = 999
} cudaError_t;

typedef enum cudaMemcpyKind
{
	cudaMemcpyHostToDevice = 1,
	cudaMemcpyDeviceToHost = 2,
	cudaMemcpyDeviceToDevice = 3
} cudaMemcpyKind;

typedef enum cudaFuncAttribute
{
	cudaFuncAttributeMaxDynamicSharedMemorySize = 8
} cudaFuncAttribute;

typedef struct CUstream_st *cudaStream_t;

typedef struct cudaDeviceProp
{
	char name[256];
	size_t totalGlobalMem;
	size_t sharedMemPerBlockOptin;
	int major;
	int minor;
	int multiProcessorCount;
	int pageableMemoryAccess;
} cudaDeviceProp;

#define CUDART_VERSION 13000
#define cudaStreamNonBlocking 1
SHIM_API cudaError_t cudaDriverGetVersion(int *version);
SHIM_API cudaError_t cudaGetDeviceCount(int *count);
SHIM_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties,
                                             int device);
SHIM_API cudaError_t cudaSetDevice(int device);
SHIM_API cudaError_t cudaDeviceReset(void);
SHIM_API cudaError_t cudaMemGetInfo(size_t *unused, size_t *total);
SHIM_API cudaError_t cudaFree(void *memory);
SHIM_API cudaError_t cudaMemcpyAsync(void *target, const void *source,
                                     size_t bytes, cudaMemcpyKind kind,
                                     cudaStream_t stream);
SHIM_API cudaError_t cudaMemsetAsync(void *target, int value, size_t bytes,
                                     cudaStream_t stream);
SHIM_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream,
                                               unsigned flags);
SHIM_API cudaError_t cudaStreamDestroy(cudaStream_t stream);
SHIM_API cudaError_t cudaStreamSynchronize(cudaStream_t stream);
SHIM_API cudaError_t cudaStreamQuery(cudaStream_t stream);
SHIM_API cudaError_t cudaGetLastError(void);
SHIM_API const char *cudaGetErrorString(cudaError_t error);
SHIM_API cudaError_t shim_malloc(void **memory, size_t bytes);
SHIM_API cudaError_t shim_set_attribute(const void *kernel,
                                        cudaFuncAttribute attribute, int value);
SHIM_API cudaError_t shim_launch(const void *kernel, const ShimGrid *grid);

#ifdef __cplusplus

/* CUDA has these as templates too. */
template <typename T>
static inline cudaError_t
cudaMalloc(T **memory, size_t bytes)
{
	return shim_malloc((void **) memory, bytes);
}

template <typename... P>
static inline cudaError_t
cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute,
                     int value)
{
	return shim_set_attribute((const void *) kernel, attribute, value);
}

/* A kernel and its arguments, for each thread to call. */
template <typename... P> struct ShimCall
{
	void (*kernel)(P...);
	void **arguments;

	template <size_t... I>
	void
	run(std::index_sequence<I...>) const
	{
		kernel(*(P *) arguments[I]...);
	}
};

template <typename... P>
static void
shim_call(const void *of)
{
	((const ShimCall<P...> *) of)->run(std::index_sequence_for<P...>{});
}

template <typename... P>
static inline cudaError_t
cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void **arguments,
                 size_t dynamic_bytes = 0, cudaStream_t stream = NULL)
{
	ShimCall<P...> call = {kernel, arguments};
	ShimGrid all = {
		NULL,          {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
		dynamic_bytes, shim_call<P...>,          &call};

	(void) stream;
	return shim_launch((const void *) kernel, &all);
}

/* ------------------------------------------------- what threads can call */

static inline void
__syncthreads(void)
{
	shim_barrier();
}

/* Waits, and says whether it is true for any thread. */
static inline int
__syncthreads_or(int is_true)
{
	return shim_barrier_or(is_true != 0);
}

static inline void
__syncwarp(unsigned mask = 0xffffffff)
{
	shim_warp_barrier(mask);
}

/* Blocks run one after the other: what one wrote is there for the next. */
static inline void
__threadfence(void)
{
}

/* The value of lane `from` of this lane's part of its warp; a lane that does
 * not take part has none to give. */
template <typename T>
static inline T
shim_take(const char *what, unsigned mask, T value, int from)
{
	const ShimValue *values = shim_exchange(what, mask, &value, sizeof(T));

	if (!(mask >> from & 1))
		shim_fault("a lane shuffles from lane %d, which takes no part, in %s",
		           from, shim_place());
	memcpy(&value, values[from].bytes, sizeof(T));
	return value;
}

template <typename T>
static inline T
__shfl_sync(unsigned mask, T value, int lane, int width = SHIM_WARP)
{
	int first = shim_lane() / width * width;

	return shim_take("shuffle", mask, value, first + (lane & (width - 1)));
}

template <typename T>
static inline T
__shfl_xor_sync(unsigned mask, T value, int bits, int width = SHIM_WARP)
{
	int from = shim_lane() ^ bits;

	if (from / width > shim_lane() / width)
		from = shim_lane();
	return shim_take("shuffle by xor", mask, value, from);
}

template <typename T>
static inline T
__shfl_down_sync(unsigned mask, T value, unsigned by, int width = SHIM_WARP)
{
	int from = shim_lane() + (int) by;

	if (from / width != shim_lane() / width)
		from = shim_lane();
	return shim_take("shuffle down", mask, value, from);
}

template <typename T>
static inline T
__shfl_up_sync(unsigned mask, T value, unsigned by, int width = SHIM_WARP)
{
	int from = shim_lane() - (int) by;

	if (from < shim_lane() / width * width)
		from = shim_lane();
	return shim_take("shuffle up", mask, value, from);
}

static inline unsigned
__ballot_sync(unsigned mask, int is_true)
{
	const ShimValue *values =
		shim_exchange("vote", mask, &is_true, sizeof(is_true));
	unsigned votes = 0;

	for (int lane = 0; lane < SHIM_WARP; lane++)
		if (mask >> lane & 1)
		{
			memcpy(&is_true, values[lane].bytes, sizeof(is_true));
			votes |= (unsigned) (is_true != 0) << lane;
		}
	return votes;
}

static inline int
__any_sync(unsigned mask, int is_true)
{
	return __ballot_sync(mask, is_true) != 0;
}

static inline int
__all_sync(unsigned mask, int is_true)
{
	return __ballot_sync(mask, is_true) == mask;
}

/* CUDA has them without a namespace. */
static inline int
min(int a, int b)
{
	return a < b ? a : b;
}

static inline int
max(int a, int b)
{
	return a > b ? a : b;
}

/* Integers only: a sum of floats would depend on the order. */
static inline int
atomicAdd(int *target, int value)
{
	int before = *target;

	*target += value;
	return before;
}

/* The number of the lowest bit that is set, from 1. */
static inline int
__ffs(int bits)
{
	return __builtin_ffs(bits);
}

static inline float
__uint_as_float(unsigned bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline unsigned
__float_as_uint(float value)
{
	unsigned bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}
#endif
