/*
 * attention_grad.c
 *		Attention over packed sequences, causal or not, backward.
 *
 * One task is a key/value head of a sequence and all that continue it, so that
 * gradients of keys and values have one writer and a fixed order.
 */
#include "device/cpu/attention_task.h"
#include "device/cpu/exp.h"

#include <omp.h>
#include <string.h>

/* What the gradient of attention reads and writes. */
typedef struct Gradient
{
	Tensor dq, dk, dv;
	Tensor dout, out, q, k, v, lse;
} Gradient;

/* A task, and its panels in the thread's scratch. */
typedef struct Backward
{
	AttentionTask task;
	const Gradient *tensor;
	float *key_tiles;
	float *value_tiles;
	float *keys;    /* [length][width] */
	float *dkeys;   /* [length][width] */
	float *dvalues; /* [length][width] */
	float *queries; /* [rows][width], scaled */
	float *dout;    /* [rows][width] */
	float *dquery;  /* [rows][width], without the scale */
	float *score;   /* [rows][SCORE_STRIDE] */
	float *dscore;  /* [rows][SCORE_STRIDE] */
	float *lse;     /* [rows] */
	float *delta;   /* [rows] sum of p dp */
	float *scale;   /* [rows] all the same */
} Backward;

/* LANES scores to probabilities p, and their gradients dp to the scores',
 * p (dp - delta): of those in [from, to), zeros else. */
__attribute__((always_inline)) static inline void
softmax_grad_lanes(float *score, float *dscore, int from, int to, float lse,
                   float delta, const bool all_seen)
{
#pragma omp simd
	for (int j = 0; j < LANES; j++)
	{
		float p = exp_f32(score[j] - lse);

		if (!all_seen)
			p = j >= from && j < to ? p : 0;
		score[j] = p;
		dscore[j] = p * (dscore[j] - delta);
	}
}

/* The same of a row's `length` scores. */
CPU_KERNEL static void
softmax_grad_block(float *score, float *dscore, int from, int to, int length,
                   float lse, float delta)
{
	for (int j = 0; j < length; j += LANES)
		if (j >= from && j + LANES <= to)
			softmax_grad_lanes(score + j, dscore + j, 0, LANES, lse, delta,
			                   true);
		else
			softmax_grad_lanes(score + j, dscore + j, from - j, to - j, lse,
			                   delta, false);
}

/* The chunk's scores to probabilities and gradients. */
static void
backward_chunk(Backward *b, Chunk chunk, int start)
{
	const AttentionTask *task = &b->task;
	int length = chunk.to - chunk.from;
	int i = task->first + chunk.first / task->group;
	int head = chunk.first % task->group;

	for (int r = chunk.first; r < chunk.first + chunk.rows; r++)
	{
		size_t at = (size_t) r * SCORE_STRIDE + (size_t) (chunk.from - start);
		int from = seen_from(task, i) - chunk.from;
		int to = seen_to(task, i) - chunk.from;

		from = from < 0 ? 0 : from < length ? from : length;
		to = to < from ? from : to < length ? to : length;
		softmax_grad_block(b->score + at, b->dscore + at, from, to, length,
		                   b->lse[r], b->delta[r]);
		if (++head == task->group)
		{
			head = 0;
			i++;
		}
	}
}

/* The block's rows meet the keys [start, end). */
static void
backward_keys(Backward *b, int start, int end)
{
	const AttentionTask *task = &b->task;

	multiply_tiles(task, b->score, b->queries, b->key_tiles, start, end);
	multiply_tiles(task, b->dscore, b->dout, b->value_tiles, start, end);
	if (task->shape->relative != NULL)
		add_relative(task, b->score, start, end);
	for (int r = 0; r < task->rows; r += task->tiles->rows)
	{
		Chunk chunk = task_chunk(task, r, start, end);

		if (chunk.from < chunk.to)
			backward_chunk(b, chunk, start);
	}
	if (task->shape->relative != NULL)
		add_relative_grad(task, b->dscore, start, end);
	multiply_panel(task, b->dquery, b->dscore, b->keys, start, end);
	add_to_panel(task, b->dkeys, b->dscore, b->queries, start, end);
	add_to_panel(task, b->dvalues, b->score, b->dout, start, end);
}

/* Sum of dout * out of one row and head: sum_j p_j dp_j. */
CPU_KERNEL static float
row_delta(const float *dout, const float *out, int n)
{
	float part[8] = {0};
	float rest = 0;
	int done = 0;

	for (; done + 8 <= n; done += 8)
	{
#pragma omp simd
		for (int d = 0; d < 8; d++)
			part[d] += dout[done + d] * out[done + d];
	}
	for (; done < n; done++)
		rest += dout[done] * out[done];
	FOLD_SUM(part, 4);
	FOLD_SUM(part, 2);
	return part[0] + part[1] + rest;
}

static void
backward_block(Backward *b)
{
	const AttentionTask *task = &b->task;
	const Gradient *g = b->tensor;
	int from = seen_from(task, task->first);
	int to = padded(seen_to(task, task->last - 1), ATTENTION_KEYS);

	load_rows(task, b->queries, g->q, task->shape->scale);
	load_rows(task, b->dout, g->dout, 1);
	memset(b->dquery, 0, panel_size(task, task->rows) * sizeof(float));
	for (int r = 0; r < task->rows; r++)
	{
		int64_t row = query_row(task, task->first + r / task->group);
		int head = task->first_head + r % task->group;

		b->lse[r] = cpu_row(g->lse, row)[head];
		b->delta[r] =
			row_delta(b->dout + panel_size(task, r),
		              cpu_row(g->out, row) +
		                  (size_t) head * (size_t) task->shape->head_dim,
		              task->shape->head_dim);
		b->scale[r] = task->shape->scale;
	}
	for (int start = from / ATTENTION_BLOCK * ATTENTION_BLOCK; start < to;
	     start += ATTENTION_BLOCK)
		backward_keys(b, start,
		              start + ATTENTION_BLOCK < to ? start + ATTENTION_BLOCK
		                                           : to);
	store_rows(task, g->dq, b->dquery, b->scale);
}

/* Tokens [first, last) of a panel to the rows of x from `row` on. */
static void
store_panel(const AttentionTask *task, Tensor x, const float *panel, int first,
            int last, int64_t row)
{
	for (int t = first; t < last; t++)
		memcpy(cpu_row(x, row + t - first) + task->kv_column,
		       panel + panel_size(task, t),
		       (size_t) task->shape->head_dim * sizeof(float));
}

/* One sequence: adds to the gradients of what it continues, in the panels,
 * and stores those of its own. */
static void
backward_sequence(Backward *b, int sequence)
{
	AttentionTask *task = &b->task;
	const Gradient *g = b->tensor;
	size_t own;

	task_set_sequence(task, sequence);
	own = panel_size(task, padded(task->tokens, ATTENTION_KEYS)) -
	      panel_size(task, task->before);
	pack_panel(task, b->keys, g->k);
	pack_tiles(task, b->key_tiles, g->k);
	pack_tiles(task, b->value_tiles, g->v);
	memset(b->dkeys + panel_size(task, task->before), 0, own * sizeof(float));
	memset(b->dvalues + panel_size(task, task->before), 0, own * sizeof(float));
	for (int i = task->before; i < task->tokens; i += task->queries)
	{
		task_set_block(task, i, task->tokens);
		backward_block(b);
	}
	store_panel(task, g->dk, b->dkeys, task->before, task->tokens,
	            query_row(task, task->before));
	store_panel(task, g->dv, b->dvalues, task->before, task->tokens,
	            query_row(task, task->before));
}

/* Room for sequences of so many tokens with what they continue. */
static bool
backward_begin(Backward *b, Device *device, const AttentionShape *shape,
               int head, int tokens)
{
	AttentionTask *task = &b->task;
	size_t rows, tiles, panel, size;
	float *at;

	*task = attention_task(shape, head, tokens);
	rows = (size_t) most_rows(task);
	tiles = (size_t) task->length * (size_t) shape->head_dim;
	panel = panel_size(task, task->length);
	size = 2 * tiles + 3 * panel +
	       rows * (3 * (size_t) task->width + 2 * SCORE_STRIDE + 3);
	at = cpu_scratch(device, size);
	if (at == NULL || tokens == 0)
		return false;
	b->key_tiles = at;
	b->value_tiles = at += tiles;
	b->keys = at += tiles;
	b->dkeys = at += panel;
	b->dvalues = at += panel;
	b->queries = at += panel;
	b->dout = at += rows * (size_t) task->width;
	b->dquery = at += rows * (size_t) task->width;
	b->score = at += rows * (size_t) task->width;
	b->dscore = at += rows * SCORE_STRIDE;
	b->lse = at += rows * SCORE_STRIDE;
	b->delta = at += rows;
	b->scale = at + rows;
	memset(b->queries, 0, 2 * rows * (size_t) task->width * sizeof(float));
	return true;
}

/* A sequence that continues none, and all that continue it. */
static void
backward_family(Device *device, const AttentionShape *shape, const Gradient *g,
                int first, int head)
{
	int tokens = sequence_tokens(shape, first);
	int longest = 0;
	int last = first + 1;
	Backward b = {.tensor = g};

	for (; last < shape->sequences && sequence_prefix(shape, last) == first;
	     last++)
		if (sequence_tokens(shape, last) > longest)
			longest = sequence_tokens(shape, last);
	if (!backward_begin(&b, device, shape, head, tokens + longest))
		return;
	for (int s = first; s < last; s++)
		backward_sequence(&b, s);
	if (last == first + 1)
		return;
	store_panel(&b.task, g->dk, b.dkeys, 0, tokens, shape->offset[first]);
	store_panel(&b.task, g->dv, b.dvalues, 0, tokens, shape->offset[first]);
}

void
cpu_attention_grad(Device *device, const AttentionShape *shape, Tensor dq,
                   Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor q,
                   Tensor k, Tensor v, Tensor lse)
{
	int64_t tasks = (int64_t) shape->sequences * shape->kv_heads;
	const Gradient gradient = {dq, dk, dv, dout, out, q, k, v, lse};

#pragma omp parallel for schedule(dynamic) if (q.rows * q.cols >               \
                                               CPU_PARALLEL_MIN / 8)
	for (int64_t number = 0; number < tasks; number++)
	{
		int sequence = (int) (number / shape->kv_heads);

		if (sequence_prefix(shape, sequence) < 0)
			backward_family(device, shape, &gradient, sequence,
			                (int) (number % shape->kv_heads));
	}
}
