/*
 * quads.h
 *		Kernels of elements: a thread has four neighbours of a row, and moves
 *		them at once where they lie at a multiple of 16 bytes.
 *
 *	LAUNCH(device, scale_kernel, quads_of(device, x), ELEMENT_THREADS, 0, ...);
 */
#pragma once

#include "cuda/launch.h"
#include "cuda/rounded.h"

/* Where a thread's elements are. */
typedef struct Place
{
	int64_t row;
	int64_t col;
	int count; /* of 4; none: the thread has nothing to do */
} Place;

typedef struct Quad
{
	float at[4];
} Quad;

/* Quads are counted in 32 bits. */
static inline dim3
quads_of(Device *device, const Tensor &x)
{
	int64_t quads = x.rows * ((x.cols + 3) / 4);

	if (quads > INT32_MAX)
	{
		cuda_fail(device, FAILURE_UNSUPPORTED,
		          "a tensor has more than 8589934588 numbers", NULL);
		return dim3(0);
	}
	return dim3(pieces_of(quads, ELEMENT_THREADS));
}

static __device__ __forceinline__ Place
place_of(const Tensor &x)
{
	unsigned place = blockIdx.x * ELEMENT_THREADS + threadIdx.x;
	unsigned quads = (unsigned) ((x.cols + 3) / 4);
	int64_t row = place / quads;
	int64_t col = (int64_t) (place % quads) * 4;

	return Place{row, col, row >= x.rows ? 0 : (int) min(x.cols - col, 4L)};
}

static __device__ __forceinline__ bool
is_wide(const Tensor &x, const Place &place)
{
	return (((uintptr_t) x.data | (uintptr_t) (x.stride * 4)) & 15) == 0 &&
	       place.count == 4;
}

static __device__ __forceinline__ Quad
read_quad(const Tensor &x, const Place &place)
{
	const float *from = row_of(x, place.row) + place.col;
	Quad quad = {};

	if (is_wide(x, place))
	{
		float4 all = *(const float4 *) (const void *) from;

		return Quad{all.x, all.y, all.z, all.w};
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (i < place.count)
			quad.at[i] = from[i];
	return quad;
}

static __device__ __forceinline__ void
write_quad(const Tensor &x, const Place &place, const Quad &quad)
{
	float *to = row_of(x, place.row) + place.col;

	if (is_wide(x, place))
	{
		*(float4 *) (void *) to =
			float4{quad.at[0], quad.at[1], quad.at[2], quad.at[3]};
		return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (i < place.count)
			to[i] = quad.at[i];
}

static __device__ __forceinline__ void
write_rounded(const RoundedCopy &copy, const Place &place, const Quad &quad)
{
	Bf16 *to = copy.data + place.row * copy.stride + place.col;

	/* Rows begin at multiples of 16 bytes. */
	if (place.count == 4)
	{
		*(uint2 *) (void *) to = uint2{pack_bf16(quad.at[0], quad.at[1]),
		                               pack_bf16(quad.at[2], quad.at[3])};
		return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
		if (i < place.count)
			to[i] = bf16_from_float(quad.at[i]);
}

/* And to their copy in bf16, if there is one. */
static __device__ __forceinline__ void
write_quad_twice(const Tensor &x, const RoundedCopy &copy, const Place &place,
                 const Quad &quad)
{
	write_quad(x, place, quad);
	if (copy.data != NULL)
		write_rounded(copy, place, quad);
}
