/*
 * fixed.cu
 *		Rows of numbers as whole ones of 16 bits, and back: a thread a block.
 */
#include "cuda/launch.h"

#include "base/fixed16.h"

#define FIXED_THREADS 128

/* Of the block that a thread has: its number, where it begins in its row, and
 * how many numbers it has; 0: there is none. */
struct FixedPlace
{
	int64_t row;
	int64_t column;
	int64_t block;
	int count;
};

static __device__ FixedPlace
fixed_place(Tensor x)
{
	int64_t blocks = fixed16_blocks(x.cols);
	int64_t block = (int64_t) blockIdx.x * FIXED_THREADS + threadIdx.x;
	FixedPlace place = {block / blocks, block % blocks * FIXED16_BLOCK, block,
	                    0};

	if (place.row < x.rows)
		place.count =
			(int) (x.cols - place.column < FIXED16_BLOCK ? x.cols - place.column
		                                                 : FIXED16_BLOCK);
	return place;
}

static __global__ void
__launch_bounds__(FIXED_THREADS) write_fixed_kernel(Fixed target, Tensor x)
{
	FixedPlace at = fixed_place(x);

	if (at.count > 0)
		target.scale[at.block] =
			fixed16_write(target.code + at.row * x.cols + at.column,
		                  row_of(x, at.row) + at.column, at.count);
}

static __global__ void
__launch_bounds__(FIXED_THREADS) read_fixed_kernel(Tensor out, Fixed source)
{
	FixedPlace at = fixed_place(out);

	if (at.count > 0)
		fixed16_read(row_of(out, at.row) + at.column,
		             source.code + at.row * out.cols + at.column,
		             source.scale[at.block], at.count);
}

static unsigned
fixed_pieces(Tensor x)
{
	return pieces_of(x.rows * fixed16_blocks(x.cols), FIXED_THREADS);
}

void
cuda_write_fixed(Device *device, Fixed target, Tensor x)
{
	if (x.rows > 0 && x.cols > 0)
		LAUNCH(device, write_fixed_kernel, dim3(fixed_pieces(x)), FIXED_THREADS,
		       0, target, x);
}

void
cuda_read_fixed(Device *device, Tensor out, Fixed source)
{
	cuda_wrote(device, out);
	if (out.rows > 0 && out.cols > 0)
		LAUNCH(device, read_fixed_kernel, dim3(fixed_pieces(out)),
		       FIXED_THREADS, 0, out, source);
}
