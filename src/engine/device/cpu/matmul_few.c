/*
 * matmul_few.c
 *		Products of the few rows of token-by-token generation, where a library
 *		call costs more than the product: plain loops that read the weights
 *		once.
 */
#include "device/cpu/matmul.h"

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

void
cpu_multiply_few(Device *device, Tensor out, Tensor x, const Matrix *w,
                 float beta)
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
