/*
 * attention_cached.c
 *		Attention of single new tokens to the cache of those before them.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"
#include "device/cpu/lanes.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Scores to probabilities.  What is behind the last, up to a multiple of
 * LANES, is scratch. */
CPU_KERNEL static void
softmax(float *score, int count)
{
	int length = padded(count, LANES);
	float most[LANES];
	float part[LANES] = {0};
	float largest;
	float scale;

	for (int j = count; j < length; j++)
		score[j] = -INFINITY;
	memcpy(most, score, sizeof(most));
	for (int start = LANES; start < length; start += LANES)
	{
#pragma omp simd
		for (int j = 0; j < LANES; j++)
			most[j] = score[start + j] > most[j] ? score[start + j] : most[j];
	}
	largest = lanes_max(most);
	for (int start = 0; start < length; start += LANES)
	{
#pragma omp simd
		for (int j = 0; j < LANES; j++)
		{
			float e = exp_f32(score[start + j] - largest);

			score[start + j] = e;
			part[j] += e;
		}
	}
	scale = 1 / lanes_sum(part);
#pragma omp simd
	for (int j = 0; j < length; j++)
		score[j] *= scale;
}

/* One query against `length` rows of a cache, stride floats apart. */
CPU_KERNEL static void
attend_cached(float *out, const float *q, const float *keys,
              const float *values, int64_t stride, int length, int head_dim,
              float scale, float *score)
{
	for (int j = 0; j < length; j++)
	{
		const float *key = keys + j * stride;
		float sum = 0;

#pragma omp simd reduction(+ : sum)
		for (int d = 0; d < head_dim; d++)
			sum += q[d] * key[d];
		score[j] = scale * sum;
	}
	softmax(score, length);
	for (int d = 0; d < head_dim; d++)
		out[d] = 0;
	for (int j = 0; j < length; j++)
	{
		const float *value = values + j * stride;
		float p = score[j];

#pragma omp simd
		for (int d = 0; d < head_dim; d++)
			out[d] += p * value[d];
	}
}

void
cpu_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                     Tensor q, Tensor k_cache, Tensor v_cache,
                     const int32_t *first, const int32_t *length)
{
	int64_t tasks = q.rows * shape->heads;
	int group = shape->heads / shape->kv_heads;
	int64_t work = 0;

	for (int64_t i = 0; i < q.rows; i++)
		work += length[i];
	work *= q.cols;
#pragma omp parallel for schedule(static) if (work > CPU_PARALLEL_MIN)
	for (int64_t number = 0; number < tasks; number++)
	{
		int64_t i = number / shape->heads;
		int head = (int) (number % shape->heads);
		int64_t column = (int64_t) (head / group) * shape->head_dim;
		int seen = shape->window > 0 && length[i] > shape->window
		               ? shape->window
		               : length[i];
		int64_t from = (int64_t) first[i] + length[i] - seen;
		float *score = cpu_scratch(device, (size_t) padded(seen, LANES));

		if (score == NULL)
			continue;
		attend_cached(cpu_row(out, i) + (int64_t) head * shape->head_dim,
		              cpu_row(q, i) + (int64_t) head * shape->head_dim,
		              cpu_row(k_cache, from) + column,
		              cpu_row(v_cache, from) + column, k_cache.stride, seen,
		              shape->head_dim, shape->scale, score);
	}
}
