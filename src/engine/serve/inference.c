/*
 * inference.c
 *		Tokens, log-probabilities and values of given texts.
 */
#include "formats/json.h"
#include "model/pair.h"
#include "serve/models.h"
#include "serve/requests.h"

#include <math.h>
#include <string.h>

#define TEXT_SIZE_MIN 4 /* of a text in a frame */

bool
handle_tokenize(Request *request, Failure *failure)
{
	WireReader *items = &request->items;
	ModelRef ref;
	Model *model;
	bool add_special;
	uint32_t count;
	WireBuffer *reply;
	TokenList *lists;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use(request, &ref, &model, failure) ||
	    !json_get_bool(request->head, "add_special", false, &add_special,
	                   failure))
		return false;
	count = wire_get_count(items, TEXT_SIZE_MIN);
	lists = arena_try(request->arena, count, sizeof(TokenList), failure);
	for (uint32_t i = 0; lists != NULL && i < count; i++)
	{
		size_t length;
		const char *text = wire_get_text(items, &length);

		if (!tokenizer_encode(model_tokenizer(model), request->arena, text,
		                      length, add_special, &lists[i], failure))
			return false;
	}
	if (lists == NULL || items->broken)
		return lists != NULL && fail_items(request, failure);
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
	{
		wire_put_u32(reply, (uint32_t) lists[i].count);
		for (int j = 0; j < lists[i].count; j++)
			wire_put_u32(reply, (uint32_t) lists[i].ids[j]);
	}
	return reply_end(request, failure);
}

/* Decodes one list of ids from the items into the reply. */
static bool
detokenize(Request *request, const Model *model, WireBuffer *texts,
           Failure *failure)
{
	const DecodeOptions options = {.zero_safe = true};
	int vocabulary = model_config(model)->vocabulary;
	uint32_t count = wire_get_count(&request->items, sizeof(uint32_t));
	int32_t *ids = arena_try(request->arena, count, sizeof(int32_t), failure);
	char *text;
	size_t length;

	if (ids == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++)
	{
		ids[i] = (int32_t) wire_get_u32(&request->items);
		if (ids[i] < 0 || ids[i] >= vocabulary)
			return fail(failure, FAILURE_BAD_INPUT,
			            "token id %d is outside of 0 to %d", ids[i],
			            vocabulary - 1);
	}
	if (!tokenizer_decode(model_tokenizer(model), request->arena, ids,
	                      (int) count, &options, &text, &length, failure))
		return false;
	wire_put_text(texts, text, length);
	return true;
}

bool
handle_detokenize(Request *request, Failure *failure)
{
	ModelRef ref;
	Model *model;
	uint32_t count;
	WireBuffer *reply;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use(request, &ref, &model, failure))
		return false;
	count = wire_get_count(&request->items, sizeof(uint32_t));
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
		if (!detokenize(request, model, reply, failure))
		{
			reply_drop(request);
			return false;
		}
	if (request->items.broken)
	{
		reply_drop(request);
		return fail_items(request, failure);
	}
	return reply_end(request, failure);
}

/* The limits a request asks for: none, or those fitted to the context. */
static bool
read_limits(const Request *request, const Model *model, PairLimits *limits,
            Failure *failure)
{
	int64_t prompt, response;

	if (!json_get_int(request->head, "max_prompt_tokens", 0, 1, INT32_MAX,
	                  &prompt, failure) ||
	    !json_get_int(request->head, "max_response_tokens", 0, 1, INT32_MAX,
	                  &response, failure))
		return false;
	*limits =
		prompt == 0 && response == 0
			? pair_no_limits()
			: pair_limits(model, prompt == 0 ? INT32_MAX / 2 : (int) prompt,
	                      response == 0 ? INT32_MAX : (int) response);
	return true;
}

/* Reads (prompt, response) and encodes it. */
static bool
read_pair(Request *request, const Model *model, const PairLimits *limits,
          Pair *pair, Failure *failure)
{
	size_t prompt_length, response_length;
	const char *prompt = wire_get_text(&request->items, &prompt_length);
	const char *response = wire_get_text(&request->items, &response_length);

	if (request->items.broken)
		return fail_items(request, failure);
	return pair_encode(model, request->arena, limits, prompt, prompt_length,
	                   response, response_length, pair, failure);
}

static double
sum(const float *x, int count)
{
	double total = 0;

	for (int i = 0; i < count; i++)
		total += x[i];
	return total;
}

/* Pairs on their way through a WIRE_LOGPROB request. */
typedef struct Scored
{
	Model *model;
	PairValues values; /* head NULL: not asked for */
	int count;
	Pair *pairs;  /* [count] */
	float **logp; /* [count] */
} Scored;

static bool
open_value(Request *request, Scored *scored, Failure *failure)
{
	json_t *object;
	ModelRef ref;

	if (!json_get_object(request->head, "value", &object, failure))
		return false;
	return object == NULL || (model_ref_read(object, &ref, failure) &&
	                          value_use(request, &ref, &scored->values.policy,
	                                    &scored->values.head, failure));
}

static bool
read_pairs(Request *request, Scored *scored, Failure *failure)
{
	size_t count = wire_get_count(&request->items, 2 * TEXT_SIZE_MIN);
	Arena *arena = request->arena;
	PairLimits limits;

	scored->count = (int) count;
	scored->pairs = arena_try(arena, count, sizeof(Pair), failure);
	scored->logp = arena_try(arena, count, sizeof(float *), failure);
	scored->values.value = arena_try(arena, count, sizeof(double), failure);
	if (scored->pairs == NULL || scored->logp == NULL ||
	    scored->values.value == NULL ||
	    !read_limits(request, scored->model, &limits, failure))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!read_pair(request, scored->model, &limits, &scored->pairs[i],
		               failure))
			return false;
	return !request->items.broken || fail_items(request, failure);
}

bool
handle_logprob(Request *request, Failure *failure)
{
	Scored scored = {0};
	ModelRef ref;
	WireBuffer *reply;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use_kind(request, &ref, MODEL_LANGUAGE, &scored.model,
	                    failure) ||
	    !open_value(request, &scored, failure) ||
	    !read_pairs(request, &scored, failure) ||
	    !pair_score(scored.model, request->arena, scored.count, scored.pairs,
	                scored.values.head == NULL ? NULL : &scored.values,
	                scored.logp, failure))
		return false;
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, (uint32_t) scored.count);
	for (int i = 0; i < scored.count; i++)
	{
		const Pair *pair = &scored.pairs[i];
		int tokens = pair->tokens - pair->prompt;

		wire_put_f64(reply, pair->status == PAIR_EMPTY_PROMPT
		                        ? NAN
		                        : sum(scored.logp[i], tokens));
		wire_put_u32(reply, (uint32_t) tokens);
		if (scored.values.head != NULL)
			wire_put_f64(reply, scored.values.value[i]);
	}
	return reply_end(request, failure);
}

/* One response token: its id, how it reads, its bytes, its probability. */
static bool
put_token(Request *request, const Model *model, WireBuffer *reply, int32_t id,
          double logp, Failure *failure)
{
	const DecodeOptions options = {.as_continuation = true, .zero_safe = true};
	const Tokenizer *tokenizer = model_tokenizer(model);
	const uint8_t *bytes;
	size_t bytes_length, length;
	char *text;

	if (!tokenizer_token_bytes(tokenizer, id, &bytes, &bytes_length))
		return fail(failure, FAILURE_INTERNAL, "token %d has no bytes", id);
	if (!tokenizer_decode(tokenizer, request->arena, &id, 1, &options, &text,
	                      &length, failure))
		return false;
	wire_put_u32(reply, (uint32_t) id);
	wire_put_text(reply, text, length);
	wire_put_text(reply, (const char *) bytes, bytes_length);
	wire_put_f64(reply, logp);
	return true;
}

bool
handle_token_logprobs(Request *request, Failure *failure)
{
	const PairLimits limits = pair_no_limits();
	ModelRef ref;
	Model *model;
	Pair pair;
	float *logp;
	WireBuffer *reply;
	int tokens;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use_kind(request, &ref, MODEL_LANGUAGE, &model, failure) ||
	    !read_pair(request, model, &limits, &pair, failure) ||
	    !pair_logprobs(model, request->arena, 1, &pair, &logp, failure))
		return false;
	tokens = pair.tokens - pair.prompt;
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, (uint32_t) tokens);
	for (int i = 0; i < tokens; i++)
		if (!put_token(request, model, reply, pair.ids[pair.prompt + i],
		               logp[i], failure))
		{
			reply_drop(request);
			return false;
		}
	return reply_end(request, failure);
}
