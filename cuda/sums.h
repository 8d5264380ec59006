/*
 * sums.h
 *		Sums over columns and over a block, in orders that depend on shapes
 *		alone.
 */
#pragma once

#include "cuda/launch.h"
#include "cuda/warp.h"

#define SUM_THREADS 256
#define SUM_WARPS (SUM_THREADS / WARP)
#define SUM_ROWS 256 /* that a block adds up, of 32 columns */

/* The sum over a block of SUM_THREADS, for thread 0. */
static __device__ __forceinline__ double
block_sum(double value)
{
	SHARED(double, parts, SUM_WARPS);
	double sum = 0;

	value = warp_sum(value);
	if (warp_lane() == 0)
		parts[warp_number()] = value;
	__syncthreads();
	if (threadIdx.x == 0)
		for (int w = 0; w < SUM_WARPS; w++)
			sum += parts[w];
	return sum;
}

/*
 * parts[group, cols] = sums over the rows of a group of what value.at(row,
 * col) gives: each warp adds every eighth row, then the warps' sums are added.
 * Grid: pieces of 32 columns, groups.
 */
template <typename Value>
static __global__ void
__launch_bounds__(SUM_THREADS)
	column_parts_kernel(float *parts, Value value, int64_t rows, int64_t cols)
{
	SHARED(float, sums, SUM_WARPS *WARP);
	int64_t first = (int64_t) blockIdx.y * SUM_ROWS;
	int64_t last = first + SUM_ROWS < rows ? first + SUM_ROWS : rows;
	int64_t col = (int64_t) blockIdx.x * WARP + warp_lane();
	float sum = 0;

	/* Several rows are on their way at once. */
	if (col < cols)
#pragma unroll 8
		for (int64_t row = first + warp_number(); row < last; row += SUM_WARPS)
			sum += value.at(row, col);
	sums[threadIdx.x] = sum;
	__syncthreads();
	if (warp_number() > 0 || col >= cols)
		return;
	for (int w = 1; w < SUM_WARPS; w++)
		sum += sums[w * WARP + warp_lane()];
	parts[blockIdx.y * cols + col] = sum;
}

/* target[cols] += the sum of all groups. */
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	add_parts_kernel(float *target, const float *parts, int64_t groups,
                     int64_t cols)
{
	int64_t col = (int64_t) blockIdx.x * ELEMENT_THREADS + threadIdx.x;
	float sum;

	if (col >= cols)
		return;
	sum = target[col];
#pragma unroll 8
	for (int64_t g = 0; g < groups; g++)
		sum += parts[g * cols + col];
	target[col] = sum;
}

/* The value of plain column sums. */
struct NumberOf
{
	Tensor x;

	__device__ __forceinline__ float
	at(int64_t row, int64_t col) const
	{
		return row_of(x, row)[col];
	}
};

/* target[cols] += sums of value over the rows. */
template <typename Value>
static void
add_column_sums(Device *device, float *target, Value value, int64_t rows,
                int64_t cols)
{
	unsigned groups = pieces_of(rows, SUM_ROWS);
	float *parts;

	if (rows == 0 || cols == 0)
		return;
	parts = (float *) cuda_scratch(device, SCRATCH_SUMS,
	                               groups * (size_t) cols * sizeof(float));
	if (parts == NULL)
		return;
	LAUNCH(device, column_parts_kernel<Value>,
	       dim3(pieces_of(cols, WARP), groups), SUM_THREADS, 0, parts, value,
	       rows, cols);
	LAUNCH(device, add_parts_kernel, dim3(pieces_of(cols, ELEMENT_THREADS)),
	       ELEMENT_THREADS, 0, target, parts, (int64_t) groups, cols);
}
