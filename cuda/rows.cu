/*
 * rows.cu
 *		Whole rows moved and added: embeddings, caches, residuals.
 */
#include "cuda/quads.h"
#include "cuda/stored.h"

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	gather_rows_kernel(Tensor out, Tensor table, const int32_t *index,
                       float beta, const float *nf4_tables)
{
	int64_t row = blockIdx.x;
	int64_t j = column();
	float *at;
	float value;

	if (j >= out.cols)
		return;
	at = row_of(out, row) + j;
	value = stored_number(table, index[row] * table.stride + j, nf4_tables);
	*at = beta == 0 ? value : beta * *at + value;
}

void
cuda_gather_rows(Device *device, Tensor out, Tensor table, const int32_t *index,
                 float beta)
{
	cuda_wrote(device, out);
	LAUNCH(device, gather_rows_kernel, grid_of(out), ELEMENT_THREADS, 0, out,
	       table, index, beta, cuda_of(device)->nf4_tables);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	scatter_rows_kernel(Tensor target, Tensor source, const int32_t *index)
{
	int64_t row = blockIdx.x;
	int64_t j = column();

	if (j < source.cols)
		row_of(target, index[row])[j] = row_of(source, row)[j];
}

void
cuda_scatter_rows(Device *device, Tensor target, Tensor source,
                  const int32_t *index)
{
	cuda_wrote(device, target);
	LAUNCH(device, scatter_rows_kernel, grid_of(source), ELEMENT_THREADS, 0,
	       target, source, index);
}

/* Columns of a block, which adds up rows of the same index. */
#define ADD_COLUMNS 4
#define ADD_WIDTH (ADD_COLUMNS * ELEMENT_THREADS)

/*
 * Block i owns row index[i] of the table if i is the first place where that
 * index stands, and adds the rows of all such places in their order: 256
 * indexes are compared at a time, and their votes lie in shared memory.
 */
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	scatter_add_rows_kernel(Tensor table, Tensor source, const int32_t *index)
{
	SHARED(uint32_t, votes, ELEMENT_THREADS / WARP);
	int64_t row = blockIdx.x;
	int64_t first = (int64_t) blockIdx.y * ADD_WIDTH + threadIdx.x;
	int32_t mine = index[row];
	int is_later = 0;
	float sum[ADD_COLUMNS] = {};

	for (int64_t i = threadIdx.x; i < row; i += ELEMENT_THREADS)
		is_later |= index[i] == mine;
	if (__syncthreads_or(is_later))
		return;
	for (int c = 0; c < ADD_COLUMNS; c++)
		if (first + c * ELEMENT_THREADS < table.cols)
			sum[c] = row_of(table, mine)[first + c * ELEMENT_THREADS];
	for (int64_t start = row; start < source.rows; start += ELEMENT_THREADS)
	{
		int64_t i = start + threadIdx.x;
		uint32_t vote =
			__ballot_sync(ALL_LANES, i < source.rows && index[i] == mine);

		if (warp_lane() == 0)
			votes[warp_number()] = vote;
		__syncthreads();
		for (int w = 0; w < ELEMENT_THREADS / WARP; w++)
			for (uint32_t left = votes[w]; left != 0; left &= left - 1)
			{
				const float *from =
					row_of(source, start + w * WARP + __ffs((int) left) - 1);

				for (int c = 0; c < ADD_COLUMNS; c++)
					if (first + c * ELEMENT_THREADS < table.cols)
						sum[c] += from[first + c * ELEMENT_THREADS];
			}
		__syncthreads();
	}
	for (int c = 0; c < ADD_COLUMNS; c++)
		if (first + c * ELEMENT_THREADS < table.cols)
			row_of(table, mine)[first + c * ELEMENT_THREADS] = sum[c];
}

void
cuda_scatter_add_rows(Device *device, Tensor table, Tensor source,
                      const int32_t *index)
{
	cuda_wrote(device, table);
	LAUNCH(device, scatter_add_rows_kernel,
	       dim3((unsigned) source.rows, pieces_of(source.cols, ADD_WIDTH)),
	       ELEMENT_THREADS, 0, table, source, index);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	regroup_heads_kernel(Tensor out, Tensor x, int heads, int parts,
                         bool inverse)
{
	int width = (int) x.cols / (heads * parts);
	int j = (int) column();
	int head = j / width / parts;
	int part = j / width % parts;
	int by_part = (part * heads + head) * width + j % width;
	int64_t row = blockIdx.x;

	if (j < x.cols)
		row_of(out, row)[inverse ? j : by_part] =
			row_of(x, row)[inverse ? by_part : j];
}

void
cuda_regroup_heads(Device *device, Tensor out, Tensor x, int heads, int parts,
                   bool inverse)
{
	cuda_wrote(device, out);
	LAUNCH(device, regroup_heads_kernel, grid_of(x), ELEMENT_THREADS, 0, out, x,
	       heads, parts, inverse);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS) add_kernel(Tensor out, Tensor a, Tensor b)
{
	Place place = place_of(out);
	Quad sum;
	Quad other;

	if (place.count == 0)
		return;
	sum = read_quad(a, place);
	other = read_quad(b, place);
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum.at[i] += other.at[i];
	write_quad(out, place, sum);
}

void
cuda_add(Device *device, Tensor out, Tensor a, Tensor b)
{
	cuda_wrote(device, out);
	LAUNCH(device, add_kernel, quads_of(device, out), ELEMENT_THREADS, 0, out,
	       a, b);
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS) scale_kernel(Tensor x, float factor)
{
	Place place = place_of(x);
	Quad value;

	if (place.count == 0)
		return;
	value = read_quad(x, place);
#pragma unroll
	for (int i = 0; i < 4; i++)
		value.at[i] *= factor;
	write_quad(x, place, value);
}

void
cuda_scale(Device *device, Tensor x, float factor)
{
	cuda_wrote(device, x);
	LAUNCH(device, scale_kernel, quads_of(device, x), ELEMENT_THREADS, 0, x,
	       factor);
}
