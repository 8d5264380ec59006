/*
 * norm.c
 *		LayerNorm and RMSNorm, forward and backward.
 */
#include "device/cpu/cpu.h"

#include <math.h>

CPU_KERNEL static void
norm_row(NormKind kind, float eps, int64_t n, float *out, const float *x,
         const float *weight, const float *bias, float *stat)
{
	float mean = 0;
	float squares = 0;
	float scale;

	if (kind == NORM_LAYER)
	{
#pragma omp simd reduction(+ : mean)
		for (int64_t j = 0; j < n; j++)
			mean += x[j];
		mean /= (float) n;
	}
#pragma omp simd reduction(+ : squares)
	for (int64_t j = 0; j < n; j++)
		squares += (x[j] - mean) * (x[j] - mean);
	scale = 1.0f / sqrtf(squares / (float) n + eps);
	if (bias != NULL)
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = (x[j] - mean) * scale * weight[j] + bias[j];
	}
	else
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			out[j] = (x[j] - mean) * scale * weight[j];
	}
	stat[0] = mean;
	stat[1] = scale;
}

void
cpu_norm(Device *device, NormKind kind, float eps, Tensor out, Tensor x,
         Tensor weight, const Tensor *bias, Tensor stat)
{
	const float *b = bias == NULL ? NULL : bias->data;

	(void) device;
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         norm_row(kind, eps, x.cols, cpu_row(out, i), cpu_row(x, i),
	                  weight.data, b, cpu_row(stat, i)));
}

/*
 * With z = (x - mean) * scale and g = dout * weight:
 * dx = scale * (g - z * mean(g z) [- mean(g) for LayerNorm]).
 */
CPU_KERNEL static void
norm_grad_row(NormKind kind, int64_t n, float *dx, float beta,
              const float *dout, const float *x, const float *weight,
              const float *stat)
{
	float mean = stat[0];
	float scale = stat[1];
	float along = 0;
	float total = 0;

#pragma omp simd reduction(+ : along, total)
	for (int64_t j = 0; j < n; j++)
	{
		float g = dout[j] * weight[j];

		along += g * (x[j] - mean);
		total += g;
	}
	along *= scale / (float) n;
	total = kind == NORM_LAYER ? total / (float) n : 0;
	if (beta == 0)
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			dx[j] = scale * (dout[j] * weight[j] -
			                 (x[j] - mean) * scale * along - total);
	}
	else
	{
#pragma omp simd
		for (int64_t j = 0; j < n; j++)
			dx[j] =
				beta * dx[j] + scale * (dout[j] * weight[j] -
			                            (x[j] - mean) * scale * along - total);
	}
}

/* Weight and bias gradients of columns [first, last), at most 64, in groups
 * of 64 rows. */
CPU_KERNEL static void
norm_grad_columns(const Tensor *dout, const Tensor *x, const Tensor *stat,
                  int64_t first, int64_t last, float *dweight, float *dbias)
{
	int64_t width = last - first;

	for (int64_t start = 0; start < x->rows; start += 64)
	{
		int64_t end = start + 64 < x->rows ? start + 64 : x->rows;
		float weight[64] = {0};
		float bias[64] = {0};

		for (int64_t i = start; i < end; i++)
		{
			const float *g = cpu_row(*dout, i) + first;
			const float *in = cpu_row(*x, i) + first;
			const float *s = cpu_row(*stat, i);

#pragma omp simd
			for (int64_t j = 0; j < width; j++)
			{
				weight[j] += g[j] * (in[j] - s[0]) * s[1];
				bias[j] += g[j];
			}
		}
		for (int64_t j = 0; j < width; j++)
		{
			dweight[j] += weight[j];
			if (dbias != NULL)
				dbias[j] += bias[j];
		}
	}
}

static void
add_norm_grad(Tensor dout, Tensor x, Tensor stat, float *dweight, float *dbias)
{
	int64_t piece = 64;

	CPU_EACH(j, x.cols, piece, x.rows * x.cols > CPU_PARALLEL_MIN,
	         norm_grad_columns(&dout, &x, &stat, j,
	                           j + piece < x.cols ? j + piece : x.cols,
	                           dweight + j, dbias == NULL ? NULL : dbias + j));
}

void
cpu_norm_grad(Device *device, NormKind kind, Tensor dx, float beta,
              const Tensor *dweight, const Tensor *dbias, Tensor dout, Tensor x,
              Tensor weight, Tensor stat)
{
	/* Before dx is written, which may be dout. */
	if (dweight != NULL)
	{
		cpu_turn_begin(device);
		add_norm_grad(dout, x, stat, dweight->data,
		              dbias == NULL ? NULL : dbias->data);
		cpu_turn_end(device);
	}
	CPU_EACH(i, x.rows, 1, x.rows * x.cols > CPU_PARALLEL_MIN,
	         norm_grad_row(kind, x.cols, cpu_row(dx, i), beta, cpu_row(dout, i),
	                       cpu_row(x, i), weight.data, cpu_row(stat, i)));
}
