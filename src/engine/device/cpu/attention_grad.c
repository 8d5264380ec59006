/*
 * attention_grad.c
 *		Attention over packed sequences, causal or not, backward.
 *
 * A unit is a key/value head of a sequence and all that continue it: gradients
 * of its keys and values are sums in a fixed order.  Where there are few units
 * each is cut into pieces, by queries or by sequences, whose sums are added in
 * their order; how many follows from the shape alone, so that threads change
 * no bit.
 */
#include "device/cpu/attention_pairs.h"
#include "device/cpu/attention_task.h"
#include "device/cpu/exp.h"

#include <math.h>
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
	float *values;  /* by tiles, or where products are rounded as keys */
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
	AttentionPairs pairs;
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
	bool is_first = start <= seen_from(task, task->first);

	for (int r = chunk.first; r < chunk.first + chunk.rows; r++)
	{
		size_t at = (size_t) r * SCORE_STRIDE + (size_t) (chunk.from - start);
		int from = seen_from(task, i) - chunk.from;
		int to = seen_to(task, i) - chunk.from;

		if (is_first)
		{
			fetch_row(task, b->tensor->dq, r, false);
			fetch_row(task, b->tensor->q, r, true);
			fetch_row(task, b->tensor->dout, r, true);
			fetch_row(task, b->tensor->out, r, true);
		}
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
	const AttentionPairs *pairs = &b->pairs;
	bool is_rounded = pairs->kernels != NULL;

	multiply_tiles(task, b->score, b->queries, b->key_tiles, start, end);
	if (is_rounded)
		pairs_multiply_values(pairs, task, b->dscore, start, end);
	else
		multiply_tiles(task, b->dscore, b->dout, b->values, start, end);
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
	if (is_rounded)
	{
		pairs_multiply_keys(pairs, task, b->dquery, b->dscore, start, end);
		pairs_add_to_panel(pairs, task, b->dkeys, b->dscore, pairs->queries,
		                   start, end);
		pairs_add_to_panel(pairs, task, b->dvalues, b->score, pairs->dout,
		                   start, end);
		return;
	}
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
	if (b->pairs.kernels != NULL)
		pairs_set_block(&b->pairs, task, b->queries, b->dout);
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

/* Own queries [first, last) of a sequence: adds to the gradients of what it
 * continues, in the panels, and sets those of its own. */
static void
backward_queries(Backward *b, int sequence, int first, int last)
{
	AttentionTask *task = &b->task;
	const Gradient *g = b->tensor;
	size_t own;

	task_set_sequence(task, sequence);
	own = panel_size(task, padded(task->tokens, ATTENTION_KEYS)) -
	      panel_size(task, task->before);
	pack_panel(task, b->keys, g->k);
	pack_tiles(task, b->key_tiles, g->k);
	if (b->pairs.kernels != NULL)
	{
		pack_panel(task, b->values, g->v);
		pairs_set_sequence(&b->pairs, task, b->keys, b->values);
	}
	else
		pack_tiles(task, b->values, g->v);
	memset(b->dkeys + panel_size(task, task->before), 0, own * sizeof(float));
	memset(b->dvalues + panel_size(task, task->before), 0, own * sizeof(float));
	for (int i = first; i < last; i += task->queries)
	{
		task_set_block(task, task->before + i, task->before + last);
		backward_block(b);
	}
}

/* A whole sequence, and the gradients of its own to where they belong. */
static void
backward_sequence(Backward *b, int sequence)
{
	AttentionTask *task = &b->task;
	const Gradient *g = b->tensor;

	backward_queries(b, sequence, 0, sequence_tokens(task->shape, sequence));
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
	size = tiles + 4 * panel +
	       rows * (3 * (size_t) task->width + 2 * SCORE_STRIDE + 3);
	b->pairs = attention_pairs(device, task);
	at = cpu_scratch(device, size + pairs_size(&b->pairs, task));
	if (at == NULL || tokens == 0)
		return false;
	pairs_place(&b->pairs, task, at + size);
	b->key_tiles = at;
	b->values = at += tiles;
	b->keys = at += panel;
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

/* A sequence that continues none, first, and all that continue it. */
typedef struct Family
{
	int first;
	int last;   /* behind them */
	int tokens; /* of the first */
	int most;   /* of one of them, with what it continues */
} Family;

static Family
family_at(const AttentionShape *shape, int first)
{
	Family family = {.first = first,
	                 .last = first + 1,
	                 .tokens = sequence_tokens(shape, first)};
	int longest = 0;

	for (; family.last < shape->sequences &&
	       sequence_prefix(shape, family.last) == first;
	     family.last++)
		if (sequence_tokens(shape, family.last) > longest)
			longest = sequence_tokens(shape, family.last);
	family.most = family.tokens + longest;
	return family;
}

static void
backward_family(Device *device, const AttentionShape *shape, const Gradient *g,
                const Family *family, int head)
{
	Backward b = {.tensor = g};

	if (!backward_begin(&b, device, shape, head, family->most))
		return;
	for (int s = family->first; s < family->last; s++)
		backward_sequence(&b, s);
	if (family->last == family->first + 1)
		return;
	store_panel(&b.task, g->dk, b.dkeys, 0, family->tokens,
	            shape->offset[family->first]);
	store_panel(&b.task, g->dv, b.dvalues, 0, family->tokens,
	            shape->offset[family->first]);
}

/* ---------------------------------------------------------------- pieces */

/* Fewer units are cut, into about so many pieces in all. */
#define UNITS_FEW 8

/* Families in pieces; sums[family][head][piece][2][most][width] are the pieces'
 * panels, of which the tokens of a family's first sequence count. */
typedef struct Pieces
{
	const AttentionShape *shape;
	const Gradient *tensor;
	int count; /* of a unit */
	int most;  /* tokens of a family's panel */
	int width;
	float *sums;
} Pieces;

/* How many pieces a unit is cut into: by the shape alone. */
static int
pieces_of(const AttentionShape *shape, int64_t units)
{
	int most = shape->max_length / PIECE_QUERIES + 1;
	int wanted = (int) ((UNITS_FEW + units - 1) / units);

	return wanted < most ? wanted : most;
}

static float *
piece_sums(const Pieces *pieces, int64_t number)
{
	return pieces->sums +
	       (size_t) number * 2 * (size_t) pieces->most * (size_t) pieces->width;
}

/* Where a piece begins among n: the pieces before it have about their part of
 * the work, which for queries of a text grows with what they see. */
static int
piece_begin(const Pieces *pieces, int piece, int n, bool grows)
{
	double part = (double) piece / pieces->count;

	return (int) (n * (grows ? sqrt(part) : part));
}

/* One piece of a unit, to its sums. */
static void
backward_piece(Device *device, const Pieces *pieces, const Family *family,
               int64_t number)
{
	const AttentionShape *shape = pieces->shape;
	int piece = (int) (number % pieces->count);
	int head = (int) (number / pieces->count % shape->kv_heads);
	int members = family->last - family->first;
	bool is_alone = members == 1;
	int n = is_alone ? family->tokens : members;
	bool grows = is_alone && !shape->is_bidirectional && shape->window == 0;
	int first = piece_begin(pieces, piece, n, grows);
	int last = piece_begin(pieces, piece + 1, n, grows);
	Backward b = {.tensor = pieces->tensor};
	size_t size;

	if (!backward_begin(&b, device, shape, head, family->most))
		return;
	b.dkeys = piece_sums(pieces, number);
	b.dvalues = b.dkeys + panel_size(&b.task, pieces->most);
	if (is_alone)
	{
		backward_queries(&b, family->first, first, last);
		return;
	}
	size = panel_size(&b.task, family->tokens) * sizeof(float);
	memset(b.dkeys, 0, size);
	memset(b.dvalues, 0, size);
	for (int s = first; s < last; s++)
		backward_sequence(&b, family->first + s);
}

/* The sums of a unit's pieces, added up, to where they belong. */
static void
add_pieces(const Pieces *pieces, const Family *family, int64_t unit)
{
	const AttentionShape *shape = pieces->shape;
	const Gradient *g = pieces->tensor;
	size_t half = (size_t) pieces->most * (size_t) pieces->width;
	size_t size = (size_t) family->tokens * (size_t) pieces->width;
	float *sums = piece_sums(pieces, unit * pieces->count);
	AttentionTask task =
		attention_task(shape, (int) (unit % shape->kv_heads), family->tokens);

	for (int piece = 1; piece < pieces->count; piece++)
	{
		const float *more = piece_sums(pieces, unit * pieces->count + piece);

#pragma omp simd
		for (size_t i = 0; i < size; i++)
			sums[i] += more[i];
#pragma omp simd
		for (size_t i = 0; i < size; i++)
			sums[half + i] += more[half + i];
	}
	store_panel(&task, g->dk, sums, 0, family->tokens,
	            shape->offset[family->first]);
	store_panel(&task, g->dv, sums + half, 0, family->tokens,
	            shape->offset[family->first]);
}

/* families[count], few. */
static void
backward_pieces(Device *device, const AttentionShape *shape, const Gradient *g,
                const Family *families, int count)
{
	int64_t units = (int64_t) count * shape->kv_heads;
	Pieces pieces = {.shape = shape,
	                 .tensor = g,
	                 .count = pieces_of(shape, units),
	                 .width = padded(shape->head_dim, LANES)};

	for (int i = 0; i < count; i++)
		if (padded(families[i].most, ATTENTION_KEYS) > pieces.most)
			pieces.most = padded(families[i].most, ATTENTION_KEYS);
	pieces.sums = cpu_shared_scratch(device, (size_t) (units * pieces.count) *
	                                             2 * (size_t) pieces.most *
	                                             (size_t) pieces.width);
	if (pieces.sums == NULL)
		return;
#pragma omp parallel for schedule(dynamic)
	for (int64_t number = 0; number < units * pieces.count; number++)
		backward_piece(device, &pieces,
		               &families[number / pieces.count / shape->kv_heads],
		               number);
#pragma omp parallel for schedule(static)
	for (int64_t unit = 0; unit < units; unit++)
		add_pieces(&pieces, &families[unit / shape->kv_heads], unit);
}

/* The families of the batch, if they are few: at most `most`; else 0. */
static int
find_families(const AttentionShape *shape, Family *families, int most)
{
	int count = 0;

	for (int s = 0; s < shape->sequences; s = families[count - 1].last)
	{
		if (count == most)
			return 0;
		families[count++] = family_at(shape, s);
	}
	return count;
}

/* A family and a head of keys, by the first sequence of the family. */
static void
backward_unit(Device *device, const AttentionShape *shape,
              const Gradient *gradient, int64_t number)
{
	int sequence = (int) (number / shape->kv_heads);
	Family family;

	if (sequence_prefix(shape, sequence) >= 0)
		return;
	family = family_at(shape, sequence);
	backward_family(device, shape, gradient, &family,
	                (int) (number % shape->kv_heads));
}

void
cpu_attention_grad(Device *device, const AttentionShape *shape, Tensor dq,
                   Tensor dk, Tensor dv, Tensor dout, Tensor out, Tensor q,
                   Tensor k, Tensor v, Tensor lse)
{
	int64_t tasks = (int64_t) shape->sequences * shape->kv_heads;
	bool is_small = q.rows * q.cols <= CPU_PARALLEL_MIN / 8;
	const Gradient gradient = {dq, dk, dv, dout, out, q, k, v, lse};
	Family few[UNITS_FEW];
	int families = 0;

	/* Distances' gradients have one writer a unit. */
	if (!is_small && shape->relative == NULL)
		families = find_families(shape, few, (UNITS_FEW - 1) / shape->kv_heads);
	if (families > 0 &&
	    pieces_of(shape, (int64_t) families * shape->kv_heads) > 1)
	{
		backward_pieces(device, shape, &gradient, few, families);
		return;
	}
	if (is_small)
	{
		for (int64_t i = 0; i < tasks; i++)
			backward_unit(device, shape, &gradient, i);
		return;
	}
#pragma omp parallel for schedule(dynamic)
	for (int64_t i = 0; i < tasks; i++)
		backward_unit(device, shape, &gradient, i);
}
