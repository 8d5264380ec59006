/*
 * score.c
 *		What a model says of given texts: log-probabilities, hidden states,
 *		logits.
 */
#include "model/layers.h"

#include "base/poll.h"

#include <string.h>

int
batch_targets(const Batch *batch, int first, int count)
{
	int targets = 0;

	for (int s = first; s < first + count; s++)
		targets += batch->offset[s + 1] - batch->target[s];
	return targets;
}

/* How many sequences from the first on make a micro-batch of the budget: at
 * least one. */
static int
count_within(const Batch *batch, int first, int budget)
{
	int count = 1;

	while (first + count < batch->sequences &&
	       batch->offset[first + count + 1] - batch->offset[first] <= budget)
		count++;
	return count;
}

bool
batch_run_parts(Model *model, const Batch *batch, PartFunction run, float *out,
                Failure *failure)
{
	int budget = model_token_budget(model, false);
	bool done = true;

	for (int first = 0; done && first < batch->sequences;)
	{
		Arena *arena = arena_create();
		Batch part = batch_range(arena, batch, first,
		                         count_within(batch, first, budget));

		done = poll_check(failure) && run(model, arena, &part, &out, failure);
		first += part.sequences;
		arena_destroy(arena);
	}
	return done;
}

/* Log-probabilities of all targets of one micro-batch, and where value is not
 * NULL their values. */
static bool
score_targets(Model *model, Arena *arena, const Batch *batch, float *logp,
              float *value, Failure *failure)
{
	Device *device = model->device;
	int targets = batch_targets(batch, 0, batch->sequences);
	int32_t *row = arena_alloc(arena, (size_t) targets * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, (size_t) targets * sizeof(int32_t));
	SharedBatch shared = batch_share(arena, batch, true);
	void *memory;
	Pass pass;
	Head head;

	if (targets == 0)
		return true;
	batch_list_targets(batch, &shared, row, target);
	if (!pass_begin(&pass, model, &shared, targets, row, false,
	                head_size(model, targets, false), &memory, failure))
		return false;
	head_begin(&head, &pass, pass_forward(&pass), target, false, memory);
	if (value != NULL)
		token_values_forward(&head, model, value);
	for (int first = 0; first < targets; first += head.chunk)
	{
		int count = first + head.chunk < targets ? head.chunk : targets - first;

		head_logprobs(&head, model, first, count);
		device->download(device, logp + first, head.logp.data,
		                 (size_t) count * sizeof(float));
	}
	return device->sync(device, failure) &&
	       outputs_are_finite(logp, targets, failure) &&
	       (value == NULL || outputs_are_finite(value, targets, failure));
}

/* A batch on its way through scoring, in the order of what is shared. */
typedef struct Scoring
{
	const Batch *batch;
	int32_t *order; /* [S] */
	int32_t *cost;  /* [S] as of batch_order() */
	int32_t *place; /* [S] targets before a sequence's own */
} Scoring;

static bool
scoring_begin(Scoring *scoring, Arena *arena, const Batch *batch,
              Failure *failure)
{
	const ArenaTable tables[] = {
		{(void **) &scoring->order, batch->sequences, sizeof(int32_t)},
		{(void **) &scoring->cost, batch->sequences, sizeof(int32_t)},
		{(void **) &scoring->place, batch->sequences, sizeof(int32_t)},
	};
	int targets = 0;

	scoring->batch = batch;
	if (!arena_try_tables(arena, tables, sizeof(tables) / sizeof(tables[0]),
	                      failure))
		return false;
	for (int s = 0; s < batch->sequences; s++)
	{
		scoring->place[s] = targets;
		targets += batch_targets(batch, s, 1);
	}
	batch_order(arena, batch, scoring->order, scoring->cost);
	return true;
}

/* The sequences order[first, ...) that make a micro-batch of the budget: at
 * least one; copies in arena. */
static Batch
scoring_part(const Scoring *scoring, Arena *arena, int first, int budget)
{
	const Batch *batch = scoring->batch;
	const int32_t *order = scoring->order + first;
	int length = batch->offset[order[0] + 1] - batch->offset[order[0]];
	int tokens = length; /* with what is shared */
	int cost = length;   /* without */
	int count = 1;
	int32_t *offset, *target, *ids;

	for (; first + count < batch->sequences; count++)
	{
		if (scoring->cost[first + count] > budget - cost)
			break;
		cost += scoring->cost[first + count];
		tokens += batch->offset[order[count] + 1] - batch->offset[order[count]];
	}
	offset = arena_alloc(arena, (size_t) (count + 1) * sizeof(int32_t));
	target = arena_alloc(arena, (size_t) count * sizeof(int32_t));
	ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
	for (int i = 0; i < count; i++)
	{
		int start = batch->offset[order[i]];

		length = batch->offset[order[i] + 1] - start;
		offset[i + 1] = offset[i] + length;
		target[i] = offset[i] + batch->target[order[i]] - start;
		memcpy(ids + offset[i], batch->ids + start,
		       (size_t) length * sizeof(int32_t));
	}
	return (Batch){count, offset, target, ids, NULL};
}

/* What a part gave to where the batch has it. */
static void
scoring_store(const Scoring *scoring, int first, const Batch *part,
              const float *logp, const float *value, float *out)
{
	int width = value == NULL ? 1 : 2;

	for (int i = 0; i < part->sequences; i++)
	{
		int64_t place = scoring->place[scoring->order[first + i]];
		float *target = out + place * width;

		for (int t = part->target[i]; t < part->offset[i + 1]; t++)
		{
			*target++ = *logp++;
			if (value != NULL)
				*target++ = *value++;
		}
	}
}

bool
score_batch(Model *model, const Batch *batch, bool is_valued, float *out,
            Failure *failure)
{
	Arena *whole = arena_create();
	int budget = model_token_budget(model, false);
	Scoring scoring;
	bool done = model_require(model, MODEL_LANGUAGE, failure) &&
	            scoring_begin(&scoring, whole, batch, failure);

	for (int first = 0; done && first < batch->sequences;)
	{
		Arena *arena = arena_create();
		Batch part = scoring_part(&scoring, arena, first, budget);
		size_t bytes =
			(size_t) batch_targets(&part, 0, part.sequences) * sizeof(float);
		float *logp = arena_alloc(arena, bytes);
		float *value = is_valued ? arena_alloc(arena, bytes) : NULL;

		done = poll_check(failure) &&
		       score_targets(model, arena, &part, logp, value, failure);
		if (done)
			scoring_store(&scoring, first, &part, logp, value, out);
		first += part.sequences;
		arena_destroy(arena);
	}
	arena_destroy(whole);
	return done;
}

bool
model_logprobs(Model *model, const Batch *batch, float *logp, Failure *failure)
{
	return score_batch(model, batch, false, logp, failure);
}

static bool
hidden_of_part(Model *model, Arena *arena, const Batch *batch, float **out,
               Failure *failure)
{
	Device *device = model->device;
	size_t numbers = (size_t) batch->offset[batch->sequences] *
	                 (size_t) model->config.hidden;
	const SharedBatch alone = batch_alone(batch);
	Tensor output;
	void *memory;
	Pass pass;

	(void) arena;
	if (!pass_begin(
			&pass, model, &alone, 0, NULL, false,
			sizeof(float) * 2 * (size_t) batch->offset[batch->sequences] + 64,
			&memory, failure))
		return false;
	output = pass_forward(&pass);
	output = output_norm(model, output, tensor_at(memory, pass.tokens, 2),
	                     pass.wide);
	device->download(device, *out, output.data, numbers * sizeof(float));
	*out += numbers;
	return device->sync(device, failure);
}

bool
model_hidden(Model *model, const Batch *batch, float *hidden, Failure *failure)
{
	return batch_run_parts(model, batch, hidden_of_part, hidden, failure);
}

static bool
last_logits_of_part(Model *model, Arena *arena, const Batch *batch, float **out,
                    Failure *failure)
{
	Device *device = model->device;
	int rows = batch->sequences;
	int64_t width = model->config.vocabulary;
	int32_t *row = arena_alloc(arena, (size_t) rows * sizeof(int32_t));
	const float *start = *out;
	const SharedBatch alone = batch_alone(batch);
	void *memory;
	Pass pass;
	Head head;

	for (int s = 0; s < rows; s++)
		row[s] = batch->offset[s + 1] - 1;
	if (!pass_begin(&pass, model, &alone, rows, row, false,
	                head_size(model, rows, false), &memory, failure))
		return false;
	head_begin(&head, &pass, pass_forward(&pass), NULL, false, memory);
	for (int first = 0; first < rows; first += head.chunk)
	{
		int count = first + head.chunk < rows ? head.chunk : rows - first;

		head_logits(&head, model, first, count);
		device->download(device, *out, head.logits.data,
		                 (size_t) count * (size_t) width * sizeof(float));
		*out += count * width;
	}
	return device->sync(device, failure) &&
	       outputs_are_finite(start, *out - start, failure);
}

bool
model_last_logits(Model *model, const Batch *batch, float *logits,
                  Failure *failure)
{
	return model_require(model, MODEL_LANGUAGE, failure) &&
	       batch_run_parts(model, batch, last_logits_of_part, logits, failure);
}
