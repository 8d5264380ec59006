/*
 * matmul_bf16.c
 *		Matrix products of numbers rounded to 16 bits, in blocks that fit the
 *		caches.
 *
 * Each thread computes a rectangle of the result.  Of the factor that gives
 * the rows it packs some for the second-level cache, of the other one panels,
 * unless they come packed, and lets tiles of the result grow out of a panel and
 * a strip of rows.  Where all rows fit, each panel is packed for the first
 * cache when its turn comes, else some megabytes of them before the rows.  The
 * order of a sum follows from its length alone: a number of the result depends
 * on neither the threads nor the other rows.
 */
#include "device/cpu/held.h"
#include "device/cpu/matmul.h"
#include "device/cpu/panels.h"

/* Pairs of all packed panels and of packed rows: 2 MiB and 256 KiB; twice that
 * of rows which have them twice, as AMX comes with 2 MiB of cache a core. */
#define PANEL_PAIRS (1 << 19)
#define ROW_PAIRS (1 << 16)

/* Of rows that are packed at once, so that each panel is used up as soon as it
 * is packed: 512 KiB. */
#define ROW_PAIRS_IN_TURN (1 << 17)

/* Products below this many multiplications stay on one thread. */
#define PARALLEL_MIN (1 << 20)

/* c[m, n] = beta c + a b^T, the sum of length depth. */
typedef struct Product
{
	Device *device;
	const PairKernels *kernels;
	Tensor c;
	Tensor a;
	bool a_is_along; /* [m, depth], else [depth, m] */
	Columns b;
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
	int64_t height;   /* of the last strips; */
	int64_t higher;   /* so many before have a row more */
	int64_t depth;    /* of a block: a multiple of 2 BF16_PAIRS */
	int64_t cols;     /* of a block: a multiple of BF16_COLS */
	bool in_turn;     /* each panel is packed when all rows are there */
	int64_t block;    /* strips of a block */
	int64_t a_stride; /* pairs */
	uint32_t *rows;   /* [block strips, a_stride] */
	uint32_t *held;   /* [blocks of depth, rows, a_stride], in place of these;
	                   * or NULL */
	bool is_held;     /* it is packed */
	uint32_t *panels; /* [cols / BF16_COLS, panel_lines(), BF16_COLS]; one
	                   * if in_turn */
	float *wide;      /* panel_scratch(), of weights that are not
	                   * fp32 */
} Part;

const PairKernels *
bf16_native(void)
{
	const PairKernels *amx = bf16_amx();

	return amx != NULL ? amx : bf16_avx512();
}

static const PairKernels *
int16_native(void)
{
	const PairKernels *amx = int16_amx();

	return amx != NULL ? amx : int16_avx512();
}

const PairKernels *
bf16_kernels(bool is_forward)
{
	const PairKernels *native = is_forward ? int16_native() : bf16_native();

	if (native != NULL)
		return native;
	return is_forward ? &int16_portable : &bf16_portable;
}

/* The first row of a strip; all are of about the same height. */
static int64_t
strip_row(const Part *part, int64_t strip)
{
	return part->first_row + strip * part->height + least(strip, part->higher);
}

/* What other products read of the rows, too, if one thread has all. */
static void
find_held(Part *part)
{
	const Product *product = part->product;
	int64_t blocks = (product->depth + part->depth - 1) / part->depth;
	int64_t rows = part->last_row - part->first_row;

	if (product->a_is_along && rows == product->c.rows)
		part->held = held_rows(product->device, &product->a, product->kernels,
		                       (size_t) ((blocks * rows + 1) * part->a_stride),
		                       &part->is_held);
}

/* Sizes the blocks, and takes the scratch for them. */
static bool
begin_part(Part *part)
{
	const Columns *b = &part->product->b;
	const PairKernels *kernels = part->product->kernels;
	int height = kernels->rows;
	int64_t rows = part->last_row - part->first_row;
	int64_t cols = round_up(part->last_col - part->first_col, BF16_COLS);
	int64_t pairs, panels, packed, count;

	part->depth = panels_block(part->product->depth);
	pairs = part->depth / 2;
	part->strips = (rows + height - 1) / height;
	part->height = rows / part->strips;
	part->higher = rows % part->strips;
	part->in_turn =
		b->packed == NULL && part->strips * height * pairs <= ROW_PAIRS_IN_TURN;
	/* Rows a multiple of a page apart would fight for places in the cache;
	 * and the first place behind them is for a scale. */
	part->a_stride = pairs * kernels->row_size + BF16_PAIRS;
	part->block = part->in_turn
	                  ? part->strips
	                  : least(part->strips, ROW_PAIRS / pairs / height);
	part->cols = part->in_turn
	                 ? cols
	                 : least(cols, PANEL_PAIRS / pairs / BF16_COLS * BF16_COLS);
	panels =
		(part->in_turn ? BF16_COLS : part->cols) * panel_lines(kernels, pairs);
	find_held(part);
	packed = part->held != NULL ? 0 : part->block * height * part->a_stride;
	count =
		packed + (b->packed != NULL ? 0 : panels + panel_scratch(part->depth));
	part->rows = count == 0 ? part->held
	                        : (uint32_t *) cpu_scratch(part->product->device,
	                                                   (size_t) count);
	part->panels = part->rows + packed;
	part->wide = (float *) (part->panels + panels);
	return part->rows != NULL;
}

static void
pack_panels(const Part *part, int64_t first, int64_t cols, int64_t start,
            int depth)
{
	const Product *product = part->product;
	int64_t lines = panel_lines(product->kernels, part->depth / 2);

	for (int64_t j = 0; j < cols; j += BF16_COLS)
		panel_pack(product->kernels, &product->b, part->panels + j * lines,
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

	if (part->in_turn)
		return part->panels;
	if (product->b.packed == NULL)
		return part->panels +
		       (column - first_col) * panel_lines(kernels, part->depth / 2);
	return product->b.packed + panels_at(kernels, product->c.cols, column,
	                                     start, part->depth, pairs);
}

/* Packs rows of a block, or finds them held. */
static void
pack_rows(Part *part, int64_t first, int rows, int64_t start, int depth)
{
	const Product *product = part->product;
	const Tensor *a = &product->a;
	const float *data = a->data;

	if (part->held != NULL)
		part->rows = part->held + (start / part->depth * product->c.rows +
		                           first - part->first_row) *
		                              part->a_stride;
	if (part->is_held)
		return;
	if (product->a_is_along)
		product->kernels->rows_along(part->rows, part->a_stride,
		                             data + first * a->stride + start,
		                             a->stride, rows, depth);
	else
		product->kernels->rows_across(part->rows, part->a_stride,
		                              data + start * a->stride + first,
		                              a->stride, rows, depth);
}

/* What the panel behind this one is made of, as it comes from far where
 * products take turns with others.  Gives the number of parts. */
static int
list_ahead(const Part *part, int64_t column, int64_t start, int64_t pairs,
           const uint32_t *panel, PairsAhead ahead[PANEL_PARTS])
{
	const Product *product = part->product;

	if (part->in_turn)
		return panel_parts(&product->b, column + BF16_COLS, start, pairs,
		                   ahead);
	return panel_parts_packed(
		panel + panel_lines(product->kernels, pairs) * BF16_COLS, pairs, ahead);
}

/* How many tiles divide a part, so that each fetches as few lines at a time as
 * it takes. */
static int64_t
tiles_of_part(int parts, int64_t pairs, int64_t tiles)
{
	int64_t each = parts == 0 ? 1 : least(tiles / parts, pairs / BF16_PAIRS);

	return each < 1 ? 1 : each;
}

/* The share of the parts that the tile number `left` from the end fetches,
 * where `each` tiles divide a part; NULL: none. */
static const PairsAhead *
share_ahead(const PairsAhead *ahead, int parts, int64_t pairs, int64_t each,
            int64_t left, PairsAhead *share)
{
	int64_t lines = round_up((pairs + each - 1) / each, BF16_PAIRS);

	if (left >= parts * each)
		return NULL;
	*share = ahead[left / each];
	share->at = (const char *) share->at +
	            left % each * lines / BF16_PAIRS * share->jump;
	share->pairs = each;
	return share;
}

/* The tiles of packed panels and the packed rows of strips [strip, last). */
static void
multiply_block(const Part *part, int64_t strip, int64_t last, int64_t first_col,
               int64_t cols, int64_t start, int depth)
{
	const Product *product = part->product;
	int64_t first_row = strip_row(part, strip);
	int64_t pairs = round_up(depth, 2 * BF16_PAIRS) / 2;
	/* Of the zeros behind them as few as can be. */
	int64_t summed = round_up((depth + 1) / 2, product->kernels->step);
	/* What earlier blocks of the sum left is kept. */
	float beta = start == 0 ? product->beta : 1;

	if (product->kernels->begin != NULL)
		product->kernels->begin((int) (strip_row(part, strip + 1) - first_row));
	for (int64_t j = 0; j < cols; j += BF16_COLS)
	{
		int64_t column = first_col + j;
		const uint32_t *panel = panel_at(part, first_col, column, start, pairs);
		PairsAhead ahead[PANEL_PARTS];
		PairsAhead share;
		int parts = list_ahead(part, column, start, pairs, panel, ahead);
		int64_t each = tiles_of_part(parts, pairs, last - strip);

		if (part->in_turn)
			panel_pack(product->kernels, &product->b, part->panels, part->wide,
			           column, (int) least(BF16_COLS, cols - j), start, depth);
		for (int64_t s = strip; s < last; s++)
		{
			int64_t row = strip_row(part, s);

			product->kernels->tile(
				cpu_row(product->c, row) + column, product->c.stride,
				part->rows + (row - first_row) * part->a_stride, part->a_stride,
				panel, summed, (int) (strip_row(part, s + 1) - row),
				(int) least(BF16_COLS, cols - j), beta,
				share_ahead(ahead, parts, pairs, each, last - 1 - s, &share));
		}
	}
	if (product->kernels->end != NULL)
		product->kernels->end();
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

			if (product->b.packed == NULL && !part->in_turn)
				pack_panels(part, col, cols, start, depth);
			for (int64_t s = 0; s < part->strips; s += part->block)
			{
				int64_t last = least(s + part->block, part->strips);
				int64_t row = strip_row(part, s);

				pack_rows(part, row, (int) (strip_row(part, last) - row), start,
				          depth);
				multiply_block(part, s, last, col, cols, start, depth);
			}
			if (part->held != NULL && start + depth == product->depth)
				part->is_held = true;
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

void
cpu_multiply_bf16(Device *device, Tensor out, Tensor x, const Matrix *w,
                  bool is_for_input_grad, float beta)
{
	Product product = {.device = device,
	                   .kernels = bf16_kernels(!is_for_input_grad),
	                   .c = out,
	                   .a = x,
	                   .a_is_along = true,
	                   .b = panels_of(w, is_for_input_grad),
	                   .depth = x.cols,
	                   .beta = beta};

	multiply(&product);
}

void
cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows, Tensor cols)
{
	Product product = {.device = device,
	                   .kernels = bf16_kernels(false),
	                   .c = target,
	                   .a = rows,
	                   .b = {.tensor = cols},
	                   .depth = rows.rows,
	                   .beta = 1};

	multiply(&product);
}
