/*
 * attention_pairs.c
 *		Products of attention's backward pass by numbers rounded to bf16.
 *
 * They follow those of attention_task.c, row by row and tile by tile.
 */
#include "device/cpu/attention_pairs.h"

/* From a row of `left` to the next one, beside its pairs. */
#define ROW_REST BF16_PAIRS

/* AMX's tiles are emptied through memory, which attention's short sums would
 * wait for; and where there is AMX, AVX512-BF16 is slow: a fourth of
 * AVX512-VNNI's speed (Xeon, family 6, model 207), of which fp32 has half. */
static const PairKernels *
choose_kernels(void)
{
	return bf16_amx() == NULL ? bf16_avx512() : NULL;
}

AttentionPairs
attention_pairs(const Device *device, const AttentionTask *task)
{
	bool is_rounded =
		device->products == DTYPE_BF16 && task->shape->relative == NULL;

	return (AttentionPairs){
		.kernels = is_rounded ? choose_kernels() : NULL,
		.columns = padded(task->width, BF16_COLS) / BF16_COLS,
		.depth = padded(task->shape->head_dim, 2 * BF16_PAIRS) / 2,
		.row_pairs = padded(most_rows(task), 2 * BF16_PAIRS) / 2};
}

static size_t
keys_size(const AttentionPairs *pairs, const AttentionTask *task)
{
	return (size_t) pairs->columns * (size_t) task->length / 2 * BF16_COLS;
}

static size_t
values_size(const AttentionPairs *pairs, const AttentionTask *task)
{
	return (size_t) task->length * (size_t) pairs->depth;
}

static size_t
block_size(const AttentionPairs *pairs)
{
	return (size_t) pairs->columns * (size_t) pairs->row_pairs * BF16_COLS;
}

/* Rows of a chunk by keys, or keys of a tile by rows. */
static size_t
left_size(const AttentionPairs *pairs, const AttentionTask *task)
{
	size_t by_keys =
		(size_t) task->tiles->rows * (ATTENTION_BLOCK / 2 + ROW_REST);
	size_t by_rows = ATTENTION_KEYS * (size_t) (pairs->row_pairs + ROW_REST);

	return by_keys > by_rows ? by_keys : by_rows;
}

size_t
pairs_size(const AttentionPairs *pairs, const AttentionTask *task)
{
	if (pairs->kernels == NULL)
		return 0;
	return keys_size(pairs, task) + values_size(pairs, task) +
	       2 * block_size(pairs) +
	       (size_t) most_rows(task) * (size_t) pairs->depth +
	       left_size(pairs, task);
}

void
pairs_place(AttentionPairs *pairs, const AttentionTask *task, void *memory)
{
	uint32_t *at = memory;

	pairs->keys = at;
	pairs->values = at += keys_size(pairs, task);
	pairs->queries = at += values_size(pairs, task);
	pairs->dout = at += block_size(pairs);
	pairs->rows = at += block_size(pairs);
	pairs->left = at + (size_t) most_rows(task) * (size_t) pairs->depth;
}

/* Columns of the task's width in its panel number `panel`. */
static int
panel_cols(const AttentionTask *task, int panel)
{
	int rest = task->width - panel * BF16_COLS;

	return rest < BF16_COLS ? rest : BF16_COLS;
}

/* Panels of pairs of rows, from x[count][width]. */
static void
pack_across(const AttentionPairs *pairs, const AttentionTask *task,
            uint32_t *to, int64_t stride, const float *x, int count)
{
	for (int i = 0; i < pairs->columns; i++)
		pairs->kernels->panel_across(to + i * stride * BF16_COLS,
		                             x + i * BF16_COLS, task->width,
		                             panel_cols(task, i), count);
}

void
pairs_set_sequence(const AttentionPairs *pairs, const AttentionTask *task,
                   const float *keys, const float *values)
{
	int end = padded(task->tokens, ATTENTION_KEYS);

	pack_across(pairs, task, pairs->keys, task->length / 2, keys, end);
	for (int j = 0; j < end; j += ATTENTION_KEYS)
		pairs->kernels->panel_along(pairs->values +
		                                (size_t) j * (size_t) pairs->depth,
		                            values + panel_size(task, j), task->width,
		                            ATTENTION_KEYS, task->shape->head_dim);
}

void
pairs_set_block(const AttentionPairs *pairs, const AttentionTask *task,
                const float *queries, const float *dout)
{
	pack_across(pairs, task, pairs->queries, pairs->row_pairs, queries,
	            task->rows);
	pack_across(pairs, task, pairs->dout, pairs->row_pairs, dout, task->rows);
	pairs->kernels->rows_along(pairs->rows, pairs->depth, dout, task->width,
	                           task->rows, task->shape->head_dim);
}

/* c[rows][cols] = beta c + a b, of any number of rows. */
static void
multiply(const AttentionPairs *pairs, float *c, int64_t c_stride,
         const uint32_t *a, int64_t a_stride, const uint32_t *b, int depth,
         int rows, int cols, float beta)
{
	int strips = (rows + pairs->kernels->rows - 1) / pairs->kernels->rows;

	for (int i = 0; i < strips; i++)
	{
		int first = rows * i / strips;
		int last = rows * (i + 1) / strips;

		pairs->kernels->tile(c + first * c_stride, c_stride,
		                     a + first * a_stride, a_stride, b, depth,
		                     last - first, cols, beta, NULL);
	}
}

void
pairs_multiply_values(const AttentionPairs *pairs, const AttentionTask *task,
                      float *score, int start, int end)
{
	for (int j = start; j < end; j += ATTENTION_KEYS)
	{
		int first, last;

		task_rows_of_tile(task, j, &first, &last);
		multiply(pairs, score + (size_t) first * SCORE_STRIDE + j - start,
		         SCORE_STRIDE, pairs->rows + first * pairs->depth, pairs->depth,
		         pairs->values + (size_t) j * (size_t) pairs->depth,
		         pairs->depth, last - first, ATTENTION_KEYS, 0);
	}
}

void
pairs_multiply_keys(const AttentionPairs *pairs, const AttentionTask *task,
                    float *out, const float *score, int start, int end)
{
	int64_t stride = ATTENTION_BLOCK / 2 + ROW_REST;

	for (int r = 0; r < task->rows; r += task->tiles->rows)
	{
		Chunk chunk = task_chunk(task, r, start, end);
		int depth = chunk.to - chunk.from;

		if (depth <= 0)
			continue;
		pairs->kernels->rows_along(pairs->left, stride,
		                           score + (size_t) r * SCORE_STRIDE +
		                               chunk.from - start,
		                           SCORE_STRIDE, chunk.rows, depth);
		for (int i = 0; i < pairs->columns; i++)
			multiply(pairs, out + panel_size(task, r) + i * BF16_COLS,
			         task->width, pairs->left, stride,
			         pairs->keys + ((size_t) i * (size_t) task->length +
			                        (size_t) chunk.from) /
			                           2 * BF16_COLS,
			         depth / 2, chunk.rows, panel_cols(task, i), 1);
	}
}

void
pairs_add_to_panel(const AttentionPairs *pairs, const AttentionTask *task,
                   float *panel, const float *score, const uint32_t *right,
                   int start, int end)
{
	int64_t stride = pairs->row_pairs + ROW_REST;

	for (int j = start; j < end; j += ATTENTION_KEYS)
	{
		int first, last;

		/* Chunks begin at even rows, so pairs do. */
		task_rows_of_tile(task, j, &first, &last);
		if (first >= last)
			continue;
		pairs->kernels->rows_across(pairs->left, stride,
		                            score + (size_t) first * SCORE_STRIDE + j -
		                                start,
		                            SCORE_STRIDE, ATTENTION_KEYS, last - first);
		for (int i = 0; i < pairs->columns; i++)
			multiply(pairs, panel + panel_size(task, j) + i * BF16_COLS,
			         task->width, pairs->left, stride,
			         right + ((size_t) i * (size_t) pairs->row_pairs +
			                  (size_t) first / 2) *
			                     BF16_COLS,
			         (last - first + 1) / 2, ATTENTION_KEYS,
			         panel_cols(task, i), 1);
	}
}
