/*
 * attention.c
 *		Attention over packed sequences, causal or not, forward.
 *
 * One task is a sequence and a key/value head, or some of its queries.  Keys
 * are taken in blocks that begin at fixed places of the text, so that a row's
 * numbers depend on neither the other rows nor on where the row before it
 * lies: in a sequence of its own or in a prompt that it shares.
 */
#include "device/cpu/attention_task.h"
#include "device/cpu/exp.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Tasks that a thread should find. */
#define TASKS_A_THREAD 4

/* A task of the forward pass, and its panels in the thread's scratch. */
typedef struct Forward
{
	AttentionTask task;
	Tensor out;
	Tensor q;
	float *tiles;   /* of keys */
	float *values;  /* [length][width] */
	float *queries; /* [rows][width], scaled */
	float *result;  /* [rows][width] */
	float *score;   /* [rows][SCORE_STRIDE] */
	float *most;    /* [rows] the largest score so far */
	float *sum;     /* [rows] of e to the scores less that */
} Forward;

/*
 * Scores of a row's next `length` keys, a multiple of LANES, of which it sees
 * [from, to), to e to their difference to the largest so far: zero where the
 * row does not see.  Returns what earlier numbers are to be multiplied by.
 * Rows are short, so loops must not have remainders: what is not seen counts
 * with e^-infinity.
 */
CPU_KERNEL static float
softmax_block(float *score, int from, int to, int length, float *most,
              float *sum)
{
	float largest[LANES];
	float part[LANES] = {0};
	float before = *most;
	float now;
	float factor;

	for (int j = 0; j < LANES; j++)
		largest[j] = -INFINITY;
	for (int start = 0; start < length; start += LANES)
	{
#pragma omp simd
		for (int j = 0; j < LANES; j++)
		{
			bool is_seen = start + j >= from && start + j < to;
			float s = is_seen ? score[start + j] : -INFINITY;

			score[start + j] = s;
			largest[j] = s > largest[j] ? s : largest[j];
		}
	}
	now = lanes_max(largest);
	now = before > now ? before : now;
	for (int start = 0; start < length; start += LANES)
	{
#pragma omp simd
		for (int j = 0; j < LANES; j++)
		{
			float e = exp_f32(score[start + j] - now);

			score[start + j] = e;
			part[j] += e;
		}
	}
	factor = exp_f32(before - now);
	*most = now;
	*sum = factor * *sum + lanes_sum(part);
	return factor;
}

/* The chunk's scores to probabilities, and its results to what they are
 * beside these. */
static void
forward_chunk(Forward *f, Chunk chunk, int start)
{
	const AttentionTask *task = &f->task;
	int length = chunk.to - chunk.from;
	int i = task->first + chunk.first / task->group;
	int head = chunk.first % task->group;
	bool is_first = start <= seen_from(task, task->first);

	for (int r = chunk.first; r < chunk.first + chunk.rows; r++)
	{
		float *score =
			f->score + (size_t) r * SCORE_STRIDE + chunk.from - start;
		float *result = f->result + panel_size(task, r);
		int from = seen_from(task, i) - chunk.from;
		int to = seen_to(task, i) - chunk.from;
		float factor;

		if (is_first)
		{
			fetch_row(task, f->out, r, false);
			fetch_row(task, f->q, r, true);
		}
		if (++head == task->group)
		{
			head = 0;
			i++;
		}
		/* Another row of the chunk sees some of these. */
		if (from >= length || to <= 0)
		{
			memset(score, 0, (size_t) length * sizeof(float));
			continue;
		}
		factor =
			softmax_block(score, from > 0 ? from : 0, to < length ? to : length,
		                  length, &f->most[r], &f->sum[r]);
		for (int d = 0; d < task->width && factor != 1; d++)
			result[d] *= factor;
	}
}

/* The block's rows meet the keys [start, end). */
static void
forward_keys(Forward *f, int start, int end)
{
	const AttentionTask *task = &f->task;

	multiply_tiles(task, f->score, f->queries, f->tiles, start, end);
	if (task->shape->relative != NULL)
		add_relative(task, f->score, start, end);
	for (int r = 0; r < task->rows; r += task->tiles->rows)
	{
		Chunk chunk = task_chunk(task, r, start, end);

		if (chunk.from < chunk.to)
			forward_chunk(f, chunk, start);
	}
	multiply_panel(task, f->result, f->score, f->values, start, end);
}

static void
forward_block(Forward *f, Tensor lse)
{
	const AttentionTask *task = &f->task;
	int from = seen_from(task, task->first);
	int to = padded(seen_to(task, task->last - 1), ATTENTION_KEYS);

	load_rows(task, f->queries, f->q, task->shape->scale);
	memset(f->result, 0, panel_size(task, task->rows) * sizeof(float));
	for (int r = 0; r < task->rows; r++)
	{
		f->most[r] = -INFINITY;
		f->sum[r] = 0;
	}
	for (int start = from / ATTENTION_BLOCK * ATTENTION_BLOCK; start < to;
	     start += ATTENTION_BLOCK)
		forward_keys(f, start,
		             start + ATTENTION_BLOCK < to ? start + ATTENTION_BLOCK
		                                          : to);
	for (int r = 0; r < task->rows; r++)
	{
		int64_t row = query_row(task, task->first + r / task->group);

		cpu_row(lse, row)[task->first_head + r % task->group] =
			f->most[r] + logf(f->sum[r]);
		f->sum[r] = 1 / f->sum[r];
	}
	store_rows(task, f->out, f->result, f->sum);
}

static bool
forward_begin(Forward *f, Device *device, const AttentionShape *shape,
              int sequence, int head)
{
	AttentionTask *task = &f->task;
	int tokens = sequence_tokens(shape, sequence);
	int prefix = sequence_prefix(shape, sequence);
	size_t rows, size;
	float *at;

	if (tokens == 0)
		return false;
	if (prefix >= 0)
		tokens += sequence_tokens(shape, prefix);
	*task = attention_task(shape, head, tokens);
	task_set_sequence(task, sequence);
	rows = (size_t) most_rows(task);
	size = (size_t) task->length * (size_t) shape->head_dim +
	       panel_size(task, task->length) +
	       rows * (2 * (size_t) task->width + SCORE_STRIDE + 2);
	at = cpu_scratch(device, size);
	if (at == NULL)
		return false;
	f->tiles = at;
	f->values = at += (size_t) task->length * (size_t) shape->head_dim;
	f->queries = at += panel_size(task, task->length);
	f->result = at += rows * (size_t) task->width;
	f->score = at += rows * (size_t) task->width;
	f->most = at += rows * SCORE_STRIDE;
	f->sum = at + rows;
	memset(f->queries, 0, rows * (size_t) task->width * sizeof(float));
	return true;
}

/* Into how many pieces so many queries are cut at most. */
static int
most_pieces(int64_t queries)
{
	return (int) (queries / PIECE_QUERIES + 1);
}

/* Into how many pieces the longest sequence is cut, so that there is something
 * to do for every thread: no row depends on it. */
static int
pieces_of(const AttentionShape *shape, int threads)
{
	int64_t tasks = (int64_t) shape->sequences * shape->kv_heads;
	int64_t wanted = (int64_t) threads * TASKS_A_THREAD;
	int most = most_pieces(shape->max_length);

	if (threads == 1 || tasks == 0)
		return 1;
	return wanted <= tasks * most ? (int) ((wanted + tasks - 1) / tasks) : most;
}

/* Some queries of a head: number in [0, sequences * kv_heads * pieces). */
static void
attend_piece(Device *device, const AttentionShape *shape, int pieces,
             int64_t number, Tensor out, Tensor q, Tensor k, Tensor v,
             Tensor lse)
{
	int64_t whole = (int64_t) shape->sequences * shape->kv_heads;
	/* The last queries see most: who comes late shall find little. */
	int piece = pieces - 1 - (int) (number / whole);
	int head = (int) (number % whole % shape->kv_heads);
	int sequence = (int) (number % whole / shape->kv_heads);
	int64_t own = sequence_tokens(shape, sequence);
	int cut = pieces < most_pieces(own) ? pieces : most_pieces(own);
	int first = (int) (own * piece / cut);
	int last = (int) (own * (piece + 1) / cut);
	Forward f = {.out = out, .q = q};

	if (piece >= cut || !forward_begin(&f, device, shape, sequence, head))
		return;
	pack_tiles(&f.task, f.tiles, k);
	pack_panel(&f.task, f.values, v);
	for (int i = first; i < last; i += f.task.queries)
	{
		task_set_block(&f.task, f.task.before + i, f.task.before + last);
		forward_block(&f, lse);
	}
}

void
cpu_attention(Device *device, const AttentionShape *shape, Tensor out, Tensor q,
              Tensor k, Tensor v, Tensor lse)
{
	int pieces = pieces_of(shape, cpu_threads(device));
	int64_t tasks = (int64_t) shape->sequences * shape->kv_heads * pieces;

	if (q.rows * q.cols <= CPU_PARALLEL_MIN / 8)
	{
		for (int64_t i = 0; i < tasks; i++)
			attend_piece(device, shape, pieces, i, out, q, k, v, lse);
		return;
	}
#pragma omp parallel for schedule(dynamic)
	for (int64_t i = 0; i < tasks; i++)
		attend_piece(device, shape, pieces, i, out, q, k, v, lse);
}
