/*
 * pair.c
 *		A prompt and a response as the tokens a model sees.
 */
#include "model/pair.h"

#include <math.h>
#include <string.h>

PairLimits
pair_no_limits(void)
{
	return (PairLimits){.cuts = false};
}

PairLimits
pair_limits(const Model *model, int max_prompt_tokens, int max_response_tokens)
{
	int context = model_config(model)->context;
	int room = context - max_prompt_tokens;
	PairLimits limits = {.cuts = true};

	if (room < context / 2)
		room = context / 2;
	if (room < 1)
		room = 1;
	limits.response = max_response_tokens < room ? max_response_tokens : room;
	limits.prompt = context - limits.response;
	if (limits.prompt > max_prompt_tokens)
		limits.prompt = max_prompt_tokens;
	return limits;
}

/* A tokenizer may know tokens that the model's embedding has no row for. */
static bool
check_ids(const Model *model, const TokenList *list, Failure *failure)
{
	int vocabulary = model_config(model)->vocabulary;

	for (int i = 0; i < list->count; i++)
		if (list->ids[i] < 0 || list->ids[i] >= vocabulary)
			return fail(failure, FAILURE_BAD_FILE,
			            "the tokenizer gives token %d, the model has only %d",
			            list->ids[i], vocabulary);
	return true;
}

static bool
fail_too_long(const Model *model, const char *what, int tokens, int limit,
              Failure *failure)
{
	return fail(failure, FAILURE_TOO_LONG,
	            "%s of %d tokens is longer than %d, with a context of %d", what,
	            tokens, limit, model_config(model)->context);
}

/* Keeps a BOS and the last tokens, limit in all. */
static void
keep_last(const Model *model, TokenList *list, int limit)
{
	int bos = tokenizer_bos(model_tokenizer(model));
	int kept = bos >= 0 && list->ids[0] == bos && limit > 1;
	int last = limit - kept;

	memmove(list->ids + kept, list->ids + list->count - last,
	        (size_t) last * sizeof(int32_t));
	list->count = limit;
}

/* The tokens of a chat, asked to be answered. */
static bool
chat_encode(const Model *model, Arena *arena, const char *messages,
            size_t length, TokenList *list, Failure *failure)
{
	const Tokenizer *tokenizer = model_tokenizer(model);
	Arena *scratch = arena_create();
	char *text;
	size_t text_length;
	bool done = chat_render(tokenizer_chat(tokenizer), scratch, messages,
	                        length, true, &text, &text_length, failure) &&
	            tokenizer_encode(tokenizer, arena, text, text_length, false,
	                             list, failure);

	arena_destroy(scratch);
	return done;
}

bool
prompt_encode(const Model *model, Arena *arena, int limit, bool cuts,
              const char *text, size_t length, TokenList *list,
              Failure *failure)
{
	int bos = model_config(model)->bos;
	bool is_chat = length > 0 && text[0] == '\0';

	memset(list, 0, sizeof(TokenList));
	if (is_chat
	        ? !chat_encode(model, arena, text + 1, length - 1, list, failure)
	        : !tokenizer_encode(model_tokenizer(model), arena, text, length,
	                            true, list, failure))
		return false;
	if (list->count == 0 && bos >= 0)
	{
		list->ids = arena_alloc(arena, sizeof(int32_t));
		list->ids[0] = bos;
		list->count = list->capacity = 1;
	}
	if (!check_ids(model, list, failure))
		return false;
	if (list->count > limit && !cuts)
		return fail_too_long(model, "a prompt", list->count, limit, failure);
	if (list->count > limit)
		keep_last(model, list, limit);
	return true;
}

/* The response and its EOS; without one where it is cut to limit. */
static bool
response_encode(const Model *model, Arena *arena, const PairLimits *limits,
                const char *text, size_t length, TokenList *list,
                bool *is_empty, Failure *failure)
{
	int eos = model_config(model)->eos;
	int32_t *ids;

	memset(list, 0, sizeof(TokenList));
	if (!tokenizer_continue(model_tokenizer(model), arena, text, length, list,
	                        failure) ||
	    !check_ids(model, list, failure))
		return false;
	*is_empty = list->count == 0;
	if (limits->cuts && list->count + (eos >= 0) > limits->response)
	{
		if (list->count > limits->response)
			list->count = limits->response;
		return true;
	}
	if (eos < 0)
		return true;
	ids = arena_try(arena, (size_t) list->count + 1, sizeof(int32_t), failure);
	if (ids == NULL)
		return false;
	if (list->count > 0)
		memcpy(ids, list->ids, (size_t) list->count * sizeof(int32_t));
	ids[list->count++] = eos;
	list->ids = ids;
	return true;
}

bool
pair_encode(const Model *model, Arena *arena, const PairLimits *limits,
            const char *prompt, size_t prompt_length, const char *response,
            size_t response_length, Pair *pair, Failure *failure)
{
	int context = model_config(model)->context;
	TokenList head, tail;
	bool is_empty;
	int32_t *ids;

	memset(pair, 0, sizeof(Pair));
	if (!prompt_encode(model, arena, limits->cuts ? limits->prompt : INT32_MAX,
	                   limits->cuts, prompt, prompt_length, &head, failure))
		return false;
	if (head.count == 0)
	{
		pair->status = PAIR_EMPTY_PROMPT;
		return true;
	}
	if (!response_encode(model, arena, limits, response, response_length, &tail,
	                     &is_empty, failure))
		return false;
	if (head.count > context || tail.count > context - head.count)
		return fail_too_long(model, "a prompt and response",
		                     head.count + tail.count, context, failure);
	pair->status = is_empty ? PAIR_EMPTY_RESPONSE : PAIR_WHOLE;
	pair->prompt = head.count;
	pair->tokens = head.count + tail.count;
	ids = arena_try(arena, (size_t) pair->tokens, sizeof(int32_t), failure);
	if (ids == NULL)
		return false;
	memcpy(ids, head.ids, (size_t) head.count * sizeof(int32_t));
	if (tail.count > 0)
		memcpy(ids + head.count, tail.ids,
		       (size_t) tail.count * sizeof(int32_t));
	pair->ids = ids;
	return true;
}

/* Offsets are 32 bits wide. */
static bool
check_size(size_t tokens, Failure *failure)
{
	if (tokens > INT32_MAX)
		return fail(failure, FAILURE_BAD_INPUT,
		            "%zu tokens at once are too many", tokens);
	return true;
}

/* Pairs as a batch, and what is asked of each of its sequences. */
typedef struct PairBatch
{
	Batch batch;
	PromptValues values;
	int *pair; /* [batch.sequences] which one a sequence is of */
} PairBatch;

static bool
wants_value(const Pair *pair, const PairValues *values, int i)
{
	return values != NULL && pair->prompt > 0 &&
	       (values->wanted == NULL || values->wanted[i]);
}

/* A batch of those pairs that have response tokens or whose value is wanted.
 */
static bool
batch_of(Arena *arena, int count, const Pair *pairs, const PairValues *values,
         PairBatch *made, Failure *failure)
{
	size_t tokens = 0;
	int32_t *offset, *target, *ids;
	bool *wanted;
	const ArenaTable tables[] = {
		{(void **) &offset, (int64_t) count + 1, sizeof(int32_t)},
		{(void **) &target, (int64_t) count + 1, sizeof(int32_t)},
		{(void **) &wanted, count, sizeof(bool)},
		{(void **) &made->values.value, count, sizeof(double)},
		{(void **) &made->pair, count, sizeof(int)},
	};
	int n = 0;

	for (int i = 0; i < count; i++)
		tokens += (size_t) pairs[i].tokens;
	if (!check_size(tokens, failure) ||
	    !arena_try_tables(arena, tables, sizeof(tables) / sizeof(tables[0]),
	                      failure))
		return false;
	ids = arena_try(arena, tokens, sizeof(int32_t), failure);
	if (ids == NULL)
		return false;
	for (int i = 0; i < count; i++)
	{
		const Pair *pair = &pairs[i];

		wanted[n] = wants_value(pair, values, i);
		if (pair->tokens <= pair->prompt && !wanted[n])
			continue;
		memcpy(ids + offset[n], pair->ids,
		       (size_t) pair->tokens * sizeof(int32_t));
		target[n] = offset[n] + pair->prompt;
		offset[n + 1] = offset[n] + pair->tokens;
		made->pair[n++] = i;
	}
	made->batch = (Batch){n, offset, target, ids, NULL};
	made->values.head = values == NULL ? NULL : values->head;
	made->values.wanted = wanted;
	return true;
}

/* In one pass; values may be NULL, logp where no pair has response tokens. */
static bool
score_together(Model *model, Arena *arena, int count, const Pair *pairs,
               const PairValues *values, float **logp, Failure *failure)
{
	PairBatch made;
	float *all;
	size_t at = 0;

	if (!batch_of(arena, count, pairs, values, &made, failure))
		return false;
	all = arena_try(
		arena, (size_t) batch_targets(&made.batch, 0, made.batch.sequences),
		sizeof(float), failure);
	if (all == NULL ||
	    !model_score(model, &made.batch, values == NULL ? NULL : &made.values,
	                 all, failure))
		return false;
	for (int i = 0; logp != NULL && i < count; i++)
	{
		int targets = pairs[i].tokens - pairs[i].prompt;

		logp[i] = targets > 0 ? all + at : NULL;
		at += (size_t) targets;
	}
	for (int i = 0; values != NULL && i < count; i++)
		values->value[i] = NAN;
	for (int n = 0; values != NULL && n < made.batch.sequences; n++)
		if (made.values.wanted[n])
			values->value[made.pair[n]] = made.values.value[n];
	return true;
}

bool
pair_logprobs(Model *model, Arena *arena, int count, const Pair *pairs,
              float **logp, Failure *failure)
{
	return score_together(model, arena, count, pairs, NULL, logp, failure);
}

bool
pair_values(Arena *arena, int count, const Pair *pairs,
            const PairValues *values, Failure *failure)
{
	Pair *prompt = arena_try(arena, (size_t) count, sizeof(Pair), failure);

	if (prompt == NULL)
		return false;
	for (int i = 0; i < count; i++)
	{
		prompt[i] = pairs[i];
		prompt[i].tokens = prompt[i].prompt;
	}
	return score_together(values->policy, arena, count, prompt, values, NULL,
	                      failure);
}

bool
pair_score(Model *model, Arena *arena, int count, const Pair *pairs,
           const PairValues *values, float **logp, Failure *failure)
{
	if (values == NULL || model_is_alike(values->policy, model))
		return score_together(model, arena, count, pairs, values, logp,
		                      failure);
	return pair_values(arena, count, pairs, values, failure) &&
	       pair_logprobs(model, arena, count, pairs, logp, failure);
}

bool
prompt_hidden(Model *model, Arena *arena, int count, const int32_t *const *ids,
              const int32_t *tokens, float **hidden, int32_t **offset,
              Failure *failure)
{
	size_t total = 0;
	Batch batch = {.sequences = count};
	int32_t *all;

	for (int i = 0; i < count; i++)
		total += (size_t) tokens[i];
	if (!check_size(total, failure))
		return false;
	*offset = arena_try(arena, (size_t) count + 1, sizeof(int32_t), failure);
	all = arena_try(arena, total, sizeof(int32_t), failure);
	*hidden = arena_try(arena, total,
	                    (size_t) model_config(model)->hidden * sizeof(float),
	                    failure);
	if (*offset == NULL || all == NULL || *hidden == NULL)
		return false;
	for (int i = 0; i < count; i++)
	{
		memcpy(all + (*offset)[i], ids[i],
		       (size_t) tokens[i] * sizeof(int32_t));
		(*offset)[i + 1] = (*offset)[i] + tokens[i];
	}
	batch.offset = *offset;
	batch.ids = all;
	return model_hidden(model, &batch, *hidden, failure);
}
