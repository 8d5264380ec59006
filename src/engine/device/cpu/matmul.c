/*
 * matmul.c
 *		Matrix products on the CPU: oneDNN's sgemm, and kernels of our own for
 *		few rows (matmul_few.c) and for bf16 (matmul_bf16.c).
 *
 * Weights may be stored shorter than fp32.  They stay so: a panel of rows at a
 * time is widened into scratch that fits the cache and multiplied there.
 */
#include "device/cpu/matmul.h"

#include <oneapi/dnnl/dnnl.h>
#include <string.h>

/* A panel has this many numbers, and this many rows at least. */
#define PANEL_NUMBERS (1 << 19)
#define PANEL_ROWS 64

/* oneDNN takes other kernels for fewer rows, whose sums round differently
 * (2.6.3, found by comparing all numbers of rows). */
#define ALIKE_ROWS 16

/* C[m, n] = A'[m, k] B'[k, n] + beta C, row-major, ' by the letters. */
static void
gemm(Device *device, char a_letter, char b_letter, int64_t m, int64_t n,
     int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
     float beta, float *c, int64_t ldc)
{
	if (m == 0 || n == 0)
		return;
	if (dnnl_sgemm(a_letter, b_letter, m, n, k, 1.0f, a, lda, b, ldb, beta, c,
	               ldc) != dnnl_success)
		cpu_fail(device, FAILURE_DEVICE, "oneDNN could not multiply matrices");
}

/* Widens rows [first, first + rows) of a stored matrix. */
static void
read_panel(float *panel, const Tensor *stored, int64_t first, int64_t rows)
{
	int64_t cols = stored->cols;

	CPU_EACH(i, rows, 1, rows * cols > CPU_PARALLEL_MIN,
	         dtype_read(panel + i * cols, stored->data, stored->dtype,
	                    (first + i) * stored->stride, cols));
}

/* Rows of stored weights that are widened at a time. */
static int64_t
panel_rows(const Tensor *stored)
{
	int64_t most = PANEL_NUMBERS / (stored->cols + 1);

	if (most < PANEL_ROWS)
		most = PANEL_ROWS;
	return most > stored->rows ? stored->rows : most;
}

/*
 * out = x @ S + beta out if the sum runs along the rows of S, x @ S^T +
 * beta out if it runs along its columns; S as stored.
 */
static void
multiply(Device *device, Tensor out, Tensor x, const Tensor *stored,
         bool sums_rows, float beta)
{
	char letter = sums_rows ? 'N' : 'T';
	int64_t most = panel_rows(stored);
	float *panel;

	if (stored->dtype == DTYPE_F32)
	{
		gemm(device, 'N', letter, out.rows, out.cols, x.cols, x.data, x.stride,
		     stored->data, stored->stride, beta, out.data, out.stride);
		return;
	}
	panel = cpu_scratch(device, (size_t) (most * stored->cols));
	for (int64_t first = 0; panel != NULL && first < stored->rows;
	     first += most)
	{
		int64_t left = stored->rows - first;
		int64_t rows = left < most ? left : most;
		Tensor to = sums_rows ? out : tensor_columns(out, first, rows);
		Tensor from = sums_rows ? tensor_columns(x, first, rows) : x;

		read_panel(panel, stored, first, rows);
		gemm(device, 'N', letter, to.rows, to.cols, from.cols, from.data,
		     from.stride, panel, stored->cols,
		     sums_rows && first > 0 ? 1 : beta, to.data, to.stride);
	}
}

static void
copy_rows(Tensor to, Tensor from, int64_t rows)
{
	for (int64_t i = 0; i < rows; i++)
		memcpy(cpu_row(to, i), cpu_row(from, i),
		       (size_t) from.cols * sizeof(float));
}

/* The same by the kernels of many rows: filled up with zeros. */
static void
multiply_as_many(Device *device, Tensor out, Tensor x, const Tensor *stored,
                 bool sums_rows, float beta)
{
	/* multiply() takes the begin of the same scratch for its panel. */
	int64_t panel = panel_rows(stored) * stored->cols;
	float *scratch = cpu_scratch(
		device, (size_t) (panel + ALIKE_ROWS * (x.cols + out.cols)));
	Tensor from;
	Tensor to;

	if (scratch == NULL)
		return;
	from = tensor_at(scratch + panel, ALIKE_ROWS, x.cols);
	to = tensor_at(scratch + panel + ALIKE_ROWS * x.cols, ALIKE_ROWS, out.cols);
	memset(from.data, 0,
	       sizeof(float) * ALIKE_ROWS * (size_t) (x.cols + out.cols));
	copy_rows(from, x, x.rows);
	copy_rows(to, out, out.rows);
	multiply(device, to, from, stored, sums_rows, beta);
	copy_rows(out, to, out.rows);
}

CPU_KERNEL static void
add_bias_rows(const Tensor *out, const float *bias, int64_t first, int64_t last)
{
	for (int64_t i = first; i < last; i++)
	{
		float *row = (float *) out->data + i * out->stride;

#pragma omp simd
		for (int64_t j = 0; j < out->cols; j++)
			row[j] += bias[j];
	}
}

static void
add_bias(Tensor out, const float *bias)
{
	int64_t piece = 16;

	CPU_EACH(i, out.rows, piece, out.rows * out.cols > CPU_PARALLEL_MIN,
	         add_bias_rows(&out, bias, i,
	                       i + piece < out.rows ? i + piece : out.rows));
}

void
cpu_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
           const Tensor *bias, float beta)
{
	/* Packed weights are half as long, and serve any number of rows. */
	if (device->products == DTYPE_BF16 && w->packed != NULL &&
	    cpu_takes_codes(w))
		cpu_multiply_codes(device, out, x, w, beta);
	else if (device->products == DTYPE_BF16 &&
	         (w->packed != NULL || !cpu_are_few(device, out)))
		cpu_multiply_bf16(device, out, x, w, false, beta);
	else if (cpu_are_few(device, out))
		cpu_multiply_few(device, out, x, w, beta);
	else if (device->rows_alike && out.rows < ALIKE_ROWS)
		multiply_as_many(device, out, x, &w->tensor, w->transposed, beta);
	else
		multiply(device, out, x, &w->tensor, w->transposed, beta);
	if (bias != NULL)
		add_bias(out, bias->data);
}

void
cpu_matmul_input_grad(Device *device, Tensor dx, Tensor dout, const Matrix *w,
                      float beta)
{
	if (device->products == DTYPE_BF16)
		cpu_multiply_bf16(device, dx, dout, w, true, beta);
	else
		multiply(device, dx, dout, &w->tensor, !w->transposed, beta);
}

/* Column sums of 64 columns, in groups of 64 rows so that rounding errors
 * grow with the number of groups and not of rows. */
CPU_KERNEL static void
sum_columns(const Tensor *x, int64_t first, int64_t last, float *sum)
{
	int64_t width = last - first;

	for (int64_t start = 0; start < x->rows; start += 64)
	{
		int64_t end = start + 64 < x->rows ? start + 64 : x->rows;
		float part[64] = {0};

		for (int64_t i = start; i < end; i++)
		{
			const float *row = (const float *) x->data + i * x->stride + first;

#pragma omp simd
			for (int64_t j = 0; j < width; j++)
				part[j] += row[j];
		}
		for (int64_t j = 0; j < width; j++)
			sum[j] += part[j];
	}
}

static void
add_column_sums(Tensor x, float *sum)
{
	int64_t piece = 64;

	CPU_EACH(
		j, x.cols, piece, x.rows * x.cols > CPU_PARALLEL_MIN,
		sum_columns(&x, j, j + piece < x.cols ? j + piece : x.cols, sum + j));
}

void
cpu_matmul_weight_grad(Device *device, const Matrix *dw, const Tensor *dbias,
                       Tensor dout, Tensor x)
{
	Tensor target = dw->tensor;
	Tensor rows = dw->transposed ? x : dout;
	Tensor cols = dw->transposed ? dout : x;

	cpu_turn_begin(device);
	if (device->products == DTYPE_BF16)
		cpu_multiply_bf16_grad(device, target, rows, cols);
	else
		gemm(device, 'T', 'N', rows.cols, cols.cols, rows.rows, rows.data,
		     rows.stride, cols.data, cols.stride, 1, target.data,
		     target.stride);
	if (dbias != NULL)
		add_column_sums(dout, dbias->data);
	cpu_turn_end(device);
}
