/*
 * value.c
 *		Values of prompts, and fitting them: WIRE_VALUE, WIRE_FIT_VALUE.
 */
#include "model/value/value_fit.h"

#include "formats/json.h"
#include "model/pair.h"
#include "serve/models.h"
#include "serve/requests.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_SIZE 16
#define DROPOUT 0.1

/* Prompts whose hidden states are computed at once, and their tokens unless
 * it is one alone. */
#define CHUNK 64
#define CHUNK_TOKENS 8192

/* Encoded prompts: ids[i] of tokens[i], in the order of the request; those
 * with no token have none. */
typedef struct Prompts
{
	int count;
	const int32_t **ids;
	int32_t *tokens;
} Prompts;

/* Reads and encodes one prompt of the items. */
static bool
read_prompt(Request *request, const Model *model, Prompts *prompts, int i,
            Failure *failure)
{
	int context = model_config(model)->context;
	int64_t limit;
	size_t length;
	const char *text = wire_get_text(&request->items, &length);
	TokenList list;

	if (request->items.broken)
		return fail_items(request, failure);
	if (!json_get_int(request->head, "max_prompt_tokens", 0, 1, INT32_MAX,
	                  &limit, failure) ||
	    !prompt_encode(model, request->arena,
	                   limit > 0 && limit < context ? (int) limit : context,
	                   limit > 0, text, length, &list, failure))
		return false;
	prompts->ids[i] = list.ids;
	prompts->tokens[i] = list.count;
	return true;
}

static bool
make_prompts(Request *request, uint32_t count, Prompts *prompts,
             Failure *failure)
{
	prompts->count = (int) count;
	prompts->ids = arena_try(request->arena, count, sizeof(int32_t *), failure);
	prompts->tokens =
		arena_try(request->arena, count, sizeof(int32_t), failure);
	return prompts->ids != NULL && prompts->tokens != NULL;
}

/* values->value[prompts->count]; NaN where a prompt has no token. */
static bool
predict(Arena *arena, const Prompts *prompts, const PairValues *values,
        Failure *failure)
{
	Pair *pairs =
		arena_try(arena, (size_t) prompts->count, sizeof(Pair), failure);

	if (pairs == NULL)
		return false;
	for (int i = 0; i < prompts->count; i++)
		pairs[i] = (Pair){PAIR_EMPTY_RESPONSE, prompts->ids[i],
		                  prompts->tokens[i], prompts->tokens[i]};
	return pair_values(arena, prompts->count, pairs, values, failure);
}

bool
handle_value(Request *request, Failure *failure)
{
	ModelRef ref;
	PairValues values = {0};
	Prompts prompts;
	uint32_t count;
	WireBuffer *reply;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !value_use(request, &ref, &values.policy, &values.head, failure))
		return false;
	count = wire_get_count(&request->items, sizeof(uint32_t));
	values.value = arena_try(request->arena, count, sizeof(double), failure);
	if (values.value == NULL ||
	    !make_prompts(request, count, &prompts, failure))
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!read_prompt(request, values.policy, &prompts, (int) i, failure))
			return false;
	if (request->items.broken)
		return fail_items(request, failure);
	if (!predict(request->arena, &prompts, &values, failure))
		return false;
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
		wire_put_f64(reply, values.value[i]);
	return reply_end(request, failure);
}

/* ------------------------------------------------------------- fitting */

typedef struct FitRequest
{
	Request *request;
	Model *policy;
	Prompts prompts;
	double *target; /* [prompts.count] */
	double low;
	double high;
	ValueFitOptions options;
	const char *directory;
} FitRequest;

static bool
hidden_of_prompts(void *argument, const int32_t *prompt, int count,
                  float *hidden, Failure *failure)
{
	FitRequest *fit = argument;
	size_t width = (size_t) model_config(fit->policy)->hidden;
	bool done = true;

	for (int next = 0; done && next < count;)
	{
		Arena *arena = arena_create();
		const int32_t *ids[CHUNK];
		int32_t tokens[CHUNK];
		int32_t *offset;
		float *part;
		int n = 0;
		int total = 0;

		for (; next < count && n < CHUNK; next++, n++)
		{
			ids[n] = fit->prompts.ids[prompt[next]];
			tokens[n] = fit->prompts.tokens[prompt[next]];
			if (n > 0 && total + tokens[n] > CHUNK_TOKENS)
				break;
			total += tokens[n];
		}
		done = prompt_hidden(fit->policy, arena, n, ids, tokens, &part, &offset,
		                     failure);
		if (done)
		{
			size_t numbers = (size_t) total * width;

			memcpy(hidden, part, numbers * sizeof(float));
			hidden += numbers;
		}
		arena_destroy(arena);
	}
	return done;
}

static bool
show_epoch(void *argument, int epoch, double fit_mse, double held_mse,
           Failure *failure)
{
	FitRequest *fit = argument;
	WireBuffer *reply;

	reply_progress(fit->request, "value", epoch, fit->options.epochs, 0, NAN);
	reply = reply_begin(fit->request, WIRE_METRICS,
	                    json_pack("{s:i}", "step", epoch));
	wire_put_u32(reply, 2);
	wire_put_text(reply, "value/fit_mse", 13);
	wire_put_f64(reply, fit_mse);
	wire_put_text(reply, "value/held_out_mse", 18);
	wire_put_f64(reply, held_mse);
	return reply_end(fit->request, failure);
}

static bool
read_fit_options(FitRequest *fit, Failure *failure)
{
	const json_t *head = fit->request->head;
	const json_t *seed = json_object_get(head, "seed");
	int64_t epochs;

	if (!json_get_int(head, "epochs", 50, 0, 100000, &epochs, failure) ||
	    !json_get_double(head, "learning_rate", 1e-3, 0, 1e3,
	                     &fit->options.learning_rate, failure) ||
	    !json_get_double(head, "low", 0, -1e300, 1e300, &fit->low, failure) ||
	    !json_get_double(head, "high", 1, -1e300, 1e300, &fit->high, failure) ||
	    !json_get_string(head, "directory", NULL, &fit->directory, failure))
		return false;
	if (fit->directory == NULL)
		return fail(failure, FAILURE_PROTOCOL, "a value model needs a place");
	if (!(fit->low < fit->high))
		return fail(failure, FAILURE_BAD_INPUT,
		            "the range of rewards %g to %g is empty", fit->low,
		            fit->high);
	fit->options.epochs = (int) epochs;
	fit->options.batch_size = BATCH_SIZE;
	fit->options.dropout = DROPOUT;
	fit->options.seed = (uint64_t) json_integer_value(seed);
	return true;
}

/* Prompts of no token have no hidden state to be fitted: they are left out. */
static bool
read_fit_items(FitRequest *fit, Failure *failure)
{
	Request *request = fit->request;
	uint32_t count =
		wire_get_count(&request->items, sizeof(uint32_t) + sizeof(double));
	int n = 0;

	fit->target = arena_try(request->arena, count, sizeof(double), failure);
	if (fit->target == NULL ||
	    !make_prompts(request, count, &fit->prompts, failure))
		return false;
	for (uint32_t i = 0; i < count; i++)
	{
		if (!read_prompt(request, fit->policy, &fit->prompts, n, failure))
			return false;
		fit->target[n] = wire_get_f64(&request->items);
		if (!isfinite(fit->target[n]))
			return fail(failure, FAILURE_BAD_INPUT,
			            "the reward of prompt %u is %g", i + 1, fit->target[n]);
		if (fit->prompts.tokens[n] > 0)
			n++;
	}
	if (request->items.broken)
		return fail_items(request, failure);
	if (n == 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "a value cannot be fitted to no prompts");
	fit->prompts.count = n;
	return true;
}

bool
handle_fit_value(Request *request, Failure *failure)
{
	FitRequest fit = {.request = request};
	ModelRef ref;
	ValueHead *head;
	ValueFitResult result;
	ValueData data = {
		.hidden = hidden_of_prompts, .epoch = show_epoch, .argument = &fit};

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use_kind(request, &ref, MODEL_LANGUAGE, &fit.policy, failure) ||
	    !read_fit_options(&fit, failure) || !read_fit_items(&fit, failure))
		return false;
	data.prompts = fit.prompts.count;
	data.tokens = fit.prompts.tokens;
	data.target = fit.target;
	if (!value_fit(request->arena, model_config(fit.policy)->hidden, fit.low,
	               fit.high, &fit.options, &data, &head, &result, failure))
		return fail_while(failure, "fitting the value of \"%s\"", ref.name);
	if (mkdir(fit.directory, 0700) != 0 && errno != EEXIST)
		return fail_errno(failure, "cannot create \"%s\"", fit.directory);
	if (!value_head_save(head, fit.directory, failure))
		return false;
	if (result.held_out == 0)
		result.mse = result.baseline_mse = 0;
	return reply_send(request, WIRE_RESULT,
	                  json_pack("{s:f, s:f, s:f, s:i, s:i, s:i}", "mse",
	                            result.mse, "baseline_mse", result.baseline_mse,
	                            "r2", result.r2, "epoch", result.epoch,
	                            "prompts", fit.prompts.count, "held_out",
	                            result.held_out),
	                  failure);
}
