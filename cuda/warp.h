/*
 * warp.h
 *		What the 32 threads of a warp do together, and the only PTX here:
 *		products of bf16 tiles, their loads, copies that run beside the
 *		threads, conversions.
 *
 * Each has a body for the CPU, which the tests run: it moves fragments by the
 * lane layout of the PTX manual ("Matrix fragments for mma.m16n8k16",
 * "ldmatrix"), so that a wrong index shows there as it would on the GPU.
 */
#pragma once

#include "cuda/backend.h"
#include "cuda/shared.h"

#ifndef __CUDACC__
extern "C"
{
#include "base/quant.h"
}
#endif

#define WARP 32
#define ALL_LANES 0xffffffffu

/* The upper half of an fp32 number. */
typedef struct Bf16
{
	uint16_t bits;
} Bf16;

static __device__ __forceinline__ int
warp_lane(void)
{
	return (int) threadIdx.x % WARP;
}

/* Which warp of its block a thread belongs to. */
static __device__ __forceinline__ int
warp_number(void)
{
	return (int) threadIdx.x / WARP;
}

/* The sum over the warp, the same bits on every lane. */
template <typename T>
static __device__ __forceinline__ T
warp_sum(T value)
{
#pragma unroll
	for (int bits = WARP / 2; bits > 0; bits /= 2)
		value += __shfl_xor_sync(ALL_LANES, value, bits);
	return value;
}

static __device__ __forceinline__ float
warp_max(float value)
{
#pragma unroll
	for (int bits = WARP / 2; bits > 0; bits /= 2)
		value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, bits));
	return value;
}

/* ------------------------------------------------------------ conversions */

static __device__ __forceinline__ float
bf16_to_float(Bf16 x)
{
	return __uint_as_float((unsigned) x.bits << 16);
}

/* Two numbers rounded to nearest, ties to even; the first in the low half. */
static __device__ __forceinline__ uint32_t
pack_bf16(float low, float high)
{
#ifdef __CUDACC__
	uint32_t packed;

	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
	return packed;
#else
	uint16_t halves[2];
	const float numbers[2] = {low, high};

	dtype_from_f32(halves, numbers, DTYPE_BF16, 2);
	return halves[0] | (uint32_t) halves[1] << 16;
#endif
}

static __device__ __forceinline__ Bf16
bf16_from_float(float x)
{
	return Bf16{(uint16_t) pack_bf16(x, 0)};
}

static __device__ __forceinline__ float
low_bf16(uint32_t packed)
{
	return __uint_as_float(packed << 16);
}

static __device__ __forceinline__ float
high_bf16(uint32_t packed)
{
	return __uint_as_float(packed & 0xffff0000u);
}

/* An fp16 number, by its bits. */
static __device__ __forceinline__ float
fp16_to_float(uint16_t bits)
{
#ifdef __CUDACC__
	float value;

	asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
	return value;
#else
	return half_to_float(bits);
#endif
}

/* --------------------------------------------------- tiles for tensor cores */

/*
 * d[16, 8] += a[16, 16] @ b[16, 8], fp32 sums of bf16 products.  With g =
 * lane / 4 and t = lane % 4, two bf16 a register, lower column or row first:
 *
 *	a[0]: row g,     columns 2 t, 2 t + 1    a[2]: columns 2 t + 8, 2 t + 9
 *	a[1]: row g + 8, the same columns        a[3]: likewise
 *	b[0]: column g,  rows 2 t, 2 t + 1       b[1]: rows 2 t + 8, 2 t + 9
 *	d[0], d[1]: row g, columns 2 t, 2 t + 1  d[2], d[3]: row g + 8
 */
static __device__ __forceinline__ void
mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef __CUDACC__
	asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
	    "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
	const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
	const ShimValue *all =
		shim_exchange("multiply tiles", ALL_LANES, mine, sizeof(mine));

	for (int i = 0; i < 4; i++)
	{
		int row = shim_lane() / 4 + i / 2 * 8;
		int col = shim_lane() % 4 * 2 + i % 2;

		for (int k = 0; k < 16; k++)
		{
			uint32_t left[6];
			uint32_t right[6];
			uint32_t x;
			uint32_t y;

			memcpy(left, all[row % 8 * 4 + k % 8 / 2].bytes, sizeof(left));
			memcpy(right, all[col * 4 + k % 8 / 2].bytes, sizeof(right));
			x = left[row / 8 + k / 8 * 2];
			y = right[4 + k / 8];
			d[i] += k % 2 == 0 ? low_bf16(x) * low_bf16(y)
			                   : high_bf16(x) * high_bf16(y);
		}
	}
#endif
}

/*
 * Loads 4 tiles of 8 x 8 bf16: lanes 8 i .. 8 i + 7 say where the rows of tile
 * i begin (16 bytes each, aligned to 16), and with g and t as above r[i]
 * receives row g, columns 2 t and 2 t + 1 of it; transposed: column g, rows
 * 2 t and 2 t + 1.
 */
template <bool transposed>
static __device__ __forceinline__ void
load_tiles(uint32_t r[4], Shared<Bf16> row)
{
#ifdef __CUDACC__
	uint32_t at = (uint32_t) __cvta_generic_to_shared(row);

	if (transposed)
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
		             "{%0, %1, %2, %3}, [%4];"
		             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		             : "r"(at)
		             : "memory");
	else
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 "
		             "{%0, %1, %2, %3}, [%4];"
		             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
		             : "r"(at)
		             : "memory");
#else
	const ShimValue *all =
		shim_exchange(transposed ? "load turned tiles" : "load tiles",
	                  ALL_LANES, &row, sizeof(row));
	int g = shim_lane() / 4;
	int t = shim_lane() % 4;

	for (int i = 0; i < 4; i++)
	{
		uint16_t pair[2];

		for (int j = 0; j < 2; j++)
		{
			Shared<Bf16> of;

			memcpy(&of, all[8 * i + (transposed ? 2 * t + j : g)].bytes,
			       sizeof(of));
			if (of.at % 16 != 0)
				shim_fault("a tile's row begins at byte %zu of shared memory, "
				           "in %s",
				           of.at, shim_place());
			pair[j] = ((Bf16) of[transposed ? g : 2 * t + j]).bits;
		}
		r[i] = pair[0] | (uint32_t) pair[1] << 16;
	}
#endif
}

/* -------------------------------------------- copies that run beside threads */

/*
 * Starts to copy 16 bytes into shared memory, both ends aligned to 16: the
 * first valid_bytes of them, the others become 0 (source is not read where
 * valid_bytes is 0, but must be an address).  The target is undefined until
 * this thread has waited, for others until a barrier after that.
 */
template <typename T>
static __device__ __forceinline__ void
copy_async(Shared<T> target, const T *source, int valid_bytes)
{
#ifdef __CUDACC__
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
	             :
	             : "r"((uint32_t) __cvta_generic_to_shared(target)),
	               "l"(source), "r"(valid_bytes)
	             : "memory");
#else
	Shared<uint4> whole = shared_as<uint4>(target);

	shim_copy_async(whole[0].at, source, (size_t) valid_bytes,
	                (size_t) (16 - valid_bytes));
#endif
}

/* Closes a group of copies of this thread. */
static __device__ __forceinline__ void
copy_commit(void)
{
#ifdef __CUDACC__
	asm volatile("cp.async.commit_group;" ::: "memory");
#else
	shim_copy_commit();
#endif
}

/* Waits for this thread's groups but the last `left` ones. */
template <int left>
static __device__ __forceinline__ void
copy_wait(void)
{
#ifdef __CUDACC__
	asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
	shim_copy_wait(left);
#endif
}
