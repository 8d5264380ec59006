/*
 * panels.c
 *		Columns of products of 16 bits packed in panels, one or all.
 */
#include "device/cpu/panels.h"

#include "device/cpu/matmul.h"

/* Numbers that are summed before they are added to the result, at most. */
#define DEPTH 1024

/* Bytes of a line of the caches. */
#define LINE (PAIRS_IN_LINE * (int64_t) sizeof(uint32_t))

Columns
panels_of(const Matrix *w, bool is_for_input_grad)
{
	Columns columns = {.tensor = w->tensor,
	                   .is_along = w->transposed == is_for_input_grad,
	                   .packed =
	                       is_for_input_grad ? w->packed_grad : w->packed};

	if (is_for_input_grad && !cpu_takes_codes(w))
		columns.turned = w->packed;
	columns.turned_columns = w->transposed ? w->tensor.cols : w->tensor.rows;
	columns.turned_depth = w->transposed ? w->tensor.rows : w->tensor.cols;
	return columns;
}

int64_t
panels_block(int64_t depth)
{
	int64_t blocks = (depth + DEPTH - 1) / DEPTH;

	return round_up((depth + blocks - 1) / blocks, 2 * BF16_PAIRS);
}

/* Of a panel's numbers as fp32: rows a multiple of a page apart would fight for
 * places in the cache. */
static int64_t
wide_stride(int64_t depth)
{
	return round_up(depth, 2 * BF16_PAIRS) + BF16_PAIRS;
}

int64_t
panel_scratch(int64_t depth)
{
	return BF16_COLS * wide_stride(depth);
}

int64_t
panels_at(const PairKernels *kernels, int64_t columns, int64_t column,
          int64_t start, int64_t block, int64_t pairs)
{
	return round_up(columns, BF16_COLS) * (start / block) *
	           panel_lines(kernels, block / 2) +
	       column * panel_lines(kernels, pairs);
}

/* What was packed for the other direction, where columns are what the sum runs
 * over: 16 pairs of BF16_COLS columns at a time, so many numbers apart. */
typedef struct Turned
{
	const uint32_t *lines;
	const float *scale; /* of the first, or NULL; the others are as far apart */
	int64_t jump;
} Turned;

/* Of columns [first, first + BF16_COLS), a multiple of that, and of the sum
 * from `start` on. */
static Turned
turned_at(const Columns *b, int64_t first, int64_t start)
{
	const PairKernels *packing = bf16_kernels(true);
	int64_t block = panels_block(b->turned_depth);
	int64_t begin = first / block * block;
	int64_t pairs =
		round_up(least(block, b->turned_depth - begin), 2 * BF16_PAIRS) / 2;
	const uint32_t *panel = b->turned + panels_at(packing, b->turned_columns,
	                                              start, begin, block, pairs);

	return (Turned){
		panel + (first - begin) / 2 * BF16_COLS,
		packing->has_scales ? (const float *) panel + pairs * BF16_COLS : NULL,
		panel_lines(packing, pairs) * BF16_COLS};
}

static void
turn_panel(const PairKernels *kernels, const Columns *b, uint32_t *panel,
           int64_t first, int64_t start, int depth)
{
	Turned from = turned_at(b, first, start);

	for (int64_t p = 0; p < depth; p += BF16_COLS)
	{
		kernels->turn(panel + p / 2 * BF16_COLS, from.lines, from.scale);
		from.lines += from.jump;
		from.scale += from.scale == NULL ? 0 : from.jump;
	}
}

void
panel_pack(const PairKernels *kernels, const Columns *b, uint32_t *panel,
           float *wide, int64_t first, int cols, int64_t start, int depth)
{
	const Tensor *stored = &b->tensor;
	int64_t stride = stored->stride;
	int64_t at = b->is_along ? first * stride + start : start * stride + first;
	const float *source = (const float *) stored->data + at;

	if (b->turned != NULL)
	{
		turn_panel(kernels, b, panel, first, start, depth);
		return;
	}
	if (stored->dtype != DTYPE_F32)
	{
		int rows = b->is_along ? cols : depth;
		int width = b->is_along ? depth : cols;

		stride = b->is_along ? wide_stride(depth) : BF16_COLS;
		for (int i = 0; i < rows; i++)
			dtype_read(wide + i * stride, stored->data, stored->dtype,
			           at + i * stored->stride, width);
		source = wide;
	}
	(b->is_along ? kernels->panel_along
	             : kernels->panel_across)(panel, source, stride, cols, depth);
}

/* As it is stored, without scales or blocks: as many parts as a number has
 * bytes, each a line for a pair. */
static int
stored_parts(const Tensor *stored, bool is_along, int64_t first, int64_t start,
             int64_t pairs, PairsAhead *part)
{
	int64_t size = (int64_t) dtype_bytes(stored->dtype, 1);
	int64_t row = stored->stride * size;
	const char *at =
		(const char *) stored->data +
		(is_along ? first * row + start * size : start * row + first * size);

	for (int i = 0; i < size; i++)
		if (is_along)
			part[i] = (PairsAhead){at + i % 2 * BF16_PAIRS * row +
			                           i / 2 * pairs / BF16_PAIRS * LINE,
			                       row, LINE, 1};
		else
			part[i] = (PairsAhead){at + i % 2 * row + i / 2 * LINE, 2 * row,
			                       2 * BF16_PAIRS * row, 1};
	return (int) size;
}

int
panel_parts_packed(const uint32_t *panel, int64_t pairs,
                   PairsAhead part[PANEL_PARTS])
{
	part[0] = (PairsAhead){panel, LINE, BF16_PAIRS * LINE, 1};
	part[1] =
		(PairsAhead){panel + pairs * BF16_COLS / 2, LINE, BF16_PAIRS * LINE, 1};
	return 2;
}

int
panel_parts(const Columns *b, int64_t first, int64_t start, int64_t pairs,
            PairsAhead part[PANEL_PARTS])
{
	const Tensor *stored = &b->tensor;

	if (b->turned != NULL)
	{
		Turned from = turned_at(b, first, start);
		int64_t jump = from.jump * (int64_t) sizeof(uint32_t);

		part[0] = (PairsAhead){from.lines, LINE, jump, 1};
		part[1] = (PairsAhead){from.lines + BF16_PAIRS * BF16_COLS / 2, LINE,
		                       jump, 1};
		return 2;
	}
	if (dtype_block(stored->dtype) > 1)
		return 0;
	return stored_parts(stored, b->is_along, first, start, pairs, part);
}

/* ---------------------------------------------- weights packed as a whole */

size_t
cpu_packed_bytes(Device *device, const Matrix *w, bool is_for_input_grad)
{
	int64_t rows = round_up(w->tensor.rows, BF16_COLS);
	int64_t cols = round_up(w->tensor.cols, BF16_COLS);
	int64_t depth = w->transposed ? w->tensor.rows : w->tensor.cols;
	int64_t blocks = (depth + DEPTH - 1) / DEPTH;

	(void) device;
	if (!is_for_input_grad && cpu_takes_codes(w))
		return cpu_codes_bytes(w);
	/* Turned as it is used. */
	if (is_for_input_grad && w->packed != NULL && !cpu_takes_codes(w))
		return 0;
	/* Every block may have scales. */
	return (size_t) (rows * cols * 2 +
	                 (w->transposed ? cols : rows) * blocks * 4);
}

/* The panels of all columns, one after the other, of blocks of the sum. */
static void
pack_columns(Device *device, const PairKernels *packing, uint32_t *target,
             const Columns *b, int64_t columns, int64_t depth)
{
	int64_t block = panels_block(depth);

#pragma omp parallel for schedule(static) if (columns * depth >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t j = 0; j < columns; j += BF16_COLS)
	{
		float *wide = cpu_scratch(device, (size_t) panel_scratch(block));

		for (int64_t start = 0; wide != NULL && start < depth; start += block)
		{
			int64_t left = least(block, depth - start);
			int64_t pairs = round_up(left, 2 * BF16_PAIRS) / 2;

			panel_pack(packing, b,
			           target +
			               panels_at(packing, columns, j, start, block, pairs),
			           wide, j, (int) least(BF16_COLS, columns - j), start,
			           (int) left);
		}
	}
}

/* As pack_columns(), of weights that are stored across the sum, without
 * scales: some stored rows at a time, as memory is read fastest. */
static void
pack_across(Device *device, const PairKernels *packing, uint32_t *target,
            const Columns *b, int64_t columns, int64_t depth)
{
	int64_t block = panels_block(depth);
	int64_t slab = 2 * BF16_PAIRS;

#pragma omp parallel for schedule(static) if (columns * depth >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < depth; i += slab)
	{
		int64_t start = i / block * block;
		int64_t left = least(block, depth - start);
		int64_t pairs = round_up(left, slab) / 2;
		float *wide = cpu_scratch(device, (size_t) panel_scratch(slab));

		for (int64_t j = 0; wide != NULL && j < columns; j += BF16_COLS)
			panel_pack(packing, b,
			           target +
			               panels_at(packing, columns, j, start, block, pairs) +
			               (i - start) / 2 * BF16_COLS,
			           wide, j, (int) least(BF16_COLS, columns - j), i,
			           (int) least(slab, depth - i));
	}
}

void
cpu_pack(Device *device, void *target, const Matrix *w, bool is_for_input_grad)
{
	Columns b = panels_of(w, is_for_input_grad);
	int64_t columns = b.is_along ? w->tensor.rows : w->tensor.cols;
	int64_t depth = b.is_along ? w->tensor.cols : w->tensor.rows;
	const PairKernels *packing = bf16_kernels(!is_for_input_grad);

	if (!is_for_input_grad && cpu_takes_codes(w))
		cpu_pack_codes(target, w);
	else if (b.is_along || packing->has_scales)
		pack_columns(device, packing, target, &b, columns, depth);
	else
		pack_across(device, packing, target, &b, columns, depth);
}
