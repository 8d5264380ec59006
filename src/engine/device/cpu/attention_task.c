/*
 * attention_task.c
 *		Attention in pieces: panels, and products of rows and keys that see
 *		each other.
 */
#include "device/cpu/attention_task.h"

#include <string.h>

/* Rows that are asked for before they are read. */
#define FETCH_ROWS 16

int
sequence_tokens(const AttentionShape *shape, int sequence)
{
	return shape->offset[sequence + 1] - shape->offset[sequence];
}

int
sequence_prefix(const AttentionShape *shape, int sequence)
{
	return shape->prefix == NULL ? -1 : shape->prefix[sequence];
}

static const AttentionTiles *
choose_tiles(void)
{
#ifdef __x86_64__
	if (cpu_vectors() == VECTORS_AVX512)
		return &attention_tiles_avx512;
	if (cpu_vectors() == VECTORS_AVX2)
		return &attention_tiles_avx2;
#endif
	return &attention_tiles_portable;
}

AttentionTask
attention_task(const AttentionShape *shape, int head, int tokens)
{
	int group = shape->heads / shape->kv_heads;

	return (AttentionTask){
		.shape = shape,
		.tiles = choose_tiles(),
		.group = group,
		.first_head = head * group,
		.kv_column = (int64_t) head * shape->head_dim,
		.width = padded(shape->head_dim, LANES),
		.queries = group < ATTENTION_ROWS ? ATTENTION_ROWS / group : 1,
		.length = padded(tokens, ATTENTION_KEYS)};
}

void
task_set_sequence(AttentionTask *task, int sequence)
{
	const AttentionShape *shape = task->shape;
	int prefix = sequence_prefix(shape, sequence);

	task->before = prefix < 0 ? 0 : sequence_tokens(shape, prefix);
	task->before_start = prefix < 0 ? 0 : shape->offset[prefix];
	task->tokens = task->before + sequence_tokens(shape, sequence);
	task->start = (int64_t) shape->offset[sequence] - task->before;
	task->window = shape->window < task->tokens ? shape->window : 0;
}

void
task_set_block(AttentionTask *task, int first, int end)
{
	int last = first + task->queries;

	task->first = first;
	task->last = last < end ? last : end;
	task->rows = (task->last - first) * task->group;
	task->end = end;
}

Chunk
task_chunk(const AttentionTask *task, int row, int start, int end)
{
	int rest = task->rows - row;
	int rows = rest < task->tiles->rows ? rest : task->tiles->rows;
	int first = task->first + row / task->group;
	int last = task->first + (row + rows - 1) / task->group;
	int from = seen_from(task, first) / ATTENTION_KEYS * ATTENTION_KEYS;
	int to = padded(seen_to(task, last), ATTENTION_KEYS);

	return (Chunk){row, rows, from > start ? from : start, to < end ? to : end};
}

/* ---------------------------------------------------------------- panels */

/* Tokens [first, last) of the sequence, in row `row` of x and the next. */
static void
pack_panel_part(const AttentionTask *task, float *panel, Tensor x, int first,
                int last, int64_t row)
{
	size_t bytes = (size_t) task->shape->head_dim * sizeof(float);
	size_t rest = (size_t) task->width * sizeof(float) - bytes;

	for (int t = first; t < last; t++)
	{
		float *to = panel + panel_size(task, t);

		if (t + FETCH_ROWS < last)
			cpu_fetch(cpu_row(x, row + t + FETCH_ROWS - first) +
			              task->kv_column,
			          task->shape->head_dim);
		memcpy(to, cpu_row(x, row + t - first) + task->kv_column, bytes);
		memset(to + task->shape->head_dim, 0, rest);
	}
}

void
pack_panel(const AttentionTask *task, float *panel, Tensor x)
{
	int end = padded(task->tokens, ATTENTION_KEYS);

	pack_panel_part(task, panel, x, 0, task->before, task->before_start);
	pack_panel_part(task, panel, x, task->before, task->tokens,
	                query_row(task, task->before));
	memset(panel + panel_size(task, task->tokens), 0,
	       panel_size(task, end - task->tokens) * sizeof(float));
}

/* Some tokens of one tile: column `first` of it and the next. */
static void
pack_tile(const AttentionTiles *tiles, float *tile, const float *x,
          int64_t stride, int first, int last, int head_dim)
{
	if (tiles->turn != NULL && last - first == ATTENTION_KEYS)
	{
		tiles->turn(tile, x, stride, head_dim);
		return;
	}
	for (int d = 0; d < head_dim; d++)
		for (int j = first; j < last; j++)
			tile[d * ATTENTION_KEYS + j] = x[(j - first) * stride + d];
}

static void
pack_tiles_part(const AttentionTask *task, float *panel, Tensor x, int first,
                int last, int64_t row)
{
	int head_dim = task->shape->head_dim;

	while (first < last)
	{
		int column = first % ATTENTION_KEYS;
		int count = ATTENTION_KEYS - column;

		count = count < last - first ? count : last - first;
		for (int t = count; t < count + ATTENTION_KEYS && first + t < last; t++)
			cpu_fetch(cpu_row(x, row + t) + task->kv_column, head_dim);
		pack_tile(task->tiles,
		          panel + (size_t) (first - column) * (size_t) head_dim,
		          cpu_row(x, row) + task->kv_column, x.stride, column,
		          column + count, head_dim);
		first += count;
		row += count;
	}
}

void
pack_tiles(const AttentionTask *task, float *panel, Tensor x)
{
	int head_dim = task->shape->head_dim;
	int rest = task->tokens % ATTENTION_KEYS;
	size_t last = (size_t) (task->tokens - rest) * (size_t) head_dim;

	/* Before the last tile is filled in part. */
	if (rest > 0)
		memset(panel + last, 0,
		       ATTENTION_KEYS * (size_t) head_dim * sizeof(float));
	pack_tiles_part(task, panel, x, 0, task->before, task->before_start);
	pack_tiles_part(task, panel, x, task->before, task->tokens,
	                query_row(task, task->before));
}

CPU_KERNEL void
load_rows(const AttentionTask *task, float *rows, Tensor x, float factor)
{
	int head_dim = task->shape->head_dim;

	for (int i = task->first; i < task->last; i++)
	{
		const float *from = cpu_row(x, query_row(task, i)) +
		                    (size_t) task->first_head * (size_t) head_dim;

		for (int h = 0; h < task->group; h++)
		{
			scale_numbers(rows, from, head_dim, factor);
			rows += task->width;
			from += head_dim;
		}
	}
}

CPU_KERNEL void
store_rows(const AttentionTask *task, Tensor x, const float *rows,
           const float *factor)
{
	int head_dim = task->shape->head_dim;

	for (int i = task->first; i < task->last; i++)
	{
		float *to = cpu_row(x, query_row(task, i)) +
		            (size_t) task->first_head * (size_t) head_dim;

		for (int h = 0; h < task->group; h++)
		{
			scale_numbers(to, rows, head_dim, *factor++);
			rows += task->width;
			to += head_dim;
		}
	}
}

/* -------------------------------------------------------------- products */

/* Up to key j + KEYS - 1 a query may begin, and from j on it may end. */
void
task_rows_of_tile(const AttentionTask *task, int j, int *first, int *end)
{
	int step = task->tiles->rows;
	int queries = j + ATTENTION_KEYS - 1 + task->window - task->first;

	*first = task->shape->is_bidirectional || j < task->first
	             ? 0
	             : (j - task->first) * task->group / step * step;
	*end = task->rows;
	if (task->window > 0 && queries < task->last - task->first)
		*end = queries < 0 ? 0 : padded(queries * task->group, step);
	if (*end > task->rows)
		*end = task->rows;
}

void
multiply_tiles(const AttentionTask *task, float *score, const float *rows,
               const float *tiles, int start, int end)
{
	int head_dim = task->shape->head_dim;

	for (int j = start; j < end; j += ATTENTION_KEYS)
	{
		int first, last;

		task_rows_of_tile(task, j, &first, &last);
		task->tiles->multiply(
			score + (size_t) first * SCORE_STRIDE + j - start, SCORE_STRIDE,
			(TileLeft){rows + panel_size(task, first), task->width, 1},
			tiles + (size_t) j * (size_t) head_dim, ATTENTION_KEYS, head_dim,
			last - first, ATTENTION_KEYS, false);
	}
}

void
multiply_panel(const AttentionTask *task, float *out, const float *score,
               const float *panel, int start, int end)
{
	for (int column = 0; column < task->width; column += 2 * LANES)
		for (int r = 0; r < task->rows; r += task->tiles->rows)
		{
			Chunk chunk = task_chunk(task, r, start, end);

			if (chunk.from >= chunk.to)
				continue;
			task->tiles->multiply(
				out + panel_size(task, r) + column, task->width,
				(TileLeft){score + (size_t) r * SCORE_STRIDE + chunk.from -
			                   start,
			               SCORE_STRIDE, 1},
				panel + panel_size(task, chunk.from) + column, task->width,
				chunk.to - chunk.from, chunk.rows,
				task->width - column < 2 * LANES ? LANES : 2 * LANES, true);
		}
}

void
add_to_panel(const AttentionTask *task, float *panel, const float *score,
             const float *rows, int start, int end)
{
	for (int column = 0; column < task->width; column += 2 * LANES)
		for (int j = start; j < end; j += ATTENTION_KEYS)
		{
			int first, last;

			task_rows_of_tile(task, j, &first, &last);
			task->tiles->multiply(
				panel + panel_size(task, j) + column, task->width,
				(TileLeft){score + (size_t) first * SCORE_STRIDE + j - start, 1,
			               SCORE_STRIDE},
				rows + panel_size(task, first) + column, task->width,
				last - first, ATTENTION_KEYS,
				task->width - column < 2 * LANES ? LANES : 2 * LANES, true);
		}
}

/* ------------------------------------------------------------- distances */

void
add_relative(const AttentionTask *task, float *score, int start, int end)
{
	const RelativeScores *relative = task->shape->relative;

	end = end < task->tokens ? end : task->tokens;
	for (int i = task->first; i < task->last; i++)
		for (int h = 0; h < task->group; h++)
		{
			int64_t column =
				(int64_t) (task->first_head + h) * relative->buckets;
			const int32_t *bucket = relative->bucket + relative->reach + i;
			const float *of_query =
				relative->query.data == NULL
					? NULL
					: cpu_row(relative->query, query_row(task, i));

			for (int j = start; j < end; j++)
			{
				int64_t at = column + bucket[-j];
				float sum = of_query == NULL ? 0 : of_query[at];

				if (relative->key.data != NULL)
					sum += cpu_row(relative->key, query_row(task, j))[at];
				score[j - start] += task->shape->scale * sum;
			}
			score += SCORE_STRIDE;
		}
}

/* One task owns the columns of a head and the rows of a sequence. */
void
add_relative_grad(const AttentionTask *task, const float *dscore, int start,
                  int end)
{
	const RelativeScores *relative = task->shape->relative;
	float scale = task->shape->scale;

	end = end < task->tokens ? end : task->tokens;
	for (int i = task->first; i < task->last; i++)
		for (int h = 0; h < task->group; h++)
		{
			int64_t column =
				(int64_t) (task->first_head + h) * relative->buckets;
			const int32_t *bucket = relative->bucket + relative->reach + i;

			for (int j = start; j < end; j++)
			{
				int64_t at = column + bucket[-j];
				float grad = scale * dscore[j - start];

				if (relative->dquery.data != NULL)
					cpu_row(relative->dquery, query_row(task, i))[at] += grad;
				if (relative->dkey.data != NULL)
					cpu_row(relative->dkey, query_row(task, j))[at] += grad;
			}
			dscore += SCORE_STRIDE;
		}
}
