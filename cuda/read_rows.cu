/*
 * read_rows.cu
 *		Rows of stored numbers as fp32 or bf16: what products take that cannot
 *		take them where they lie.
 *
 * What comes often has a kernel that moves words: fp32, which is rounded, and
 * the 4 bits of a frozen base.  The other kernel reads number by number.
 */
#include "cuda/matmul.h"
#include "cuda/quads.h"
#include "cuda/stored.h"

/* One thread writes two neighbours. */
#define PAIR_WIDTH (2 * ELEMENT_THREADS)

/* Codes of a word, which are two runs of 4 numbers of a block. */
#define WORD_CODES 8

/* What lies between the rows of to[rows, stride] is not written. */
template <bool is_bf16>
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	read_rows_kernel(void *to, int64_t stride, Tensor stored, int64_t first,
                     const float *nf4_tables)
{
	int64_t row = blockIdx.x;
	int64_t j = (int64_t) blockIdx.y * PAIR_WIDTH + 2 * threadIdx.x;
	int64_t from = (first + row) * stored.stride + j;
	int64_t at = row * stride + j;
	float x;
	float y = 0;

	if (j >= stored.cols)
		return;
	x = stored_number(stored, from, nf4_tables);
	if (j + 1 < stored.cols)
		y = stored_number(stored, from + 1, nf4_tables);
	/* The stride is even: both lie in one word. */
	if (is_bf16)
		((uint32_t *) to)[at / 2] = pack_bf16(x, y);
	else
		((float2 *) to)[at / 2] = float2{x, y};
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS) round_rows_kernel(RoundedCopy to, Tensor x)
{
	Place place = place_of(x);

	if (place.count > 0)
		write_rounded(to, place, read_quad(x, place));
}

static void
round_rows(Device *device, const RoundedCopy &to, const Tensor &x)
{
	LAUNCH(device, round_rows_kernel, quads_of(device, x), ELEMENT_THREADS, 0,
	       to, x);
}

/* Four numbers of a table by the low halves of so many bytes, times scale. */
static __device__ __forceinline__ Quad
quad_of_codes(Shared<float> table, uint32_t codes, float scale)
{
	Quad quad;

#pragma unroll
	for (int i = 0; i < 4; i++)
		quad.at[i] = table[codes >> (8 * i) & 15] * scale;
	return quad;
}

template <bool is_bf16>
static __device__ __forceinline__ void
put_quad(void *to, int64_t at, const Quad &quad)
{
	if (is_bf16)
		((uint2 *) to)[at / 4] = uint2{pack_bf16(quad.at[0], quad.at[1]),
		                               pack_bf16(quad.at[2], quad.at[3])};
	else
		((float4 *) to)[at / 4] =
			float4{quad.at[0], quad.at[1], quad.at[2], quad.at[3]};
}

/* The same as read_rows_kernel of NF4 whose rows begin with a block: a thread
 * has a word of codes. */
template <DType dtype, bool is_bf16>
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	read_nf4_kernel(void *to, int64_t stride, Tensor stored, int64_t first,
                    int64_t rows, const float *nf4_tables)
{
	SHARED(float, table, 16);
	unsigned place = blockIdx.x * ELEMENT_THREADS + threadIdx.x;
	unsigned words = (unsigned) (stored.cols / WORD_CODES);
	int64_t row = place / words;
	int word = (int) (place % words);
	int64_t block = (first + row) * (stored.stride / NF4_BLOCK) + word / 8;
	/* Of the first of the word's numbers. */
	int64_t at = row * stride + word / 8 * NF4_BLOCK + word % 8 * 4;
	Nf4Block stands;
	uint32_t codes;

	if (threadIdx.x < 16)
		table[threadIdx.x] = nf4_tables[threadIdx.x];
	__syncthreads();
	if (row >= rows)
		return;
	stands = dtype == DTYPE_NF4
	             ? nf4_block(stored.data, block)
	             : nf4_double_block(stored.data, block, nf4_tables);
	codes = ((const uint32_t *) (const void *) stands.codes)[word % 8];
	put_quad<is_bf16>(to, at, quad_of_codes(table, codes, stands.most));
	put_quad<is_bf16>(to, at + NF4_BLOCK / 2,
	                  quad_of_codes(table, codes >> 4, stands.most));
}

template <DType dtype>
static void
read_nf4(Device *device, void *to, bool is_bf16, const Tensor &stored,
         int64_t first, int64_t rows)
{
	const float *tables = cuda_of(device)->nf4_tables;
	int64_t stride = rounded_stride(stored.cols);
	dim3 grid(pieces_of(rows * (stored.cols / WORD_CODES), ELEMENT_THREADS));

	if (is_bf16)
		LAUNCH(device, (read_nf4_kernel<dtype, true>), grid, ELEMENT_THREADS, 0,
		       to, stride, stored, first, rows, tables);
	else
		LAUNCH(device, (read_nf4_kernel<dtype, false>), grid, ELEMENT_THREADS,
		       0, to, stride, stored, first, rows, tables);
}

/* Does each row begin with a block, and have its words a number of 32 bits? */
static bool
has_whole_blocks(const Tensor &stored, int64_t rows)
{
	return stored.cols % NF4_BLOCK == 0 && stored.stride % NF4_BLOCK == 0 &&
	       rows * (stored.cols / WORD_CODES) <= INT32_MAX;
}

void
cuda_read_rows(Device *device, void *to, bool is_bf16, const Tensor &stored,
               int64_t first, int64_t rows)
{
	const float *tables = cuda_of(device)->nf4_tables;
	int64_t stride = rounded_stride(stored.cols);
	dim3 grid((unsigned) rows, pieces_of(stored.cols, PAIR_WIDTH));

	if (stored.dtype == DTYPE_F32 && is_bf16)
		round_rows(device, RoundedCopy{(Bf16 *) to, stride},
		           tensor_rows(stored, first, rows));
	else if (stored.dtype == DTYPE_NF4 && has_whole_blocks(stored, rows))
		read_nf4<DTYPE_NF4>(device, to, is_bf16, stored, first, rows);
	else if (stored.dtype == DTYPE_NF4_DOUBLE && has_whole_blocks(stored, rows))
		read_nf4<DTYPE_NF4_DOUBLE>(device, to, is_bf16, stored, first, rows);
	else if (is_bf16)
		LAUNCH(device, read_rows_kernel<true>, grid, ELEMENT_THREADS, 0, to,
		       stride, stored, first, tables);
	else
		LAUNCH(device, read_rows_kernel<false>, grid, ELEMENT_THREADS, 0, to,
		       stride, stored, first, tables);
}
