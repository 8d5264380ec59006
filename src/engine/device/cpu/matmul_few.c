/*
 * matmul_few.c
 *		Products of few rows, as generation has them: dot products with rows of
 *		weights that are read once.
 */
#include "device/cpu/matmul_few.h"

#include "device/cpu/matmul.h"

#include <string.h>

/* Rows of weights are widened this many at a time. */
#define PANEL_ROWS 16

/* Of transposed weights so many rows and columns, which fit the cache. */
#define PANEL_DEPTH 256
#define PANEL_COLUMNS 64

const DotKernels *
cpu_dot_kernels(void)
{
#ifdef __x86_64__
	if (cpu_vectors() == VECTORS_AVX512)
		return &dots_avx512;
	if (cpu_vectors() == VECTORS_AVX2)
		return &dots_avx2;
#endif
	return &dots_portable;
}

/* A product, and how its weights are read. */
typedef struct Few
{
	Device *device;
	Tensor out;
	Tensor x;
	const Tensor *w;
	float beta;
	const DotKernels *kernels;
	DotsOfOne of_one; /* takes w as it is; NULL: widened, or fp32 */
	int64_t row_bytes;
	float *panel; /* of the caller's, for weights to be widened */
	size_t panel_size;
} Few;

/* The panel of the thread that calls, or NULL (failure kept). */
static float *
panel_of_thread(const Few *few)
{
	return cpu_helper_number() == 0 ? few->panel
	                                : cpu_scratch(few->device, few->panel_size);
}

/* Numbers [first, first + count) of w, as fp32. */
static void
read_numbers(const Few *few, float *to, int64_t first, int64_t count)
{
	const Tensor *w = few->w;

	if (few->kernels->widen[w->dtype] != NULL && first % DOT_PAD == 0 &&
	    count % DOT_PAD == 0)
		few->kernels->widen[w->dtype](
			to, (const uint8_t *) w->data + dtype_bytes(w->dtype, first),
			count);
	else
		dtype_read(to, w->data, w->dtype, first, count);
}

/* panel[rows][cols] = w[row...][col...], as fp32 */
static void
read_panel(const Few *few, float *panel, int64_t row, int64_t rows, int64_t col,
           int64_t cols)
{
	const Tensor *w = few->w;

	for (int64_t r = 0; r < rows; r++)
		read_numbers(few, panel + r * cols, (row + r) * w->stride + col, cols);
}

/* A piece has so many outputs, a multiple of `step`, that taking it costs
 * little. */
static int64_t
grain_of(Tensor x, int64_t step)
{
	int64_t outputs = CPU_PIECE_WORK / (x.rows * x.cols + 1);

	return (outputs / step + 1) * step;
}

/* ------------------------------------------- weights stored transposed */

/* Columns [first, first + cols) of out, by a panel of w at a time. */
static void
multiply_panels(const Few *few, int64_t first, int64_t cols, float *panel)
{
	int64_t all = few->w->rows;

	for (int64_t d = 0; d < all; d += PANEL_DEPTH)
	{
		int64_t depth = all - d < PANEL_DEPTH ? all - d : PANEL_DEPTH;

		read_panel(few, panel, d, depth, first, cols);
		few->kernels->columns((float *) few->out.data + first, few->out.stride,
		                      (float *) few->x.data + d, few->x.stride,
		                      few->x.rows, panel, cols, depth, cols,
		                      d == 0 ? few->beta : 1);
	}
}

/* Columns [first, last) of out. */
static void
multiply_columns(void *argument, int64_t first, int64_t last)
{
	const Few *few = argument;
	const Tensor *w = few->w;
	float *panel;

	/* A tile's rows take the columns where they lie. */
	if (w->dtype == DTYPE_F32 && few->x.rows <= 4)
	{
		few->kernels->columns((float *) few->out.data + first, few->out.stride,
		                      few->x.data, few->x.stride, few->x.rows,
		                      (const float *) w->data + first, w->stride,
		                      w->rows, last - first, few->beta);
		return;
	}
	panel = panel_of_thread(few);
	for (int64_t j = first; panel != NULL && j < last; j += PANEL_COLUMNS)
		multiply_panels(
			few, j, last - j < PANEL_COLUMNS ? last - j : PANEL_COLUMNS, panel);
}

/* ----------------------------------------------------- by dot products */

/* Columns [first, last) of out. */
static void
multiply_rows(void *argument, int64_t first, int64_t last)
{
	const Few *few = argument;
	const Tensor *w = few->w;
	int64_t depth = w->cols;
	float *out = (float *) few->out.data;
	float *panel;

	if (few->of_one != NULL)
	{
		few->of_one(out + first, few->x.data,
		            (const uint8_t *) w->data + first * few->row_bytes,
		            few->row_bytes, last - first, depth, few->beta);
		return;
	}
	if (w->dtype == DTYPE_F32)
	{
		few->kernels->dots(out + first, few->out.stride, few->x.data,
		                   few->x.stride, few->x.rows,
		                   (const float *) w->data + first * w->stride,
		                   w->stride, last - first, depth, few->beta);
		return;
	}
	panel = panel_of_thread(few);
	for (int64_t j = first; panel != NULL && j < last; j += PANEL_ROWS)
	{
		int64_t rows = last - j < PANEL_ROWS ? last - j : PANEL_ROWS;

		read_panel(few, panel, j, rows, 0, depth);
		few->kernels->dots(out + j, few->out.stride, few->x.data, few->x.stride,
		                   few->x.rows, panel, depth, rows, depth, few->beta);
	}
}

/* How one row can take the weights as they are, or NULL. */
static DotsOfOne
find_of_one(const Few *few)
{
	const Tensor *w = few->w;

	if (few->x.rows > 1 || w->cols % DOT_PAD != 0 ||
	    w->stride % dtype_block(w->dtype) != 0)
		return NULL;
	return few->kernels->of_one[w->dtype];
}

/* ---------------------------------------------------------------- both */

static int64_t
padded_width(int64_t count)
{
	return (count + DOT_PAD - 1) / DOT_PAD * DOT_PAD;
}

/* x's rows into memory of their own, filled up with zeros. */
static void
copy_rows(Few *few, float *memory, Tensor x)
{
	Tensor copy = tensor_at(memory, x.rows, padded_width(x.cols));

	for (int64_t i = 0; i < x.rows; i++)
	{
		memcpy(cpu_row(copy, i), cpu_row(x, i),
		       (size_t) x.cols * sizeof(float));
		memset(cpu_row(copy, i) + x.cols, 0,
		       (size_t) (copy.cols - x.cols) * sizeof(float));
	}
	few->x = copy;
}

bool
cpu_are_few(const Device *device, Tensor out)
{
	return !device->rows_alike &&
	       out.rows <= (device->products == DTYPE_BF16 ? 8 : 128);
}

void
cpu_multiply_few(Device *device, Tensor out, Tensor x, const Matrix *w,
                 float beta)
{
	const Tensor *stored = &w->tensor;
	int64_t size = x.rows * padded_width(x.cols);
	Few few = {
		.device = device,
		.out = out,
		.x = x,
		.w = stored,
		.beta = beta,
		.kernels = cpu_dot_kernels(),
		.row_bytes = (int64_t) dtype_bytes(stored->dtype, stored->stride),
		.panel_size = w->transposed ? PANEL_DEPTH * PANEL_COLUMNS
	                                : (size_t) (PANEL_ROWS * stored->cols)};
	float *scratch = cpu_scratch(device, (size_t) size + few.panel_size);

	if (scratch == NULL)
		return;
	few.panel = scratch + size;
	if (!w->transposed && x.cols % DOT_PAD != 0)
		copy_rows(&few, scratch, x);
	if (w->transposed)
	{
		cpu_share(device, stored->cols, grain_of(x, PANEL_COLUMNS),
		          multiply_columns, &few);
		return;
	}
	few.of_one = find_of_one(&few);
	cpu_share(device, stored->rows, grain_of(x, PANEL_ROWS), multiply_rows,
	          &few);
}
