/*
 * matmul.c
 *		Matrix products on the CPU: oneDNN's sgemm, and a plain loop for the
 *		few rows of token-by-token generation, where a library call costs more
 *		than the product.
 *
 * Weights may be stored shorter than fp32.  They stay so: a panel of rows at a
 * time is widened into scratch that fits the cache and multiplied there.
 */
#include "device/cpu/cpu.h"

#include <oneapi/dnnl/dnnl.h>

/* Up to this many rows are multiplied by reading the weights once. */
#define FEW_ROWS 4

/* A panel has this many numbers, and this many rows at least. */
#define PANEL_NUMBERS (1 << 19)
#define PANEL_ROWS 64

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

#pragma omp parallel for schedule(static) if (rows * cols > CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < rows; i++)
		dtype_read(panel + i * cols, stored->data, stored->dtype,
		           (first + i) * stored->stride, cols);
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
	int64_t most = PANEL_NUMBERS / (stored->cols + 1);
	float *panel;

	if (stored->dtype == DTYPE_F32)
	{
		gemm(device, 'N', letter, out.rows, out.cols, x.cols, x.data, x.stride,
		     stored->data, stored->stride, beta, out.data, out.stride);
		return;
	}
	if (most < PANEL_ROWS)
		most = PANEL_ROWS;
	if (most > stored->rows)
		most = stored->rows;
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

/* out[i][j] for columns [first, last) of W stored [n, k]. */
CPU_KERNEL static void
few_rows_by_dots(const Tensor *out, const Tensor *x, const Matrix *w,
                 float beta, int64_t first, int64_t last, float *scratch)
{
	int64_t k = x->cols;

	for (int64_t j = first; j < last; j++)
	{
		const float *row = read_row(&w->tensor, j, 0, k, scratch);

		for (int64_t i = 0; i < out->rows; i++)
		{
			const float *in = (const float *) x->data + i * x->stride;
			float *at = (float *) out->data + i * out->stride + j;
			float sum = 0;

#pragma omp simd reduction(+ : sum)
			for (int64_t d = 0; d < k; d++)
				sum += in[d] * row[d];
			*at = sum + (beta == 0 ? 0 : beta * *at);
		}
	}
}

/* The same for W stored [k, n]. */
CPU_KERNEL static void
few_rows_by_columns(const Tensor *out, const Tensor *x, const Matrix *w,
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
		const float *row = read_row(&w->tensor, d, first, last, scratch);

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
few_rows(Device *device, Tensor out, Tensor x, const Matrix *w, float beta)
{
	int64_t n = out.cols;
	int64_t piece = 256;
	int64_t pieces = (n + piece - 1) / piece;

#pragma omp parallel for schedule(static) if (n * x.cols >                     \
                                              16 * CPU_PARALLEL_MIN)
	for (int64_t p = 0; p < pieces; p++)
	{
		int64_t first = p * piece;
		int64_t last = first + piece < n ? first + piece : n;
		float *scratch = cpu_scratch(
			device, (size_t) (w->transposed ? piece : w->tensor.cols));

		if (scratch == NULL)
			continue;
		if (w->transposed)
			few_rows_by_columns(&out, &x, w, beta, first, last, scratch);
		else
			few_rows_by_dots(&out, &x, w, beta, first, last, scratch);
	}
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

#pragma omp parallel for schedule(static) if (out.rows * out.cols >            \
                                              CPU_PARALLEL_MIN)
	for (int64_t i = 0; i < out.rows; i += piece)
		add_bias_rows(&out, bias, i,
		              i + piece < out.rows ? i + piece : out.rows);
}

void
cpu_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
           const Tensor *bias, float beta)
{
	if (out.rows <= FEW_ROWS)
		few_rows(device, out, x, w, beta);
	else
		multiply(device, out, x, &w->tensor, w->transposed, beta);
	if (bias != NULL)
		add_bias(out, bias->data);
}

void
cpu_matmul_input_grad(Device *device, Tensor dx, Tensor dout, const Matrix *w,
                      float beta)
{
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

void
cpu_matmul_weight_grad(Device *device, const Matrix *dw, const Tensor *dbias,
                       Tensor dout, Tensor x)
{
	Tensor target = dw->tensor;

	if (dw->transposed)
		gemm(device, 'T', 'N', x.cols, dout.cols, x.rows, x.data, x.stride,
		     dout.data, dout.stride, 1, target.data, target.stride);
	else
		gemm(device, 'T', 'N', dout.cols, x.cols, x.rows, dout.data,
		     dout.stride, x.data, x.stride, 1, target.data, target.stride);
	if (dbias == NULL)
		return;
#pragma omp parallel for schedule(static) if (dout.rows * dout.cols >          \
                                              CPU_PARALLEL_MIN)
	for (int64_t j = 0; j < dout.cols; j += 64)
		sum_columns(&dout, j, j + 64 < dout.cols ? j + 64 : dout.cols,
		            (float *) dbias->data + j);
}
