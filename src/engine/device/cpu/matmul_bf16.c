/*
 * matmul_bf16.c
 *		Matrix products of numbers rounded to 16 bits, in blocks that fit the
 *		caches.
 *
 * Each thread computes a rectangle of the result.  Of the factor that gives
 * the columns it packs panels for some megabytes, unless they come packed, of
 * the other one rows for the second-level cache, and lets tiles of the result
 * grow out of a panel and a strip of rows.  The order of a sum follows from its
 * length alone: a number of the result depends on neither the threads nor the
 * other rows.
 */
#include "device/cpu/matmul.h"
#include "device/cpu/matmul_bf16.h"

#include <string.h>

/* Numbers that are summed before they are added to the result, at most. */
#define DEPTH 1024

/* Pairs of all packed panels and of packed rows: 2 MiB and 256 KiB. */
#define PANEL_PAIRS (1 << 19)
#define ROW_PAIRS (1 << 16)

/* Products below this many multiplications stay on one thread. */
#define PARALLEL_MIN (1 << 20)

/* [rows or columns of the result, depth] if the sum runs along its stored
 * rows, else [depth, rows or columns]. */
typedef struct Factor
{
	Tensor tensor;
	bool is_along;
	const uint32_t *packed; /* see packed_at(); NULL: it is not */
	const uint32_t *turned; /* it, packed with depth and columns exchanged:
	                         * what is read in place of tensor; or NULL */
	int64_t columns;        /* of turned, where it is given, */
	int64_t depth;          /* and the length of its sums */
} Factor;

/* c[m, n] = beta c + a b^T, the sum of length depth. */
typedef struct Product
{
	Device *device;
	const PairKernels *kernels;
	Tensor c;
	Factor a;
	Factor b;
	int64_t depth;
	float beta;
} Product;

/* A rectangle of the result, and one thread's scratch for it. */
typedef struct Part
{
	const Product *product;
	int64_t first_row;
	int64_t last_row;
	int64_t first_col;
	int64_t last_col;
	int64_t strips;   /* of rows */
	int64_t depth;    /* of a block: a multiple of 2 BF16_PAIRS */
	int64_t cols;     /* of a block: a multiple of BF16_COLS */
	int64_t block;    /* strips of a block */
	int64_t a_stride; /* pairs */
	uint32_t *rows;   /* [block strips, a_stride] */
	uint32_t *panels; /* [cols / BF16_COLS, panel_lines(), BF16_COLS] */
	float *wide;      /* [BF16_COLS, wide_stride()], of weights that are not
	                   * fp32 */
} Part;

const PairKernels *
bf16_native(void)
{
	const PairKernels *amx = bf16_amx();

	return amx != NULL ? amx : bf16_avx512();
}

/*
 * Gradients are rounded to bf16, which any range of them suits.  The way
 * forward has whole numbers, which are nearer, but where AMX multiplies bf16
 * several times as fast.
 */
static const PairKernels *
kernels(bool is_forward)
{
	const PairKernels *native = bf16_native();
	const PairKernels *whole = int16_avx512();

	if (is_forward && bf16_amx() == NULL)
		return whole != NULL ? whole : &int16_portable;
	return native != NULL ? native : &bf16_portable;
}

static int64_t
round_up(int64_t number, int64_t unit)
{
	return (number + unit - 1) / unit * unit;
}

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The first row of a strip; all are of about the same height. */
static int64_t
strip_row(const Part *part, int64_t strip)
{
	int64_t rows = part->last_row - part->first_row;

	return part->first_row + rows * strip / part->strips;
}

/* Of a block of the sum: a multiple of 2 BF16_PAIRS. */
static int64_t
block_depth(int64_t depth)
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

/* Lines of BF16_COLS in a panel of so many pairs. */
static int64_t
panel_lines(const PairKernels *kernels, int64_t pairs)
{
	return kernels->has_scales ? pairs + 1 : pairs;
}

/* Sizes the blocks, and takes the scratch for them. */
static bool
begin_part(Part *part)
{
	bool is_packed = part->product->b.packed != NULL;
	const PairKernels *kernels = part->product->kernels;
	int height = kernels->rows;
	int64_t rows = part->last_row - part->first_row;
	int64_t cols = round_up(part->last_col - part->first_col, BF16_COLS);
	int64_t pairs, panels;

	part->depth = block_depth(part->product->depth);
	pairs = part->depth / 2;
	part->strips = (rows + height - 1) / height;
	/* Rows a multiple of a page apart would fight for places in the cache;
	 * and the first place behind them is for a scale. */
	part->a_stride = pairs + BF16_PAIRS;
	part->block = least(part->strips, ROW_PAIRS / pairs / height);
	part->cols = least(cols, PANEL_PAIRS / pairs / BF16_COLS * BF16_COLS);
	panels = part->cols * panel_lines(kernels, pairs);
	part->rows = (uint32_t *) cpu_scratch(
		part->product->device,
		(size_t) (part->block * height * part->a_stride +
	              (is_packed ? 0
	                         : panels + BF16_COLS * wide_stride(part->depth))));
	part->panels = part->rows + part->block * height * part->a_stride;
	part->wide = (float *) (part->panels + panels);
	return part->rows != NULL;
}

/*
 * Packed as a whole, a factor of so many columns is one block of the sum after
 * the other, each with the panels of all columns.  Blocks before the last have
 * a depth of `block`.
 */
static int64_t
packed_at(const PairKernels *kernels, int64_t columns, int64_t column,
          int64_t start, int64_t block, int64_t pairs)
{
	return round_up(columns, BF16_COLS) * (start / block) *
	           panel_lines(kernels, block / 2) +
	       column * panel_lines(kernels, pairs);
}

/* Of each pair the first number into row[0], the other into row[stride]. */
CPU_KERNEL static void
widen_bf16(float *row, int64_t stride, const uint32_t *pairs)
{
	uint32_t low[BF16_COLS];
	uint32_t high[BF16_COLS];

	for (int j = 0; j < BF16_COLS; j++)
	{
		low[j] = pairs[j] << 16;
		high[j] = pairs[j] & 0xffff0000u;
	}
	memcpy(row, low, sizeof(low));
	memcpy(row + stride, high, sizeof(high));
}

CPU_KERNEL static void
widen_int16(float *row, int64_t stride, const uint32_t *pairs,
            const float *scale)
{
	for (int j = 0; j < BF16_COLS; j++)
	{
		row[j] = (float) (int16_t) pairs[j] * scale[j];
		row[stride + j] = (float) ((int32_t) pairs[j] >> 16) * scale[j];
	}
}

/*
 * wide[BF16_COLS, stride]: of columns [first, first + BF16_COLS) the numbers
 * [start, start + depth) of the sum, both multiples of BF16_COLS, from what was
 * packed for the other direction, where columns are what the sum runs over.
 */
static void
read_turned(const Factor *b, float *wide, int64_t stride, int64_t first,
            int64_t start, int depth)
{
	const PairKernels *packing = kernels(true);
	int64_t block = block_depth(b->depth);
	int64_t begin = first / block * block;
	int64_t pairs =
		round_up(least(block, b->depth - begin), 2 * BF16_PAIRS) / 2;

	for (int64_t n = 0; n < depth; n += BF16_COLS)
	{
		const uint32_t *panel =
			b->turned +
			packed_at(packing, b->columns, start + n, begin, block, pairs);
		const uint32_t *line = panel + (first - begin) / 2 * BF16_COLS;

		for (int j = 0; j < BF16_COLS; j += 2, line += BF16_COLS)
			if (packing->has_scales)
				widen_int16(wide + j * stride + n, stride, line,
				            (const float *) panel + pairs * BF16_COLS);
			else
				widen_bf16(wide + j * stride + n, stride, line);
	}
}

/* Packs the panel of the columns [first, first + cols) of a block of the sum.
 * wide: [BF16_COLS, wide_stride(depth)], for weights that are not fp32. */
static void
pack_panel(const PairKernels *kernels, const Factor *b, uint32_t *panel,
           float *wide, int64_t first, int cols, int64_t start, int depth)
{
	const Tensor *stored = &b->tensor;
	int64_t stride = stored->stride;
	int64_t at = b->is_along ? first * stride + start : start * stride + first;
	const float *source = (const float *) stored->data + at;
	bool is_along = b->is_along;

	if (b->turned != NULL)
	{
		stride = wide_stride(depth);
		read_turned(b, wide, stride, first, start, depth);
		is_along = true;
		source = wide;
	}
	else if (stored->dtype != DTYPE_F32)
	{
		int rows = b->is_along ? cols : depth;
		int width = b->is_along ? depth : cols;

		stride = b->is_along ? wide_stride(depth) : BF16_COLS;
		for (int i = 0; i < rows; i++)
			dtype_read(wide + i * stride, stored->data, stored->dtype,
			           at + i * stored->stride, width);
		source = wide;
	}
	(is_along ? kernels->panel_along
	          : kernels->panel_across)(panel, source, stride, cols, depth);
}

static void
pack_panels(const Part *part, int64_t first, int64_t cols, int64_t start,
            int depth)
{
	const Product *product = part->product;
	int64_t lines = panel_lines(product->kernels, part->depth / 2);

	for (int64_t j = 0; j < cols; j += BF16_COLS)
		pack_panel(product->kernels, &product->b, part->panels + j * lines,
		           part->wide, first + j, (int) least(BF16_COLS, cols - j),
		           start, depth);
}

/* The panel that begins at this column of the result. */
static const uint32_t *
panel_at(const Part *part, int64_t first_col, int64_t column, int64_t start,
         int64_t pairs)
{
	const Product *product = part->product;
	const PairKernels *kernels = product->kernels;

	if (product->b.packed == NULL)
		return part->panels +
		       (column - first_col) * panel_lines(kernels, part->depth / 2);
	return product->b.packed + packed_at(kernels, product->c.cols, column,
	                                     start, part->depth, pairs);
}

static void
pack_rows(const Part *part, int64_t first, int rows, int64_t start, int depth)
{
	const Product *product = part->product;
	const Tensor *a = &product->a.tensor;
	const float *data = a->data;

	if (product->a.is_along)
		product->kernels->rows_along(part->rows, part->a_stride,
		                             data + first * a->stride + start,
		                             a->stride, rows, depth);
	else
		product->kernels->rows_across(part->rows, part->a_stride,
		                              data + start * a->stride + first,
		                              a->stride, rows, depth);
}

/* The tiles of packed panels and the packed rows of strips [strip, last). */
static void
multiply_block(const Part *part, int64_t strip, int64_t last, int64_t first_col,
               int64_t cols, int64_t start, int depth)
{
	const Product *product = part->product;
	int64_t first_row = strip_row(part, strip);
	int64_t pairs = round_up(depth, 2 * BF16_PAIRS) / 2;
	/* What earlier blocks of the sum left is kept. */
	float beta = start == 0 ? product->beta : 1;

	for (int64_t j = 0; j < cols; j += BF16_COLS)
	{
		const uint32_t *panel =
			panel_at(part, first_col, first_col + j, start, pairs);
		const uint32_t *next =
			panel + panel_lines(product->kernels, pairs) * BF16_COLS;

		for (int64_t s = strip; s < last; s++)
		{
			int64_t row = strip_row(part, s);
			/* The last two tiles fetch a half each of the next panel, which
			 * comes from far where products take turns with others. */
			bool is_half = s >= last - 2;

			product->kernels->tile(
				cpu_row(product->c, row) + first_col + j, product->c.stride,
				part->rows + (row - first_row) * part->a_stride, part->a_stride,
				panel, pairs, (int) (strip_row(part, s + 1) - row),
				(int) least(BF16_COLS, cols - j), beta,
				!is_half        ? panel
				: s == last - 1 ? next + pairs * BF16_COLS / 2
								: next);
		}
	}
}

static void
multiply_part(Part *part)
{
	const Product *product = part->product;

	if (!begin_part(part))
		return;
	for (int64_t col = part->first_col; col < part->last_col; col += part->cols)
		for (int64_t start = 0; start < product->depth; start += part->depth)
		{
			int64_t cols = least(part->cols, part->last_col - col);
			int depth = (int) least(part->depth, product->depth - start);

			if (product->b.packed == NULL)
				pack_panels(part, col, cols, start, depth);
			for (int64_t s = 0; s < part->strips; s += part->block)
			{
				int64_t last = least(s + part->block, part->strips);
				int64_t row = strip_row(part, s);

				pack_rows(part, row, (int) (strip_row(part, last) - row), start,
				          depth);
				multiply_block(part, s, last, col, cols, start, depth);
			}
		}
}

/* How many threads share the rows, so that all of them pack least; the others
 * share the columns. */
static int
threads_by_rows(const Product *product, int threads)
{
	/* Columns are turned as they are packed, and come from far. */
	double weight = product->b.packed == NULL ? 4 : 0.5;
	double best_cost = 0;
	int best = 1;

	for (int by_rows = 1; by_rows <= threads; by_rows++)
	{
		int by_cols = threads / by_rows;
		double cost = (double) product->c.rows / by_rows +
		              weight * (double) product->c.cols / by_cols;

		if (threads % by_rows == 0 && (by_rows == 1 || cost < best_cost))
		{
			best = by_rows;
			best_cost = cost;
		}
	}
	return best;
}

/* What thread t of by_rows times by_cols computes. */
static void
multiply_share(const Product *product, int64_t t, int by_rows, int by_cols)
{
	int64_t m = product->c.rows;
	int64_t n = product->c.cols;
	int64_t panels = round_up(n, BF16_COLS) / BF16_COLS;
	int64_t i = t % by_rows;
	int64_t j = t / by_rows;
	Part part = {.product = product,
	             .first_row = m * i / by_rows,
	             .last_row = m * (i + 1) / by_rows,
	             .first_col = panels * j / by_cols * BF16_COLS,
	             .last_col = least(n, panels * (j + 1) / by_cols * BF16_COLS)};

	if (part.first_row < part.last_row && part.first_col < part.last_col)
		multiply_part(&part);
}

static void
multiply(const Product *product)
{
	int64_t m = product->c.rows;
	int64_t n = product->c.cols;
	bool is_small = m * n * product->depth < PARALLEL_MIN;
	int threads = is_small ? 1 : cpu_threads(product->device);
	int by_rows = threads_by_rows(product, threads);
	int by_cols = threads / by_rows;

	if (m == 0 || n == 0 || product->depth == 0)
		return;
	CPU_EACH(t, threads, 1, threads > 1,
	         multiply_share(product, t, by_rows, by_cols));
}

/* What a product with w, or with its gradient's sums, sees. */
static Factor
factor_of(const Matrix *w, bool is_for_input_grad)
{
	Factor factor = {.tensor = w->tensor,
	                 .is_along = w->transposed == is_for_input_grad,
	                 .packed = is_for_input_grad ? w->packed_grad : w->packed};

	if (is_for_input_grad && !cpu_takes_codes(w))
		factor.turned = w->packed;
	factor.columns = w->transposed ? w->tensor.cols : w->tensor.rows;
	factor.depth = w->transposed ? w->tensor.rows : w->tensor.cols;
	return factor;
}

void
cpu_multiply_bf16(Device *device, Tensor out, Tensor x, const Matrix *w,
                  bool is_for_input_grad, float beta)
{
	Product product = {.device = device,
	                   .kernels = kernels(!is_for_input_grad),
	                   .c = out,
	                   .a = {.tensor = x, .is_along = true},
	                   .b = factor_of(w, is_for_input_grad),
	                   .depth = x.cols,
	                   .beta = beta};

	multiply(&product);
}

void
cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows, Tensor cols)
{
	Product product = {.device = device,
	                   .kernels = kernels(false),
	                   .c = target,
	                   .a = {.tensor = rows},
	                   .b = {.tensor = cols},
	                   .depth = rows.rows,
	                   .beta = 1};

	multiply(&product);
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
	/* Every block may have scales. */
	return (size_t) (rows * cols * 2 +
	                 (w->transposed ? cols : rows) * blocks * 4);
}

/* The panels of all columns, one after the other, of blocks of the sum. */
static void
pack_columns(Device *device, const PairKernels *packing, uint32_t *target,
             const Factor *b, int64_t columns, int64_t depth)
{
	int64_t block = block_depth(depth);

#pragma omp parallel for schedule(static) if (columns * depth >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t j = 0; j < columns; j += BF16_COLS)
	{
		float *wide =
			cpu_scratch(device, (size_t) (BF16_COLS * wide_stride(block)));

		for (int64_t start = 0; wide != NULL && start < depth; start += block)
		{
			int64_t left = least(block, depth - start);
			int64_t pairs = round_up(left, 2 * BF16_PAIRS) / 2;

			pack_panel(packing, b,
			           target +
			               packed_at(packing, columns, j, start, block, pairs),
			           wide, j, (int) least(BF16_COLS, columns - j), start,
			           (int) left);
		}
	}
}

/* Asks for numbers [first, first + cols) of stored rows [row, row + rows), as
 * far as there are any: they are packed next. */
static void
fetch(const Tensor *stored, int64_t row, int64_t rows, int64_t first,
      int64_t cols)
{
	int64_t last_row = least(row + rows, stored->rows);
	int64_t last = least(first + cols, stored->cols);

	if (stored->dtype != DTYPE_F32)
		return;
	for (; row < last_row; row++)
		for (int64_t j = first; j < last; j += 16)
			__builtin_prefetch(
				(const float *) stored->data + row * stored->stride + j, 0, 2);
}

/* As pack_columns(), of weights that are stored across the sum, without scales: some
 * stored rows at a time, as memory is read fastest. */
static void
pack_across(Device *device, const PairKernels *packing, uint32_t *target,
            const Factor *b, int64_t columns, int64_t depth)
{
	int64_t block = block_depth(depth);
	int64_t slab = 2 * BF16_PAIRS;

#pragma omp parallel for schedule(static) if (columns * depth >                \
                                              CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < depth; i += slab)
	{
		int64_t start = i / block * block;
		int64_t left = least(block, depth - start);
		int64_t pairs = round_up(left, slab) / 2;
		float *wide =
			cpu_scratch(device, (size_t) (BF16_COLS * wide_stride(slab)));

		for (int64_t j = 0; wide != NULL && j < columns; j += BF16_COLS)
		{
			fetch(&b->tensor, i + slab, slab, j, BF16_COLS);
			pack_panel(packing, b,
			           target +
			               packed_at(packing, columns, j, start, block, pairs) +
			               (i - start) / 2 * BF16_COLS,
			           wide, j, (int) least(BF16_COLS, columns - j), i,
			           (int) least(slab, depth - i));
		}
	}
}

void
cpu_pack(Device *device, void *target, const Matrix *w, bool is_for_input_grad)
{
	Factor b = factor_of(w, is_for_input_grad);
	int64_t columns = b.is_along ? w->tensor.rows : w->tensor.cols;
	int64_t depth = b.is_along ? w->tensor.cols : w->tensor.rows;
	const PairKernels *packing = kernels(!is_for_input_grad);

	if (!is_for_input_grad && cpu_takes_codes(w))
		cpu_pack_codes(target, w);
	else if (b.is_along || b.turned != NULL || packing->has_scales)
		pack_columns(device, packing, target, &b, columns, depth);
	else
		pack_across(device, packing, target, &b, columns, depth);
}
