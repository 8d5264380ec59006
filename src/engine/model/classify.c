/*
 * classify.c
 *		What a classifier says of texts, or of prompts and responses.
 */
#include "model/classify.h"

#include <string.h>

/* Prompt and response as one text, in arena. */
static const char *
concatenate(Arena *arena, const TextPair *pair, size_t *length,
            Failure *failure)
{
	char *text;

	*length = pair->prompt_length + pair->response_length;
	text = arena_try(arena, *length + 1, 1, failure);
	if (text == NULL)
		return NULL;
	memcpy(text, pair->prompt, pair->prompt_length);
	memcpy(text + pair->prompt_length, pair->response, pair->response_length);
	return text;
}

static bool
encode(const Model *model, Arena *arena, const TextPair *pair, TokenList *ids,
       TokenList *types, Failure *failure)
{
	const Tokenizer *tokenizer = model_tokenizer(model);
	const ModelConfig *config = model_config(model);
	const char *text;
	size_t length;

	if (pair->prompt == NULL)
		return tokenizer_encode_within(tokenizer, arena, config->context,
		                               pair->response, pair->response_length,
		                               NULL, 0, ids, types, failure);
	/* As the reference: an empty second text counts as none. */
	if (config->is_bidirectional)
		return tokenizer_encode_within(
			tokenizer, arena, config->context, pair->prompt,
			pair->prompt_length,
			pair->response_length == 0 ? NULL : pair->response,
			pair->response_length, ids, types, failure);
	text = concatenate(arena, pair, &length, failure);
	return text != NULL &&
	       tokenizer_encode_within(tokenizer, arena, config->context, text,
	                               length, NULL, 0, ids, types, failure);
}

bool
classify_encode(const Model *model, Arena *arena, const TextPair *pair,
                TokenList *ids, TokenList *types, Failure *failure)
{
	int before = types->count;

	if (!encode(model, arena, pair, ids, types, failure))
		return false;
	if (!tokenizer_gives_types(model_tokenizer(model)))
		for (int i = before; i < types->count; i++)
			types->ids[i] = 0;
	return true;
}

bool
classify_pairs(Model *model, Arena *arena, int count, const TextPair *pairs,
               float **logits, Failure *failure)
{
	int labels = model_labels(model);
	int row = 0;
	int32_t *offset =
		arena_try(arena, (size_t) count + 1, sizeof(int32_t), failure);
	bool *has_row = arena_try(arena, (size_t) count + 1, 1, failure);
	TokenList ids = {0};
	TokenList types = {0};
	Batch batch = {.offset = offset};
	float *all;

	if (!model_require(model, MODEL_CLASSIFIER, failure) || offset == NULL ||
	    has_row == NULL)
		return false;
	for (int i = 0; i < count; i++)
	{
		int before = ids.count;

		if (!classify_encode(model, arena, &pairs[i], &ids, &types, failure))
			return false;
		if (ids.count > INT32_MAX / 4)
			return fail(failure, FAILURE_BAD_INPUT,
			            "%d tokens at once are too many", ids.count);
		if (ids.count == before)
			continue;
		offset[++batch.sequences] = ids.count;
		has_row[i] = true;
	}
	batch.ids = ids.ids;
	batch.types = types.ids;
	all = arena_try(arena, (size_t) batch.sequences * (size_t) labels,
	                sizeof(float), failure);
	if (all == NULL || !model_classify(model, &batch, all, failure))
		return false;
	for (int i = 0; i < count; i++)
		logits[i] = has_row[i] ? all + (int64_t) labels * row++ : NULL;
	return true;
}
