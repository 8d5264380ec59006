/*
 * classify.c
 *		What classifiers say of given texts.
 */
#include "model/classify.h"

#include "formats/json.h"
#include "serve/models.h"
#include "serve/requests.h"

/* Of (u8 has_prompt, text prompt, text response). */
#define PAIR_SIZE_MIN (1 + 4 + 4)

static TextPair
read_pair(WireReader *items)
{
	TextPair pair = {0};
	bool has_prompt = wire_get_u8(items) != 0;
	const char *prompt = wire_get_text(items, &pair.prompt_length);

	pair.prompt = has_prompt ? prompt : NULL;
	pair.response = wire_get_text(items, &pair.response_length);
	return pair;
}

/* One answer each; a text without any token has no outputs. */
static bool
send_logits(Request *request, int labels, uint32_t count, float *const *logits,
            Failure *failure)
{
	WireBuffer *reply =
		reply_begin(request, WIRE_RESULT, json_pack("{s:i}", "labels", labels));

	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
	{
		wire_put_u32(reply, logits[i] == NULL ? 0 : (uint32_t) labels);
		for (int j = 0; logits[i] != NULL && j < labels; j++)
			wire_put_f64(reply, logits[i][j]);
	}
	return reply_end(request, failure);
}

bool
handle_logits(Request *request, Failure *failure)
{
	WireReader *items = &request->items;
	Arena *arena = request->arena;
	ModelRef ref;
	Model *model;
	uint32_t count;
	TextPair *pairs;
	float **logits;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use_kind(request, &ref, MODEL_CLASSIFIER, &model, failure))
		return false;
	count = wire_get_count(items, PAIR_SIZE_MIN);
	pairs = arena_try(arena, count, sizeof(TextPair), failure);
	logits = arena_try(arena, count, sizeof(float *), failure);
	if (pairs == NULL || logits == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++)
		pairs[i] = read_pair(items);
	if (items->broken)
		return fail_items(request, failure);
	return classify_pairs(model, arena, (int) count, pairs, logits, failure) &&
	       send_logits(request, model_labels(model), count, logits, failure);
}
