/*
 * room.c
 *		How much of a batch fits into memory at a time.
 */
#include "model/layers.h"

/* A pass over more tokens than this gains nothing. */
#define TOKENS_MAX 8192

/* Products run at full speed from so many tokens on: fewer only where there
 * is no room. */
#define TOKENS_MIN 256

/* Bytes of passes and logits that we want to hold at most.  Products run at
 * full speed from a few hundred rows a thread on.  Of a model in training they
 * may take a quarter of what trained weights, gradients and moments take beside
 * them, which of an adapter is little, within these bounds; where states are
 * kept in 16 bits a seventh gives them nearly as many rows.  GPUs want many
 * more rows: few are done before the next kernel has been started, and
 * quantized weights are widened for each pass. */
#define BLOCK_BYTES ((uint64_t) 512 << 20)
#define TRAINING_BLOCK_SHARE 4
#define TRAINING_BLOCK_LEAST ((uint64_t) 512 << 20)
#define ADAPTER_BLOCK_LEAST ((uint64_t) 400 << 20)
#define SHORT_TRAINING_BLOCK_SHARE 7
#define SHORT_BLOCK_LEAST ((uint64_t) 256 << 20)
#define TRAINING_BLOCK_MOST ((uint64_t) 1 << 30)
#define GPU_BLOCK_SHARE 32 /* of its memory, a part of so many */
#define GPU_TRAINING_BLOCK_SHARE 4

/* Budgets above TOKENS_MIN are multiples of this. */
#define TOKENS_STEP 64

#define MEBIBYTE ((uint64_t) 1 << 20)

size_t
rows_size(const Model *model, int rows, bool is_training)
{
	switch (model->config.kind)
	{
		case MODEL_LANGUAGE:
			return head_size(model, rows, is_training);
		case MODEL_CLASSIFIER:
			return classifier_size(model, rows, is_training);
		default:
			return 0;
	}
}

/* Of a pass whose every token is a sequence and wanted. */
static uint64_t
tokens_size(const Model *model, int tokens, bool is_training)
{
	/* pass_size() only uses its states. */
	return pass_size((Model *) model, tokens, tokens, tokens, is_training) +
	       rows_size(model, tokens, is_training);
}

uint64_t
model_pass_room(const Model *model)
{
	uint64_t room;

	/* What packed weights take is not there for passes. */
	model_pack((Model *) model, PACK_KEPT);
	room = model->device->room(model->device);
	if (room == UINT64_MAX)
		return 0;
	return (room + model->block_size) / 10 * 9 + 1;
}

void
model_limit_passes(Model *model, uint64_t bytes)
{
	model->pass_limit = bytes;
}

static uint64_t
block_bytes(const Model *model, bool is_training)
{
	bool is_short = states_are_short(model);
	uint64_t share = state_bytes(model) / (is_short ? SHORT_TRAINING_BLOCK_SHARE
	                                                : TRAINING_BLOCK_SHARE);
	uint64_t least = is_short                 ? SHORT_BLOCK_LEAST
	                 : model->adapter != NULL ? ADAPTER_BLOCK_LEAST
	                                          : TRAINING_BLOCK_LEAST;

	if (model->device->memory > 0)
		return model->device->memory /
		       (is_training ? GPU_TRAINING_BLOCK_SHARE : GPU_BLOCK_SHARE);
	/* What is scored in training is no reason to hold more. */
	if (!is_training && model->weights == NULL)
		return BLOCK_BYTES;
	if (share < least)
		return least;
	return share < TRAINING_BLOCK_MOST ? share : TRAINING_BLOCK_MOST;
}

int
model_token_budget(const Model *model, bool is_training)
{
	uint64_t room = model_pass_room(model);
	uint64_t most = block_bytes(model, is_training);
	int tokens = TOKENS_MAX;

	while (tokens > TOKENS_MIN &&
	       tokens_size(model, tokens, is_training) > most)
		tokens /= 2;
	for (int more = tokens / 2; more >= TOKENS_STEP && tokens < TOKENS_MAX;
	     more /= 2)
		if (tokens_size(model, tokens + more, is_training) <= most)
			tokens += more;
	while (room > 0 && tokens > 1 &&
	       tokens_size(model, tokens, is_training) > room)
		tokens /= 2;
	return tokens;
}

Batch
batch_range(Arena *arena, const Batch *batch, int first, int count)
{
	int start = batch->offset[first];
	int32_t *offset =
		arena_alloc(arena, (size_t) (count + 1) * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, (size_t) count * sizeof(int32_t));

	for (int s = 0; s <= count; s++)
		offset[s] = batch->offset[first + s] - start;
	for (int s = 0; s < count; s++)
		target[s] =
			batch->target == NULL ? 0 : batch->target[first + s] - start;
	return (Batch){count, offset, target, batch->ids + start,
	               batch->types == NULL ? NULL : batch->types + start};
}

/* Bytes that training on these sequences in one pass needs, and where layers
 * are done twice. */
static uint64_t
training_size(Model *model, const Batch *batch, int first, int count,
              bool recomputes)
{
	Arena *arena = arena_create();
	Batch part = batch_range(arena, batch, first, count);
	bool is_language = model->config.kind == MODEL_LANGUAGE;
	SharedBatch shared =
		is_language ? batch_share(arena, &part, false) : batch_alone(&part);
	int sequences = shared.batch.sequences;
	int tokens = shared.batch.offset[sequences];
	int rows = is_language ? batch_targets(&part, 0, count) : count;
	uint64_t size = recomputes
	                    ? pass_size_recomputing(model, tokens, sequences, rows)
	                    : pass_size(model, tokens, sequences, rows, true);

	arena_destroy(arena);
	return size + rows_size(model, rows, true);
}

bool
sequences_fit(Model *model, const Batch *batch, int first, int count)
{
	return model->pass_limit == 0 || training_size(model, batch, first, count,
	                                               false) <= model->pass_limit;
}

bool
sequences_that_fit(Model *model, const Batch *batch, int first, int last,
                   int *count, Failure *failure)
{
	uint64_t needed;

	for (*count = last - first; *count > 1; --*count)
		if (sequences_fit(model, batch, first, *count))
			return true;
	if (sequences_fit(model, batch, first, 1))
		return true;
	needed = training_size(model, batch, first, 1, true);
	if (needed <= model->pass_limit)
		return true;
	fail(failure, FAILURE_OUT_OF_MEMORY,
	     "training on a text of %d tokens needs %llu MiB besides the model, "
	     "there are %llu MiB",
	     batch->offset[first + 1] - batch->offset[first],
	     (unsigned long long) ((needed + MEBIBYTE - 1) / MEBIBYTE),
	     (unsigned long long) (model->pass_limit / MEBIBYTE));
	return fail_hint(failure, "Raise alol.memory_limit, or lower "
	                          "max_prompt_tokens or max_response_tokens.");
}
