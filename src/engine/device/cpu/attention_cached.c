/*
 * attention_cached.c
 *		Attention of single new tokens to the cache of those before them.
 */
#include "device/cpu/exp.h"
#include "device/cpu/lanes.h"
#include "device/cpu/matmul_few.h"

#include <math.h>
#include <string.h>

/* Keys of a layer that the caches do not keep until the next token: other
 * layers have as many, and values. */
#define FAR_NUMBERS (1 << 17)

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
	bool is_far; /* the cache, from the processor's */
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

/* What the heads of a row see that share a head of keys and values. */
typedef struct Seen
{
	int64_t row;    /* of queries */
	int64_t column; /* of keys and values */
	int64_t from;   /* row of the cache */
	int count;
} Seen;

static Seen
seen_by(const Cached *p, int64_t number)
{
	const AttentionShape *shape = p->shape;
	int64_t row = number / shape->kv_heads;
	int length = p->length[row];
	int window = shape->window;
	int count = window > 0 && length > window ? window : length;

	return (Seen){row, number % shape->kv_heads * shape->head_dim,
	              (int64_t) p->first[row] + length - count, count};
}

/* Asks for what is seen of a cache that lies in memory: a few lines of each
 * row, too far apart for the processor to foresee them. */
static void
fetch(const Cached *p, Tensor cache, const Seen *seen)
{
	for (int j = 0; p->is_far && j < seen->count; j++)
	{
		const float *row = cpu_row(cache, seen->from + j) + seen->column;

		for (int d = 0; d < p->shape->head_dim; d += LANES)
			__builtin_prefetch(row + d, 0, 2);
	}
}

/* Group `number` of all rows' groups of heads.  While it computes, its values
 * are fetched and the next group's keys. */
static void
attend_group(const Cached *p, int64_t number)
{
	const AttentionShape *shape = p->shape;
	const DotKernels *kernels = cpu_dot_kernels();
	int head_dim = shape->head_dim;
	int group = shape->heads / shape->kv_heads;
	Seen seen = seen_by(p, number);
	int64_t query = seen.column * group;
	int width = padded(head_dim, DOT_PAD);
	int stride = padded(seen.count, LANES);
	float *queries =
		cpu_scratch(p->device, (size_t) group * (size_t) (width + stride));
	float *score = queries + group * width;

	if (queries == NULL)
		return;
	fetch(p, p->v, &seen);
	load_queries(queries, cpu_row(p->q, seen.row) + query, shape, group);
	kernels->dots(score, stride, queries, width, group,
	              cpu_row(p->k, seen.from) + seen.column, p->k.stride,
	              seen.count, head_dim, 0);
	if (number + 1 < p->q.rows * shape->kv_heads)
	{
		Seen next = seen_by(p, number + 1);

		fetch(p, p->k, &next);
	}
	for (int h = 0; h < group; h++)
		softmax(score + (size_t) h * (size_t) stride, seen.count);
	kernels->columns(cpu_row(p->out, seen.row) + query, head_dim, score, stride,
	                 group, cpu_row(p->v, seen.from) + seen.column, p->v.stride,
	                 seen.count, head_dim, 0);
}

static void
attend_groups(void *argument, int64_t first, int64_t last)
{
	for (int64_t number = first; number < last; number++)
		attend_group(argument, number);
}

void
cpu_attention_cached(Device *device, const AttentionShape *shape, Tensor out,
                     Tensor q, Tensor k_cache, Tensor v_cache,
                     const int32_t *first, const int32_t *length)
{
	Cached cached = {device,  shape, out,    q,    k_cache,
	                 v_cache, first, length, false};
	int64_t groups = q.rows * shape->kv_heads;
	int64_t work = 0;

	for (int64_t i = 0; i < q.rows; i++)
		work += length[i];
	cached.is_far = work * k_cache.cols > FAR_NUMBERS;
	work *= 2 * q.cols;
	cpu_share(device, groups, 1 + CPU_PIECE_WORK * groups / (work + 1),
	          attend_groups, &cached);
}
