/*
 * shared.h
 *		A block's shared memory.  Kernels use it through Shared<T>, which on the
 *		GPU is T *; in the tests each access is seen and races are found.
 *
 *	SHARED(float, sums, 32);               an array of 32 floats
 *	Shared<float> tile = dynamic_shared<float>();    what the launch asked for
 *	Shared<uint4> wide = shared_as<uint4>(tile + 8); the same bytes
 */
#pragma once

#ifdef __CUDACC__

template <typename T> using Shared = T *;

#define SHARED(type, name, count)                                              \
	__shared__ __align__(                                                      \
		16) unsigned char name##_bytes[sizeof(type) * (count)];                \
	const Shared<type> name = reinterpret_cast<type *>(name##_bytes)

template <typename U, typename T>
static __device__ __forceinline__ Shared<U>
shared_as(T *from)
{
	return reinterpret_cast<U *>(from);
}

/* Aligned to 16 bytes. */
template <typename T>
static __device__ __forceinline__ Shared<T>
dynamic_shared(void)
{
	extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];

	return reinterpret_cast<T *>(dynamic_shared_bytes);
}

#else
#include "shared_access.h"
#endif
