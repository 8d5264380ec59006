/*
 * attention.c
 *		Attention over packed sequences, causal or not, forward and backward.
 *
 * One task is a sequence and a key/value head; it serves the query heads that
 * share the head, and in the backward pass the sequences that continue it, so
 * gradients of keys and values have one writer and a fixed order.  Keys and values are copied into packed panels: D padded to LANES,
 * keys also transposed, so that every inner loop runs over neighbours.  Four
 * queries at a time share a pass over the keys; their scores are the only
 * thing held of the T x T matrix.
 */
#include "device/cpu/cpu.h"

#include "device/cpu/exp.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#define LANES 16
#define QUERIES 4 /* in one pass */
#define KEYS 32   /* in registers at a time */

static int
padded(int n, int to)
{
	return (n + to - 1) / to * to;
}

/* panel[T][width] = x's columns [first, first + D) of rows from start */
static void
pack_rows(float *panel, int width, Tensor x, int64_t start, int rows,
          int64_t first, int head_dim)
{
	for (int i = 0; i < rows; i++)
	{
		memcpy(panel + (size_t) i * width, cpu_row(x, start + i) + first,
		       (size_t) head_dim * sizeof(float));
		memset(panel + (size_t) i * width + head_dim, 0,
		       (size_t) (width - head_dim) * sizeof(float));
	}
}

/* Columns [0, room) of panel[D][length] = the transpose, zeros from rows on */
static void
pack_columns(float *panel, int length, int room, Tensor x, int64_t start,
             int rows, int64_t first, int head_dim)
{
	for (int d = 0; d < head_dim; d++)
	{
		float *row = panel + (size_t) d * length;

		for (int i = 0; i < rows; i++)
			row[i] = cpu_row(x, start + i)[first + d];
		memset(row + rows, 0, (size_t) (room - rows) * sizeof(float));
	}
}

/* out[r][j] = scale * sum_d q[r][d] * columns[d][j] for the first keys */
CPU_KERNEL static void
multiply_columns(float *restrict out, int length, const float *restrict q,
                 int width, const float *restrict columns, int head_dim,
                 int keys, float scale)
{
	for (int start = 0; start < keys; start += KEYS)
	{
		float sum[QUERIES][KEYS] = {{0}};

		for (int d = 0; d < head_dim; d++)
		{
			const float *column = columns + (size_t) d * length + start;

			for (int r = 0; r < QUERIES; r++)
			{
				float factor = q[r * width + d];

#pragma omp simd
				for (int j = 0; j < KEYS; j++)
					sum[r][j] += factor * column[j];
			}
		}
		for (int r = 0; r < QUERIES; r++)
		{
#pragma omp simd
			for (int j = 0; j < KEYS; j++)
				out[(size_t) r * length + start + j] = scale * sum[r][j];
		}
	}
}

/* out[r][d] += sum_j weight[r][j] * rows[j][d] */
CPU_KERNEL static void
multiply_rows(float *restrict out, int width, const float *restrict weight,
              int length, const float *restrict rows, int keys)
{
	for (int start = 0; start < width; start += LANES)
	{
		float sum[QUERIES][LANES] = {{0}};

		for (int j = 0; j < keys; j++)
		{
			const float *row = rows + (size_t) j * width + start;

			for (int r = 0; r < QUERIES; r++)
			{
				float factor = weight[(size_t) r * length + j];

#pragma omp simd
				for (int d = 0; d < LANES; d++)
					sum[r][d] += factor * row[d];
			}
		}
		for (int r = 0; r < QUERIES; r++)
			for (int d = 0; d < LANES; d++)
				out[r * width + start + d] += sum[r][d];
	}
}

/* columns[d][j] += sum_r x[r][d] * weight[r][j]; the weights of KEYS keys
 * stay in registers while d runs.  keys is a multiple of KEYS. */
CPU_KERNEL static void
add_outer(float *restrict columns, int length, const float *restrict x,
          int width, const float *restrict weight, int head_dim, int keys)
{
	for (int start = 0; start < keys; start += KEYS)
	{
		float w[QUERIES][KEYS];

		for (int r = 0; r < QUERIES; r++)
			for (int j = 0; j < KEYS; j++)
				w[r][j] = weight[(size_t) r * length + start + j];
		for (int d = 0; d < head_dim; d++)
		{
			float *column = columns + (size_t) d * length + start;
			float x0 = x[d];
			float x1 = x[width + d];
			float x2 = x[2 * width + d];
			float x3 = x[3 * width + d];

#pragma omp simd
			for (int j = 0; j < KEYS; j++)
				column[j] +=
					x0 * w[0][j] + x1 * w[1][j] + x2 * w[2][j] + x3 * w[3][j];
		}
	}
}

/* x[j] = larger of x[j], x[j + half], and their sum, for j < half. */
#define FOLD_MAX(x, half)                                                      \
	for (int j = 0; j < (half); j++)                                           \
	(x)[j] = (x)[j + (half)] > (x)[j] ? (x)[j + (half)] : (x)[j]
#define FOLD_SUM(x, half)                                                      \
	for (int j = 0; j < (half); j++)                                           \
	(x)[j] += (x)[j + (half)]

/* By halves, so that it takes four steps; x is used up. */
static inline float
lanes_max(float *x)
{
	FOLD_MAX(x, 8);
	FOLD_MAX(x, 4);
	FOLD_MAX(x, 2);
	FOLD_MAX(x, 1);
	return x[0];
}

static inline float
lanes_sum(float *x)
{
	FOLD_SUM(x, 8);
	FOLD_SUM(x, 4);
	FOLD_SUM(x, 2);
	FOLD_SUM(x, 1);
	return x[0];
}

/*
 * Scores of one query to probabilities: those of [from, to), zeros before and
 * up to length, a multiple of LANES.  Returns the log-sum-exp.  Rows are
 * short, so loops must not have remainders: what is not visible counts with
 * e^-infinity.
 */
CPU_KERNEL static float
softmax_row(float *score, int from, int to, int length)
{
	float most[LANES];
	float part[LANES] = {0};
	float largest;
	float sum;
	float scale;

	for (int j = 0; j < from; j++)
		score[j] = -INFINITY;
	for (int j = to; j < length; j++)
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
	sum = lanes_sum(part);
	scale = 1 / sum;
#pragma omp simd
	for (int j = 0; j < length; j++)
		score[j] *= scale;
	return largest + logf(sum);
}

/* Probabilities again, from scores and the log-sum-exp. */
CPU_KERNEL static void
softmax_again(float *score, int from, int to, int length, float lse)
{
	for (int start = 0; start < length; start += LANES)
	{
#pragma omp simd
		for (int j = 0; j < LANES; j++)
			score[start + j] = exp_f32(score[start + j] - lse);
	}
	for (int j = 0; j < from; j++)
		score[j] = 0;
	for (int j = to; j < length; j++)
		score[j] = 0;
}

/* dscore[j] = scale * p[j] * (dp[j] - delta), in place of dp */
CPU_KERNEL static void
softmax_grad_row(float *dp, const float *p, int length, float delta,
                 float scale)
{
#pragma omp simd
	for (int j = 0; j < length; j++)
		dp[j] = scale * p[j] * (dp[j] - delta);
}

/* What a task works on, and its panels in this thread's scratch.  Tokens are
 * counted from the first of what the sequence continues, if anything. */
typedef struct Task
{
	int64_t before_start; /* row of what the sequence continues */
	int64_t start;        /* row of its token 0, if its own were all there is */
	int before;           /* tokens of what it continues */
	int tokens;           /* with these */
	int length;           /* the most tokens, padded to KEYS */
	int width;            /* head_dim padded to LANES */
	int head_dim;
	int group; /* query heads on this key/value head */
	int first_head;
	int64_t kv_column;
	float *queries;       /* [QUERIES][width] */
	float *result;        /* [QUERIES][width] */
	float *score;         /* [QUERIES][length] */
	float *dscore;        /* [QUERIES][length], backward */
	float *dout;          /* [QUERIES][width], backward */
	float *keys;          /* [length][width], backward */
	float *values;        /* [length][width], forward */
	float *key_columns;   /* [head_dim][length] */
	float *value_columns; /* [head_dim][length], backward */
	float *dkey_columns;
	float *dvalue_columns;
} Task;

static int
sequence_tokens(const AttentionShape *shape, int sequence)
{
	return shape->offset[sequence + 1] - shape->offset[sequence];
}

/* The sequence that this one continues, or -1. */
static int
prefix_of(const AttentionShape *shape, int sequence)
{
	return shape->prefix == NULL ? -1 : shape->prefix[sequence];
}

/* Room for sequences of up to so many tokens, with what they continue. */
static bool
task_begin(Task *task, Device *device, const AttentionShape *shape, int head,
           int tokens, bool is_backward)
{
	size_t panel;
	size_t columns;
	size_t size;
	float *at;

	task->length = padded(tokens, KEYS);
	task->width = padded(shape->head_dim, LANES);
	task->head_dim = shape->head_dim;
	task->group = shape->heads / shape->kv_heads;
	task->first_head = head * task->group;
	task->kv_column = (int64_t) head * shape->head_dim;

	panel = (size_t) task->length * (size_t) task->width;
	columns = (size_t) task->head_dim * (size_t) task->length;
	size = (size_t) QUERIES * 3 * (size_t) task->width +
	       (size_t) QUERIES * 2 * (size_t) task->length + panel +
	       columns * (is_backward ? 4 : 1);
	at = cpu_scratch(device, size);
	if (at == NULL || tokens == 0)
		return false;
	task->queries = at;
	task->result = at += QUERIES * task->width;
	task->dout = at += QUERIES * task->width;
	task->score = at += QUERIES * task->width;
	task->dscore = at += (size_t) QUERIES * (size_t) task->length;
	task->keys = task->values = at += (size_t) QUERIES * (size_t) task->length;
	task->key_columns = at += panel;
	if (is_backward)
	{
		task->value_columns = at += columns;
		task->dkey_columns = at += columns;
		task->dvalue_columns = at += columns;
		memset(task->dkey_columns, 0, 2 * columns * sizeof(float));
	}
	return true;
}

static void
task_choose(Task *task, const AttentionShape *shape, int sequence)
{
	int prefix = prefix_of(shape, sequence);

	task->before = prefix < 0 ? 0 : sequence_tokens(shape, prefix);
	task->before_start = prefix < 0 ? 0 : shape->offset[prefix];
	task->tokens = task->before + sequence_tokens(shape, sequence);
	task->start = (int64_t) shape->offset[sequence] - task->before;
}

/* panel[T][width] = x's rows of what the sequence continues, and its own */
static void
pack_sequence(const Task *task, float *panel, Tensor x)
{
	pack_rows(panel, task->width, x, task->before_start, task->before,
	          task->kv_column, task->head_dim);
	pack_rows(panel + (size_t) task->before * (size_t) task->width, task->width,
	          x, task->start + task->before, task->tokens - task->before,
	          task->kv_column, task->head_dim);
}

/* columns[D][length] = the same transposed */
static void
pack_sequence_columns(const Task *task, float *columns, Tensor x)
{
	pack_columns(columns, task->length, task->before, x, task->before_start,
	             task->before, task->kv_column, task->head_dim);
	pack_columns(columns + task->before, task->length,
	             task->length - task->before, x, task->start + task->before,
	             task->tokens - task->before, task->kv_column, task->head_dim);
}

/* Rows [first, first + QUERIES) of head into a panel, zeros past the end. */
static void
load_queries(const Task *task, float *panel, Tensor x, int head, int first)
{
	int count = task->tokens - first < QUERIES ? task->tokens - first : QUERIES;

	memset(panel, 0, sizeof(float) * QUERIES * (size_t) task->width);
	pack_rows(panel, task->width, x, task->start + first, count,
	          (int64_t) head * task->head_dim, task->head_dim);
}

/* Query i of its sequence sees the keys [seen_from(i), seen_to(i)). */
static int
seen_from(const AttentionShape *shape, int i)
{
	return shape->window > 0 && i >= shape->window ? i + 1 - shape->window : 0;
}

static int
seen_to(const Task *task, const AttentionShape *shape, int i)
{
	return shape->is_bidirectional ? task->tokens : i + 1;
}

/* Adds what distances say to the scores of queries [first, last). */
static void
add_relative(const Task *task, const AttentionShape *shape, int head, int first,
             int last)
{
	const RelativeScores *relative = shape->relative;
	int64_t column = (int64_t) head * relative->buckets;

	for (int i = first; i < last; i++)
	{
		float *score = task->score + (size_t) (i - first) * task->length;
		const int32_t *bucket = relative->bucket + relative->reach + i;
		const float *of_query = relative->query.data == NULL
		                            ? NULL
		                            : cpu_row(relative->query, task->start + i);

		for (int j = 0; j < task->tokens; j++)
		{
			int64_t at = column + bucket[-j];
			float sum = of_query == NULL ? 0 : of_query[at];

			if (relative->key.data != NULL)
				sum += cpu_row(relative->key, task->start + j)[at];
			score[j] += shape->scale * sum;
		}
	}
}

/* The gradient of the scores goes to the numbers that were added.  One task
 * owns the columns of a head and the rows of a sequence. */
static void
add_relative_grad(const Task *task, const RelativeScores *relative, int head,
                  int first, int last)
{
	int64_t column = (int64_t) head * relative->buckets;

	for (int i = first; i < last; i++)
	{
		const float *dscore =
			task->dscore + (size_t) (i - first) * task->length;
		const int32_t *bucket = relative->bucket + relative->reach + i;

		for (int j = 0; j < task->tokens; j++)
		{
			int64_t at = column + bucket[-j];

			if (relative->dquery.data != NULL)
				cpu_row(relative->dquery, task->start + i)[at] += dscore[j];
			if (relative->dkey.data != NULL)
				cpu_row(relative->dkey, task->start + j)[at] += dscore[j];
		}
	}
}

static void
forward_block(const Task *task, const AttentionShape *shape, Tensor out,
              Tensor q, Tensor lse, int head, int first)
{
	int last = first + QUERIES < task->tokens ? first + QUERIES : task->tokens;
	int from = seen_from(shape, first) / KEYS * KEYS;
	int to = seen_to(task, shape, last - 1);
	int keys = padded(to - from, KEYS);

	load_queries(task, task->queries, q, head, first);
	multiply_columns(task->score, task->length, task->queries, task->width,
	                 task->key_columns + from, task->head_dim, keys,
	                 shape->scale);
	if (shape->relative != NULL)
		add_relative(task, shape, head, first, last);
	memset(task->result, 0, sizeof(float) * QUERIES * (size_t) task->width);
	for (int i = first; i < last; i++)
		cpu_row(lse, task->start + i)[head] = softmax_row(
			task->score + (size_t) (i - first) * task->length,
			seen_from(shape, i) - from, seen_to(task, shape, i) - from, keys);
	multiply_rows(task->result, task->width, task->score, task->length,
	              task->values + (size_t) from * task->width, to - from);
	for (int i = first; i < last; i++)
		memcpy(cpu_row(out, task->start + i) + (size_t) head * task->head_dim,
		       task->result + (size_t) (i - first) * task->width,
		       (size_t) task->head_dim * sizeof(float));
}

void
cpu_attention(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
              Tensor k, Tensor v, Tensor lse)
{
	int64_t tasks = (int64_t) shape->sequences * shape->kv_heads;

#pragma omp parallel for schedule(dynamic) if (q.rows * q.cols >               \
                                               CPU_PARALLEL_MIN / 8)
	for (int64_t number = 0; number < tasks; number++)
	{
		int sequence = (int) (number / shape->kv_heads);
		Task task;

		task_choose(&task, shape, sequence);
		if (task.tokens == task.before ||
		    !task_begin(&task, device, shape, (int) (number % shape->kv_heads),
		                task.tokens, false))
			continue;
		pack_sequence_columns(&task, task.key_columns, k);
		pack_sequence(&task, task.values, v);
		for (int h = 0; h < task.group; h++)
			for (int first = task.before; first < task.tokens; first += QUERIES)
				forward_block(&task, shape, out, q, lse, task.first_head + h,
				              first);
	}
}

/* Sum of dout * out of one row and head: sum_j p_j dp_j. */
static float
row_delta(const float *dout, const float *out, int n)
{
	float sum = 0;

	for (int d = 0; d < n; d++)
		sum += dout[d] * out[d];
	return sum;
}

static void
backward_block(const Task *task, const AttentionShape *shape, Tensor dq,
               Tensor dout, Tensor out, Tensor q, Tensor lse, int head,
               int first)
{
	int last = first + QUERIES < task->tokens ? first + QUERIES : task->tokens;
	int from = seen_from(shape, first) / KEYS * KEYS;
	int to = seen_to(task, shape, last - 1);
	int keys = padded(to - from, KEYS);
	size_t column = (size_t) head * (size_t) task->head_dim;

	load_queries(task, task->queries, q, head, first);
	load_queries(task, task->dout, dout, head, first);
	multiply_columns(task->score, task->length, task->queries, task->width,
	                 task->key_columns + from, task->head_dim, keys,
	                 shape->scale);
	multiply_columns(task->dscore, task->length, task->dout, task->width,
	                 task->value_columns + from, task->head_dim, keys, 1);
	if (shape->relative != NULL)
		add_relative(task, shape, head, first, last);
	for (int r = 0; r < QUERIES; r++)
	{
		int64_t row = task->start + first + r;
		float *score = task->score + (size_t) r * task->length;

		/* Queries past the end have no probabilities. */
		if (first + r >= last)
		{
			memset(score, 0, sizeof(float) * (size_t) keys);
			memset(task->dscore + (size_t) r * task->length, 0,
			       sizeof(float) * (size_t) keys);
			continue;
		}
		softmax_again(score, seen_from(shape, first + r) - from,
		              seen_to(task, shape, first + r) - from, keys,
		              cpu_row(lse, row)[head]);
		softmax_grad_row(task->dscore + (size_t) r * task->length, score, keys,
		                 row_delta(cpu_row(dout, row) + column,
		                           cpu_row(out, row) + column, task->head_dim),
		                 shape->scale);
	}
	if (shape->relative != NULL)
		add_relative_grad(task, shape->relative, head, first, last);
	memset(task->result, 0, sizeof(float) * QUERIES * (size_t) task->width);
	multiply_rows(task->result, task->width, task->dscore, task->length,
	              task->keys + (size_t) from * task->width, to - from);
	for (int i = first; i < last; i++)
		memcpy(cpu_row(dq, task->start + i) + column,
		       task->result + (size_t) (i - first) * task->width,
		       (size_t) task->head_dim * sizeof(float));
	add_outer(task->dkey_columns + from, task->length, task->queries,
	          task->width, task->dscore, task->head_dim, keys);
	add_outer(task->dvalue_columns + from, task->length, task->dout,
	          task->width, task->score, task->head_dim, keys);
}

/* Tokens [first, last) of the gradients to the rows of x from `row` on. */
static void
store_columns(const Task *task, Tensor x, const float *columns, int first,
              int last, int64_t row)
{
	for (int i = first; i < last; i++)
	{
		float *target = cpu_row(x, row + i - first) + task->kv_column;

		for (int d = 0; d < task->head_dim; d++)
			target[d] = columns[(size_t) d * task->length + i];
	}
}

/* columns[D][length] from token `first` on = 0 */
static void
clear_columns(const Task *task, float *columns, int first)
{
	for (int d = 0; d < task->head_dim; d++)
		memset(columns + (size_t) d * task->length + first, 0,
		       (size_t) (task->length - first) * sizeof(float));
}

/* What the gradient of attention reads and writes. */
typedef struct Gradient
{
	Tensor dq, dk, dv;
	Tensor dout, out, q, k, v, lse;
} Gradient;

/* One sequence: adds to the gradients of what it continues, in the panels,
 * and stores those of its own. */
static void
backward_sequence(Task *task, const AttentionShape *shape, const Gradient *g)
{
	int64_t own = task->start + task->before;

	pack_sequence(task, task->keys, g->k);
	pack_sequence_columns(task, task->key_columns, g->k);
	pack_sequence_columns(task, task->value_columns, g->v);
	clear_columns(task, task->dkey_columns, task->before);
	clear_columns(task, task->dvalue_columns, task->before);
	for (int h = 0; h < task->group; h++)
		for (int first = task->before; first < task->tokens; first += QUERIES)
			backward_block(task, shape, g->dq, g->dout, g->out, g->q, g->lse,
			               task->first_head + h, first);
	store_columns(task, g->dk, task->dkey_columns, task->before, task->tokens,
	              own);
	store_columns(task, g->dv, task->dvalue_columns, task->before, task->tokens,
	              own);
}

/* A sequence that continues none, and all that continue it. */
static void
backward_family(Device *device, const AttentionShape *shape, const Gradient *g,
                int first, int head)
{
	int tokens = sequence_tokens(shape, first);
	int longest = 0;
	int last = first + 1;
	Task task;

	for (; last < shape->sequences && prefix_of(shape, last) == first; last++)
		if (sequence_tokens(shape, last) > longest)
			longest = sequence_tokens(shape, last);
	if (!task_begin(&task, device, shape, head, tokens + longest, true))
		return;
	for (int s = first; s < last; s++)
	{
		task_choose(&task, shape, s);
		backward_sequence(&task, shape, g);
	}
	if (last == first + 1)
		return;
	store_columns(&task, g->dk, task.dkey_columns, 0, tokens,
	              shape->offset[first]);
	store_columns(&task, g->dv, task.dvalue_columns, 0, tokens,
	              shape->offset[first]);
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

		if (prefix_of(shape, sequence) < 0)
			backward_family(device, shape, &gradient, sequence,
			                (int) (number % shape->kv_heads));
	}
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
	softmax_row(score, 0, length, padded(length, LANES));
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
