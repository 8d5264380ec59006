/*
 * matmul_bf16.c
 *		Matrix products of numbers rounded to bf16, in blocks that fit the
 *		caches.
 *
 * Each thread computes a rectangle of the result.  Of the factor that gives
 * the columns it packs panels for some megabytes, of the other one rows for
 * the second-level cache, and lets tiles of the result grow out of a panel and
 * a strip of rows.  The order of a sum follows from its length alone: a number
 * of the result depends on neither the threads nor the other rows.
 */
#include "device/cpu/matmul.h"
#include "device/cpu/matmul_bf16.h"

/* Numbers that are summed before they are added to the result, at most. */
#define DEPTH 1024

/* Pairs of all packed panels and of packed rows: 2 MiB and 256 KiB. */
#define PANEL_PAIRS (1 << 19)
#define ROW_PAIRS (1 << 16)

/* Products below this many multiplications stay on one thread. */
#define PARALLEL_MIN (1 << 20)

/* c[m, n] = beta c + a b^T, the sum of length depth.  A factor with the sum
 * along its stored rows is [m or n, depth], else it is [depth, m or n]. */
typedef struct Product
{
	Device *device;
	const Bf16Kernels *kernels;
	Tensor c;
	Tensor a;
	Tensor b;
	bool a_along;
	bool b_along;
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
	uint32_t *rows;   /* [block * BF16_ROWS, a_stride] */
	uint32_t *panels; /* [cols / BF16_COLS, depth / 2, BF16_COLS] */
	float *wide;      /* [BF16_COLS, depth], of weights that are not fp32 */
} Part;

static const Bf16Kernels *
kernels(void)
{
	const Bf16Kernels *native = bf16_avx512();

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

/* Sizes the blocks, and takes the scratch for them. */
static bool
begin_part(Part *part)
{
	int64_t depth = part->product->depth;
	int64_t blocks = (depth + DEPTH - 1) / DEPTH;
	int64_t rows = part->last_row - part->first_row;
	int64_t cols = round_up(part->last_col - part->first_col, BF16_COLS);
	int64_t pairs;

	part->depth = round_up((depth + blocks - 1) / blocks, 2 * BF16_PAIRS);
	pairs = part->depth / 2;
	part->strips = (rows + BF16_ROWS - 1) / BF16_ROWS;
	/* Rows a multiple of a page apart would fight for places in the cache. */
	part->a_stride = pairs + BF16_PAIRS;
	part->block = least(part->strips, ROW_PAIRS / pairs / BF16_ROWS);
	part->cols = least(cols, PANEL_PAIRS / pairs / BF16_COLS * BF16_COLS);
	part->rows = (uint32_t *) cpu_scratch(
		part->product->device,
		(size_t) (part->block * BF16_ROWS * part->a_stride +
	              part->cols * pairs + BF16_COLS * part->depth));
	part->panels = part->rows + part->block * BF16_ROWS * part->a_stride;
	part->wide = (float *) (part->panels + part->cols * pairs);
	return part->rows != NULL;
}

/* Packs a panel of the columns [first, first + cols) of a block of the sum. */
static void
pack_panel(const Part *part, uint32_t *panel, int64_t first, int cols,
           int64_t start, int depth)
{
	const Product *product = part->product;
	const Bf16Kernels *kernels = product->kernels;
	const Tensor *b = &product->b;
	bool along = product->b_along;
	int64_t at = along ? first * b->stride + start : start * b->stride + first;
	const float *source = (const float *) b->data + at;
	int64_t stride = b->stride;

	if (b->dtype != DTYPE_F32)
	{
		int width = along ? depth : cols;

		stride = along ? part->depth : BF16_COLS;
		for (int i = 0; i < (along ? cols : depth); i++)
			dtype_read(part->wide + i * stride, b->data, b->dtype,
			           at + i * b->stride, width);
		source = part->wide;
	}
	(along ? kernels->panel_along : kernels->panel_across)(panel, source,
	                                                       stride, cols, depth);
}

static void
pack_panels(const Part *part, int64_t first, int64_t cols, int64_t start,
            int depth)
{
	for (int64_t j = 0; j < cols; j += BF16_COLS)
		pack_panel(part, part->panels + j * part->depth / 2, first + j,
		           (int) least(BF16_COLS, cols - j), start, depth);
}

static void
pack_rows(const Part *part, int64_t first, int rows, int64_t start, int depth)
{
	const Product *product = part->product;
	const Tensor *a = &product->a;
	const float *data = a->data;

	if (product->a_along)
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
		for (int64_t s = strip; s < last; s++)
		{
			int64_t row = strip_row(part, s);

			product->kernels->tile(
				cpu_row(product->c, row) + first_col + j, product->c.stride,
				part->rows + (row - first_row) * part->a_stride, part->a_stride,
				part->panels + j * part->depth / 2, pairs,
				(int) (strip_row(part, s + 1) - row),
				(int) least(BF16_COLS, cols - j), beta);
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
	double best_cost = 0;
	int best = 1;

	for (int by_rows = 1; by_rows <= threads; by_rows++)
	{
		int by_cols = threads / by_rows;
		/* A panel is turned as it is packed, which takes twice as long. */
		double cost = (double) product->c.rows / by_rows +
		              2 * (double) product->c.cols / by_cols;

		if (threads % by_rows == 0 && (by_rows == 1 || cost < best_cost))
		{
			best = by_rows;
			best_cost = cost;
		}
	}
	return best;
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
	int64_t panels = round_up(n, BF16_COLS) / BF16_COLS;

	if (m == 0 || n == 0 || product->depth == 0)
		return;
#pragma omp parallel for schedule(static) if (threads > 1)
	for (int t = 0; t < threads; t++)
	{
		int64_t i = t % by_rows;
		int64_t j = t / by_rows;
		Part part = {.product = product,
		             .first_row = m * i / by_rows,
		             .last_row = m * (i + 1) / by_rows,
		             .first_col = panels * j / by_cols * BF16_COLS,
		             .last_col =
		                 least(n, panels * (j + 1) / by_cols * BF16_COLS)};

		if (part.first_row < part.last_row && part.first_col < part.last_col)
			multiply_part(&part);
	}
}

void
cpu_multiply_bf16(Device *device, Tensor out, Tensor x, const Tensor *stored,
                  bool sums_rows, float beta)
{
	Product product = {.device = device,
	                   .kernels = kernels(),
	                   .c = out,
	                   .a = x,
	                   .b = *stored,
	                   .a_along = true,
	                   .b_along = !sums_rows,
	                   .depth = x.cols,
	                   .beta = beta};

	multiply(&product);
}

void
cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows, Tensor cols)
{
	Product product = {.device = device,
	                   .kernels = kernels(),
	                   .c = target,
	                   .a = rows,
	                   .b = cols,
	                   .depth = rows.rows,
	                   .beta = 1};

	multiply(&product);
}
