/*
 * attention_cached.c
 *		Attention of single new tokens to the cache of those before them.
 */
#include "device/cpu/exp.h"
#include "device/cpu/lanes.h"
#include "device/cpu/matmul_few.h"

#include <math.h>
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

typedef struct Cached
{
	Device *device;
	const AttentionShape *shape;
	Tensor out;
	Tensor q;
	Tensor k;
	Tensor v;
	const int32_t *first;
	const int32_t *length;
} Cached;

/* The queries of a group's heads, scaled, in rows filled up with zeros. */
static void
load_queries(float *to, const float *q, const AttentionShape *shape, int group)
{
	int width = padded(shape->head_dim, DOT_PAD);

	memset(to, 0, sizeof(float) * (size_t) (group * width));
	for (int h = 0; h < group; h++)
		for (int d = 0; d < shape->head_dim; d++)
			to[h * width + d] = shape->scale * q[h * shape->head_dim + d];
}

/* The heads of row i that share a head of keys and values. */
static void
attend_group(const Cached *p, int64_t i, int kv_head)
{
	const AttentionShape *shape = p->shape;
	const DotKernels *kernels = cpu_dot_kernels();
	int head_dim = shape->head_dim;
	int group = shape->heads / shape->kv_heads;
	int length = p->length[i];
	int seen =
		shape->window > 0 && length > shape->window ? shape->window : length;
	int64_t from = (int64_t) p->first[i] + length - seen;
	int64_t column = (int64_t) kv_head * head_dim;
	int width = padded(head_dim, DOT_PAD);
	int stride = padded(seen, LANES);
	float *queries =
		cpu_scratch(p->device, (size_t) group * (size_t) (width + stride));
	float *score = queries + group * width;

	if (queries == NULL)
		return;
	load_queries(queries, cpu_row(p->q, i) + column * group, shape, group);
	kernels->dots(score, stride, queries, width, group,
	              cpu_row(p->k, from) + column, p->k.stride, seen, head_dim, 0);
	for (int h = 0; h < group; h++)
		softmax(score + (size_t) h * (size_t) stride, seen);
	kernels->columns(cpu_row(p->out, i) + column * group, head_dim, score,
	                 stride, group, cpu_row(p->v, from) + column, p->v.stride,
	                 seen, head_dim, 0);
}

static void
attend_groups(void *argument, int64_t first, int64_t last)
{
	const Cached *p = argument;
	int groups = p->shape->kv_heads;

	for (int64_t number = first; number < last; number++)
		attend_group(p, number / groups, (int) (number % groups));
}

void
cpu_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                     Tensor q, Tensor k_cache, Tensor v_cache,
                     const int32_t *first, const int32_t *length)
{
	Cached cached = {device, shape, out, q, k_cache, v_cache, first, length};
	int64_t groups = q.rows * shape->kv_heads;
	int64_t work = 0;

	for (int64_t i = 0; i < q.rows; i++)
		work += length[i];
	work *= 2 * q.cols;
	cpu_share(device, groups, 1 + CPU_PIECE_WORK * groups / (work + 1),
	          attend_groups, &cached);
}
