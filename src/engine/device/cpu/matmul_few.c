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

/* Products of two numbers in a piece of shared work, at least: microseconds. */
#define PIECE_WORK 65536

/* Columns of transposed weights a thread takes at a time. */
#define COLUMNS 256

/* Numbers [first, last) of a stored row: where they lie, or widened.  Apart,
 * as the compiler otherwise splits the loops below and vectorizes one half. */
__attribute__((noinline)) static const float *
read_row(const Tensor *stored, int64_t row, int64_t first, int64_t last,
         float *scratch)
{
	int64_t at = row * stored->stride + first;

	if (stored->dtype == DTYPE_F32)
		return (const float *) stored->data + at;
	dtype_read(scratch, stored->data, stored->dtype, at, last - first);
	return scratch;
}

/* out[i][j] for columns [first, last) of W stored [k, n]. */
CPU_KERNEL static void
few_by_columns(const Tensor *out, const Tensor *x, const Tensor *stored,
               float beta, int64_t first, int64_t last, float *scratch)
{
	for (int64_t i = 0; i < out->rows; i++)
	{
		float *at = (float *) out->data + i * out->stride;

		for (int64_t j = first; j < last; j++)
			at[j] = beta == 0 ? 0 : beta * at[j];
	}
	for (int64_t d = 0; d < x->cols; d++)
	{
		const float *row = read_row(stored, d, first, last, scratch);

		for (int64_t i = 0; i < out->rows; i++)
		{
			float in = ((const float *) x->data)[i * x->stride + d];
			float *at = (float *) out->data + i * out->stride + first;

#pragma omp simd
			for (int64_t j = 0; j < last - first; j++)
				at[j] += in * row[j];
		}
	}
}

static void
multiply_transposed(Device *device, Tensor out, Tensor x, const Tensor *stored,
                    float beta)
{
	int64_t n = out.cols;

#pragma omp parallel for schedule(static) if (n * x.cols >                     \
                                              16 * CPU_PARALLEL_MIN)
	for (int64_t first = 0; first < n; first += COLUMNS)
	{
		int64_t last = first + COLUMNS < n ? first + COLUMNS : n;
		float *scratch = cpu_scratch(device, COLUMNS);

		if (scratch != NULL)
			few_by_columns(&out, &x, stored, beta, first, last, scratch);
	}
}

/* ----------------------------------------------------- by dot products */

static const DotKernels *
kernels(void)
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

static float *
panel_of_thread(const Dots *p)
{
	return cpu_helper_number() == 0
	           ? p->panel
	           : cpu_scratch(p->device, (size_t) (PANEL_ROWS * p->w->cols));
}

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
	panel = panel_of_thread(p);
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

/* A piece has so many rows of weights that taking it costs little. */
static int64_t
grain_of(Tensor x)
{
	int64_t rows = PIECE_WORK / (x.rows * x.cols + 1);

	return (rows / PANEL_ROWS + 1) * PANEL_ROWS;
}

static void
multiply_by_dots(Device *device, Tensor out, Tensor x, const Tensor *w,
                 float beta)
{
	int64_t x_size = x.rows * padded(x.cols);
	float *scratch =
		cpu_scratch(device, (size_t) (x_size + PANEL_ROWS * w->cols));
	Dots dots = {device, out, x, w, beta, kernels(), NULL, 0, NULL};

	if (scratch == NULL)
		return;
	dots.of_one = find_of_one(dots.kernels, x, w);
	dots.row_bytes = (int64_t) dtype_bytes(w->dtype, w->stride);
	dots.panel = scratch + x_size;
	if (x.cols % DOT_PAD != 0)
		dots.x = padded_rows(scratch, x);
	cpu_share(device, w->rows, grain_of(x), multiply_rows, &dots);
}

bool
cpu_are_few(Tensor out, const Matrix *w)
{
	return out.rows <= (w->transposed ? 4 : 128);
}

void
cpu_multiply_few(Device *device, Tensor out, Tensor x, const Matrix *w,
                 float beta)
{
	if (w->transposed)
		multiply_transposed(device, out, x, &w->tensor, beta);
	else
		multiply_by_dots(device, out, x, &w->tensor, beta);
}
