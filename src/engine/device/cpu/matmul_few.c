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
	const char *isa = cpu_isa();

	if (strncmp(isa, "avx512", 6) == 0)
		return &dots_avx512;
	if (strcmp(isa, "avx2") == 0)
		return &dots_avx2;
#endif
	return &dots_portable;
}

/* ------------------------------------------- weights stored transposed */

typedef struct Columns
{
	Device *device;
	Tensor out;
	Tensor x;
	const Tensor *w;
	float beta;
	const DotKernels *kernels;
	float *panel; /* the caller's, [PANEL_DEPTH, PANEL_COLUMNS] */
} Columns;

/* The panel of the thread that calls. */
static float *
panel_of_thread(Device *device, float *panel, size_t size)
{
	return cpu_helper_number() == 0 ? panel : cpu_scratch(device, size);
}

/* Columns [first, first + cols) of out, by a panel of w at a time. */
static void
multiply_panels(const Columns *p, int64_t first, int64_t cols, float *panel)
{
	const Tensor *w = p->w;

	for (int64_t d = 0; d < w->rows; d += PANEL_DEPTH)
	{
		int64_t left = w->rows - d;
		int64_t depth = left < PANEL_DEPTH ? left : PANEL_DEPTH;

		for (int64_t r = 0; r < depth; r++)
			dtype_read(panel + r * cols, w->data, w->dtype,
			           (d + r) * w->stride + first, cols);
		p->kernels->columns((float *) p->out.data + first, p->out.stride,
		                    (float *) p->x.data + d, p->x.stride, p->x.rows,
		                    panel, cols, depth, cols, d == 0 ? p->beta : 1);
	}
}

/* Columns [first, last) of out. */
static void
multiply_columns(void *argument, int64_t first, int64_t last)
{
	const Columns *p = argument;
	const Tensor *w = p->w;
	float *panel;

	/* Few rows take the columns where they lie. */
	if (w->dtype == DTYPE_F32 && p->x.rows <= 4)
	{
		p->kernels->columns((float *) p->out.data + first, p->out.stride,
		                    p->x.data, p->x.stride, p->x.rows,
		                    (const float *) w->data + first, w->stride, w->rows,
		                    last - first, p->beta);
		return;
	}
	panel = panel_of_thread(p->device, p->panel, PANEL_DEPTH * PANEL_COLUMNS);
	for (int64_t j = first; panel != NULL && j < last; j += PANEL_COLUMNS)
		multiply_panels(
			p, j, last - j < PANEL_COLUMNS ? last - j : PANEL_COLUMNS, panel);
}

/* A piece has so many outputs, a multiple of `step`, that taking it costs
 * little. */
static int64_t
grain_of(Tensor x, int64_t step)
{
	int64_t outputs = CPU_PIECE_WORK / (x.rows * x.cols + 1);

	return (outputs / step + 1) * step;
}

static void
multiply_by_columns(Device *device, Tensor out, Tensor x, const Tensor *w,
                    float beta)
{
	Columns columns = {device,
	                   out,
	                   x,
	                   w,
	                   beta,
	                   cpu_dot_kernels(),
	                   cpu_scratch(device, PANEL_DEPTH * PANEL_COLUMNS)};

	if (columns.panel != NULL)
		cpu_share(device, w->cols, grain_of(x, PANEL_COLUMNS), multiply_columns,
		          &columns);
}

/* ----------------------------------------------------- by dot products */

static int64_t
padded(int64_t count)
{
	return (count + DOT_PAD - 1) / DOT_PAD * DOT_PAD;
}

typedef struct Dots
{
	Device *device;
	Tensor out;
	Tensor x; /* rows filled up with zeros */
	const Tensor *w;
	float beta;
	const DotKernels *kernels;
	DotsOfOne of_one; /* takes w as it is; NULL: widened, or fp32 */
	int64_t row_bytes;
	float *panel; /* the caller's, for rows to be widened */
} Dots;

/* Columns [first, last) of out. */
static void
multiply_rows(void *argument, int64_t first, int64_t last)
{
	const Dots *p = argument;
	float *panel;
	const Tensor *w = p->w;
	int64_t depth = w->cols;
	float *out = (float *) p->out.data;

	if (p->of_one != NULL)
	{
		p->of_one(out + first, p->x.data,
		          (const uint8_t *) w->data + first * p->row_bytes,
		          p->row_bytes, last - first, depth, p->beta);
		return;
	}
	if (w->dtype == DTYPE_F32)
	{
		p->kernels->dots(out + first, p->out.stride, p->x.data, p->x.stride,
		                 p->x.rows, (const float *) w->data + first * w->stride,
		                 w->stride, last - first, depth, p->beta);
		return;
	}
	panel = panel_of_thread(p->device, p->panel, (size_t) (PANEL_ROWS * depth));
	for (int64_t j = first; panel != NULL && j < last; j += PANEL_ROWS)
	{
		int64_t rows = last - j < PANEL_ROWS ? last - j : PANEL_ROWS;

		for (int64_t r = 0; r < rows; r++)
			dtype_read(panel + r * depth, w->data, w->dtype,
			           (j + r) * w->stride, depth);
		p->kernels->dots(out + j, p->out.stride, p->x.data, p->x.stride,
		                 p->x.rows, panel, depth, rows, depth, p->beta);
	}
}

/* x's rows into memory of their own, filled up with zeros. */
static Tensor
padded_rows(float *memory, Tensor x)
{
	Tensor copy = tensor_at(memory, x.rows, padded(x.cols));

	for (int64_t i = 0; i < x.rows; i++)
	{
		memcpy(cpu_row(copy, i), cpu_row(x, i),
		       (size_t) x.cols * sizeof(float));
		memset(cpu_row(copy, i) + x.cols, 0,
		       (size_t) (copy.cols - x.cols) * sizeof(float));
	}
	return copy;
}

/* How one row can take the weights as they are, or NULL. */
static DotsOfOne
find_of_one(const DotKernels *all, Tensor x, const Tensor *w)
{
	int block = dtype_block(w->dtype);

	if (x.rows > 1 || w->cols % DOT_PAD != 0 || w->stride % block != 0)
		return NULL;
	return all->of_one[w->dtype];
}

static void
multiply_by_dots(Device *device, Tensor out, Tensor x, const Tensor *w,
                 float beta)
{
	int64_t x_size = x.rows * padded(x.cols);
	float *scratch =
		cpu_scratch(device, (size_t) (x_size + PANEL_ROWS * w->cols));
	Dots dots = {device, out, x, w, beta, cpu_dot_kernels(), NULL, 0, NULL};

	if (scratch == NULL)
		return;
	dots.of_one = find_of_one(dots.kernels, x, w);
	dots.row_bytes = (int64_t) dtype_bytes(w->dtype, w->stride);
	dots.panel = scratch + x_size;
	if (x.cols % DOT_PAD != 0)
		dots.x = padded_rows(scratch, x);
	cpu_share(device, w->rows, grain_of(x, PANEL_ROWS), multiply_rows, &dots);
}

bool
cpu_are_few(Tensor out)
{
	return out.rows <= 128;
}

void
cpu_multiply_few(Device *device, Tensor out, Tensor x, const Matrix *w,
                 float beta)
{
	if (w->transposed)
		multiply_by_columns(device, out, x, &w->tensor, beta);
	else
		multiply_by_dots(device, out, x, &w->tensor, beta);
}
