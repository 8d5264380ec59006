/*
 * rows.c
 *		Whole rows moved and added: embeddings, caches, residuals.
 */
#include "device/cpu/cpu.h"

#include <string.h>

/* row = beta * row + numbers of a stored row, a piece at a time. */
static void
add_stored_row(float *row, const Tensor *table, int64_t index, float beta)
{
	float piece[512];
	int64_t most = sizeof(piece) / sizeof(piece[0]);

	for (int64_t first = 0; first < table->cols; first += most)
	{
		int64_t left = table->cols - first;
		int64_t count = left < most ? left : most;

		dtype_read(piece, table->data, table->dtype,
		           index * table->stride + first, count);
		for (int64_t j = 0; j < count; j++)
			row[first + j] = beta * row[first + j] + piece[j];
	}
}

static void
gather_row(float *row, int64_t cols, const Tensor *table, int32_t index,
           float beta)
{
	if (beta == 0)
		dtype_read(row, table->data, table->dtype, index * table->stride, cols);
	else
		add_stored_row(row, table, index, beta);
}

void
cpu_gather_rows(Device *device, Tensor out, Tensor table, const int32_t *index,
                float beta)
{
	(void) device;
	CPU_EACH(i, out.rows, 1, out.rows * out.cols > CPU_PARALLEL_MIN,
	         gather_row(cpu_row(out, i), out.cols, &table, index[i], beta));
}

void
cpu_scatter_rows(Device *device, Tensor target, Tensor source,
                 const int32_t *index)
{
	(void) device;
	for (int64_t i = 0; i < source.rows; i++)
		memcpy(cpu_row(target, index[i]), cpu_row(source, i),
		       (size_t) source.cols * sizeof(float));
}

/* Columns [first, last) of all rows. */
static void
scatter_add_columns(const Tensor *table, const Tensor *source,
                    const int32_t *index, int64_t first, int64_t last)
{
	for (int64_t i = 0; i < source->rows; i++)
	{
		float *row = cpu_row(*table, index[i]);
		const float *from = cpu_row(*source, i);

#pragma omp simd
		for (int64_t j = first; j < last; j++)
			row[j] += from[j];
	}
}

/* Indexes repeat, so threads divide the columns and keep the order of i. */
void
cpu_scatter_add_rows(Device *device, Tensor table, Tensor source,
                     const int32_t *index)
{
	int64_t piece = 64;

	(void) device;
	CPU_EACH(
		j, source.cols, piece, source.rows * source.cols > CPU_PARALLEL_MIN,
		scatter_add_columns(&table, &source, index, j,
	                        j + piece < source.cols ? j + piece : source.cols));
}

static void
regroup_row(float *to, const float *from, int heads, int parts, int width,
            bool inverse)
{
	for (int h = 0; h < heads; h++)
		for (int p = 0; p < parts; p++)
		{
			int by_head = (h * parts + p) * width;
			int by_part = (p * heads + h) * width;

			memcpy(to + (inverse ? by_head : by_part),
			       from + (inverse ? by_part : by_head),
			       (size_t) width * sizeof(float));
		}
}

void
cpu_regroup_heads(Device *device, Tensor out, Tensor x, int heads, int parts,
                  bool inverse)
{
	int width = (int) (x.cols / (heads * parts));

	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         regroup_row(cpu_row(out, i), cpu_row(x, i), heads, parts, width,
	                     inverse));
}

static void
add_row(float *out, const float *x, const float *y, int64_t n)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		out[j] = x[j] + y[j];
}

void
cpu_add(Device *device, Tensor out, Tensor a, Tensor b)
{
	(void) device;
	CPU_EACH(i, out.rows, 1, out.rows * out.cols > CPU_PARALLEL_MIN,
	         add_row(cpu_row(out, i), cpu_row(a, i), cpu_row(b, i), out.cols));
}

static void
scale_row(float *x, int64_t n, float factor)
{
#pragma omp simd
	for (int64_t j = 0; j < n; j++)
		x[j] *= factor;
}

void
cpu_scale(Device *device, Tensor x, float factor)
{
	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         scale_row(cpu_row(x, i), x.cols, factor));
}
