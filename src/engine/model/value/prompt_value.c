/*
 * prompt_value.c
 *		Values of prompts, from the hidden states of a pass.
 */
#include "model/layers.h"
#include "model/value/value_head.h"

#include <string.h>

/* Where a pass has a sequence: its first tokens in rows that others share,
 * the rest behind each other. */
typedef struct Rows
{
	int shared; /* tokens */
	int first;  /* row of the first of these */
	int own;    /* row of the first that is its own */
} Rows;

/* The rows of all given sequences, which the pass has in their order. */
static void
find_rows(const SharedBatch *shared, Rows *rows)
{
	const Batch *batch = &shared->batch;

	for (int n = 0; n < batch->sequences; n++)
	{
		int prefix = shared->prefix == NULL ? -1 : shared->prefix[n];

		/* What others continue is of no given sequence alone. */
		if (shared->prefix != NULL && n + 1 < batch->sequences &&
		    shared->prefix[n + 1] == n)
			continue;
		*rows++ =
			(Rows){tokens_before(shared, n),
		           prefix < 0 ? 0 : batch->offset[prefix], batch->offset[n]};
	}
}

static int
prompt_tokens(const Batch *batch, int s)
{
	return batch->target[s] - batch->offset[s];
}

static bool
has_same_prompt(const Batch *batch, int s, int other)
{
	int tokens = prompt_tokens(batch, s);

	return tokens == prompt_tokens(batch, other) &&
	       memcmp(batch->ids + batch->offset[s],
	              batch->ids + batch->offset[other],
	              (size_t) tokens * sizeof(int32_t)) == 0;
}

/* The hidden states of a prompt in one piece: where they are, or in copy. */
static const float *
gather(const Rows *rows, const float *hidden, int tokens, size_t width,
       float *copy)
{
	size_t shared = (size_t) rows->shared * width;

	if (rows->shared == 0)
		return hidden + (size_t) rows->own * width;
	memcpy(copy, hidden + (size_t) rows->first * width, shared * sizeof(float));
	memcpy(copy + shared, hidden + (size_t) rows->own * width,
	       ((size_t) tokens * width - shared) * sizeof(float));
	return copy;
}

bool
prompt_values_read(Arena *arena, const PromptValues *values, const Batch *batch,
                   const SharedBatch *shared, const float *hidden,
                   Failure *failure)
{
	const ValueHead *head = values->head;
	size_t width = (size_t) head->hidden;
	ValuePass *pass = value_pass_create(arena, head);
	Rows *rows;
	float *copy, *attention;
	int64_t longest = 0;
	int before = -1; /* the one valued before */

	for (int s = 0; s < batch->sequences; s++)
		if (prompt_tokens(batch, s) > longest)
			longest = prompt_tokens(batch, s);
	if (!arena_try_tables(
			arena,
			(const ArenaTable[]){
				{(void **) &rows, batch->sequences, sizeof(Rows)},
				{(void **) &copy, longest, width * sizeof(float)},
				{(void **) &attention, longest * head->heads, sizeof(float)}},
			3, failure))
		return false;
	find_rows(shared, rows);
	value_pass_begin(pass);
	for (int s = 0; s < batch->sequences; s++)
	{
		int tokens = prompt_tokens(batch, s);

		if (!values->wanted[s])
			continue;
		if (before >= 0 && has_same_prompt(batch, s, before))
			values->value[s] = values->value[before];
		else
			values->value[s] = value_of(
				head, value_forward(
						  pass, gather(&rows[s], hidden, tokens, width, copy),
						  tokens, NULL, attention));
		before = s;
	}
	return true;
}
