/*
 * generation.c
 *		Responses to prompts: WIRE_GENERATE.
 */
#include "serve/generation.h"

#include "model/pair.h"
#include "serve/models.h"
#include "serve/requests.h"

#include <math.h>
#include <string.h>

#define STOPS_MAX 64

static bool
read_stops(Arena *arena, const json_t *object, GenerateOptions *options,
           Failure *failure)
{
	json_t *array;
	const char **stop;
	size_t count;

	if (!json_get_array(object, "stop", &array, failure))
		return false;
	count = array == NULL ? 0 : json_array_size(array);
	if (count > STOPS_MAX)
		return fail(failure, FAILURE_BAD_INPUT,
		            "%zu stop texts are more than %d", count, STOPS_MAX);
	stop = arena_alloc(arena, (count + 1) * sizeof(char *));
	for (size_t i = 0; i < count; i++)
	{
		stop[i] = json_string_value(json_array_get(array, i));
		if (stop[i] == NULL || stop[i][0] == '\0')
			return fail(failure, FAILURE_BAD_INPUT,
			            "a stop text must not be empty");
	}
	options->stop = stop;
	options->stops = (int) count;
	return true;
}

bool
generation_read(Arena *arena, const json_t *object, const Model *model,
                int max_tokens, GenerateOptions *options, Failure *failure)
{
	int64_t most, top_k, beams;

	memset(options, 0, sizeof(GenerateOptions));
	if (!json_get_int(object, "max_tokens", max_tokens, 1, INT32_MAX, &most,
	                  failure) ||
	    !json_get_double(object, "temperature", 0, 0, 1e6,
	                     &options->temperature, failure) ||
	    !json_get_double(object, "top_p", 1, 0, 1, &options->top_p, failure) ||
	    !json_get_int(object, "top_k", 0, 0, INT32_MAX, &top_k, failure) ||
	    !json_get_int(object, "num_beams", 1, 1, BEAMS_MAX, &beams, failure) ||
	    !json_get_double(object, "repetition_penalty", 1, 1e-6, 1e6,
	                     &options->repetition_penalty, failure) ||
	    !read_stops(arena, object, options, failure))
		return false;
	generate_set_beams(options, model, (int) beams);
	options->max_tokens = (int) most;
	options->top_k = (int) top_k;
	return true;
}

/* How many tokens a prompt may have, and whether it is cut to them. */
static bool
read_limit(const Request *request, const Model *model, int max_tokens,
           int *limit, bool *cuts, Failure *failure)
{
	int64_t max_prompt;

	if (!json_get_int(request->head, "max_prompt_tokens", 0, 1, INT32_MAX,
	                  &max_prompt, failure))
		return false;
	*cuts = max_prompt > 0;
	*limit = *cuts ? pair_limits(model, (int) max_prompt, max_tokens).prompt
	               : model_config(model)->context - 1;
	return true;
}

/*
 * Encodes the prompts; usable[i] is which of them the i-th of lists is.  Where
 * prompts are cut a job asks, and a prompt of no token has no response;
 * otherwise a person asks, and is told.
 */
static bool
read_prompts(Request *request, const Model *model, int max_tokens,
             uint32_t count, TokenList *lists, uint32_t *usable, int *prompts,
             Failure *failure)
{
	int limit;
	bool cuts;

	*prompts = 0;
	if (!read_limit(request, model, max_tokens, &limit, &cuts, failure))
		return false;
	for (uint32_t i = 0; i < count; i++)
	{
		size_t length;
		const char *text = wire_get_text(&request->items, &length);

		if (!prompt_encode(model, request->arena, limit, cuts, text, length,
		                   &lists[*prompts], failure))
			return false;
		if (lists[*prompts].count == 0 && !cuts)
			return fail(failure, FAILURE_BAD_INPUT,
			            "the prompt is empty and the model has no token to "
			            "begin with");
		if (lists[*prompts].count > 0)
			usable[(*prompts)++] = i;
	}
	return !request->items.broken || fail_items(request, failure);
}

void
generation_show(void *argument, int done, int total, int64_t tokens)
{
	ShownGeneration *shown = argument;
	double seconds = (double) (clock_ms() - shown->started_ms) / 1000;

	reply_progress(shown->request, shown->phase, done, total,
	               seconds > 0 ? (double) tokens / seconds : 0, NAN);
}

bool
handle_generate(Request *request, Failure *failure)
{
	Arena *arena = request->arena;
	ShownGeneration shown = {request, "generating", clock_ms()};
	ModelRef ref;
	Model *model;
	GenerateOptions options;
	uint32_t count, *usable;
	int prompts, next = 0;
	TokenList *lists;
	Generation *results;
	WireBuffer *reply;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use_kind(request, &ref, MODEL_LANGUAGE, &model, failure) ||
	    !generation_read(arena, request->head, model, 128, &options, failure))
		return false;
	options.seed =
		(uint64_t) json_integer_value(json_object_get(request->head, "seed"));
	count = wire_get_count(&request->items, sizeof(uint32_t));
	lists = arena_try(arena, count, sizeof(TokenList), failure);
	usable = arena_try(arena, count, sizeof(uint32_t), failure);
	results = arena_try(arena, count, sizeof(Generation), failure);
	if (lists == NULL || usable == NULL || results == NULL ||
	    !read_prompts(request, model, options.max_tokens, count, lists, usable,
	                  &prompts, failure) ||
	    !generate(model, arena, &options, prompts, lists, results,
	              generation_show, &shown, failure))
		return false;
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
	{
		const Generation none = {.text = ""};
		const Generation *result =
			next < prompts && usable[next] == i ? &results[next++] : &none;

		wire_put_text(reply, result->text, result->length);
		wire_put_u32(reply, (uint32_t) result->count);
		wire_put_u8(reply, result->ended);
	}
	return reply_end(request, failure);
}
