/*
 * score.c
 *		What a model says of given texts: log-probabilities, values of prompts,
 *		hidden states, logits.
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

/* A micro-batch and what is asked of it. */
typedef struct Part
{
	Batch batch;
	int targets;
	float *logp;         /* [targets] */
	float *token_value;  /* [targets]; NULL: not asked for */
	PromptValues values; /* of these sequences; head NULL: none is wanted */
} Part;

/* What a part has behind its pass. */
typedef struct PartMemory
{
	void *head;
	/* Where values are wanted, and with them all rows of the output: */
	Tensor stat;   /* [T, 2] of the final norm */
	int32_t *row;  /* device, [targets] */
	Tensor picked; /* [targets, C] */
} PartMemory;

static size_t
plan_part(const Model *model, const Part *part, int tokens, void *base,
          PartMemory *memory)
{
	Plan plan = {base, 0};

	memory->head = plan_bytes(&plan, head_size(model, part->targets, false));
	if (part->values.head != NULL)
	{
		memory->stat = plan_tensor(&plan, tokens, 2);
		memory->row =
			plan_bytes(&plan, (size_t) part->targets * sizeof(int32_t));
		memory->picked =
			plan_tensor(&plan, part->targets, model->config.hidden);
	}
	return plan.used;
}

/* Hidden states of all rows of a pass, [T, C], to the host. */
static void
download_hidden(Pass *pass, Tensor output, Tensor stat, float *hidden)
{
	Device *device = pass->model->device;
	Tensor normed = output_norm(pass->model, output, stat, pass->wide);

	device->download(device, hidden, normed.data,
	                 (size_t) normed.rows * (size_t) normed.cols *
	                     sizeof(float));
}

/* Of all rows those that predict something. */
static Tensor
pick_rows(Device *device, const PartMemory *memory, Tensor output,
          const int32_t *row)
{
	device->upload(device, memory->row, row,
	               (size_t) memory->picked.rows * sizeof(int32_t));
	device->gather_rows(device, memory->picked, output, memory->row, 0);
	return memory->picked;
}

/* Log-probabilities of all targets, from the rows that predict them. */
static void
score_rows(const Part *part, Pass *pass, Tensor rows, const int32_t *target,
           void *memory)
{
	Model *model = pass->model;
	Device *device = model->device;
	Head head;

	head_begin(&head, pass, rows, target, false, memory);
	if (part->token_value != NULL)
		token_values_forward(&head, model, part->token_value);
	for (int first = 0; first < part->targets; first += head.chunk)
	{
		int left = part->targets - first;
		int count = left < head.chunk ? left : head.chunk;

		head_logprobs(&head, model, first, count);
		device->download(device, part->logp + first, head.logp.data,
		                 (size_t) count * sizeof(float));
	}
}

/* Log-probabilities alone: behind the last attention only of rows that predict
 * something. */
static bool
score_targets(Model *model, const Part *part, const SharedBatch *shared,
              const int32_t *row, const int32_t *target, Failure *failure)
{
	PartMemory memory;
	void *more;
	Pass pass;

	if (part->targets == 0)
		return true;
	if (!pass_begin(&pass, model, shared, part->targets, row, false,
	                plan_part(model, part, 0, NULL, &memory), &more, failure))
		return false;
	plan_part(model, part, 0, more, &memory);
	score_rows(part, &pass, pass_forward(&pass), target, memory.head);
	return true;
}

/* With values, for which the hidden states of whole prompts are needed. */
static bool
score_prompts(Model *model, Arena *arena, const Part *part,
              const SharedBatch *shared, const int32_t *row,
              const int32_t *target, Failure *failure)
{
	Device *device = model->device;
	int tokens = shared->batch.offset[shared->batch.sequences];
	float *hidden =
		arena_try(arena, (size_t) tokens,
	              (size_t) model->config.hidden * sizeof(float), failure);
	PartMemory memory;
	Tensor output;
	void *more;
	Pass pass;

	if (hidden == NULL ||
	    !pass_begin(&pass, model, shared, 0, NULL, false,
	                plan_part(model, part, tokens, NULL, &memory), &more,
	                failure))
		return false;
	plan_part(model, part, tokens, more, &memory);
	output = pass_forward(&pass);
	download_hidden(&pass, output, memory.stat, hidden);
	if (part->targets > 0)
		score_rows(part, &pass, pick_rows(device, &memory, output, row), target,
		           memory.head);
	return device->sync(device, failure) &&
	       prompt_values_read(arena, &part->values, &part->batch, shared,
	                          hidden, failure);
}

static bool
score_part(Model *model, Arena *arena, const Part *part, Failure *failure)
{
	size_t bytes = (size_t) part->targets * sizeof(int32_t);
	int32_t *row = arena_alloc(arena, bytes);
	int32_t *target = arena_alloc(arena, bytes);
	SharedBatch shared = batch_share(arena, &part->batch, true);

	batch_list_targets(&part->batch, &shared, row, target);
	return (part->values.head != NULL
	            ? score_prompts(model, arena, part, &shared, row, target,
	                            failure)
	            : score_targets(model, part, &shared, row, target, failure)) &&
	       model->device->sync(model->device, failure) &&
	       outputs_are_finite(part->logp, part->targets, failure) &&
	       (part->token_value == NULL ||
	        outputs_are_finite(part->token_value, part->targets, failure));
}

/* A batch on its way through scoring, in the order of what is shared. */
typedef struct Scoring
{
	const Batch *batch;
	bool has_token_values;
	const PromptValues *values; /* NULL: none is wanted */
	int32_t *order;             /* [S] */
	int32_t *cost;              /* [S] as of batch_order() */
	int32_t *place;             /* [S] targets before a sequence's own */
} Scoring;

static bool
scoring_begin(Scoring *scoring, Arena *arena, Failure *failure)
{
	const Batch *batch = scoring->batch;
	const ArenaTable tables[] = {
		{(void **) &scoring->order, batch->sequences, sizeof(int32_t)},
		{(void **) &scoring->cost, batch->sequences, sizeof(int32_t)},
		{(void **) &scoring->place, batch->sequences, sizeof(int32_t)},
	};
	int targets = 0;

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
part_batch(const Scoring *scoring, Arena *arena, int first, int budget)
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

/* Which values of the part are wanted, if any is. */
static void
want_values(const Scoring *scoring, Arena *arena, int first, Part *part)
{
	const PromptValues *values = scoring->values;
	size_t count = (size_t) part->batch.sequences;
	bool *wanted = arena_alloc(arena, count * sizeof(bool));

	for (int i = 0; i < part->batch.sequences; i++)
	{
		wanted[i] = values->wanted[scoring->order[first + i]];
		if (wanted[i])
			part->values.head = values->head;
	}
	part->values.wanted = wanted;
	part->values.value = arena_alloc(arena, count * sizeof(double));
}

static Part
part_begin(const Scoring *scoring, Arena *arena, int first, int budget)
{
	Part part = {.batch = part_batch(scoring, arena, first, budget)};
	size_t bytes;

	part.targets = batch_targets(&part.batch, 0, part.batch.sequences);
	bytes = (size_t) part.targets * sizeof(float);
	part.logp = arena_alloc(arena, bytes);
	if (scoring->has_token_values)
		part.token_value = arena_alloc(arena, bytes);
	if (scoring->values != NULL)
		want_values(scoring, arena, first, &part);
	return part;
}

/* What a part gave to where the batch has it. */
static void
part_store(const Scoring *scoring, int first, const Part *part, float *out)
{
	const float *logp = part->logp;
	const float *value = part->token_value;
	int width = value == NULL ? 1 : 2;

	for (int i = 0; i < part->batch.sequences; i++)
	{
		int32_t sequence = scoring->order[first + i];
		float *target = out + (int64_t) scoring->place[sequence] * width;

		for (int n = batch_targets(&part->batch, i, 1); n > 0; n--)
		{
			*target++ = *logp++;
			if (value != NULL)
				*target++ = *value++;
		}
		if (part->values.head != NULL && part->values.wanted[i])
			scoring->values->value[sequence] = part->values.value[i];
	}
}

/* Micro-batch by micro-batch. */
static bool
score_batch(Model *model, Scoring *scoring, float *out, Failure *failure)
{
	Arena *whole = arena_create();
	int budget = model_token_budget(model, false);
	bool done = model_require(model, MODEL_LANGUAGE, failure) &&
	            scoring_begin(scoring, whole, failure);

	for (int first = 0; done && first < scoring->batch->sequences;)
	{
		Arena *arena = arena_create();
		Part part = part_begin(scoring, arena, first, budget);

		done = poll_check(failure) && score_part(model, arena, &part, failure);
		if (done)
			part_store(scoring, first, &part, out);
		first += part.batch.sequences;
		arena_destroy(arena);
	}
	arena_destroy(whole);
	return done;
}

bool
model_logprobs(Model *model, const Batch *batch, float *logp, Failure *failure)
{
	return score_batch(model, &(Scoring){.batch = batch}, logp, failure);
}

bool
model_valued(Model *model, const Batch *batch, float *valued, Failure *failure)
{
	return score_batch(model,
	                   &(Scoring){.batch = batch, .has_token_values = true},
	                   valued, failure);
}

bool
model_score(Model *model, const Batch *batch, const PromptValues *values,
            float *logp, Failure *failure)
{
	return score_batch(model, &(Scoring){.batch = batch, .values = values},
	                   logp, failure);
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
