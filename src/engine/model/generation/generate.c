/*
 * generate.c
 *		Responses for many prompts at once, with a key/value cache.
 *
 * There are a number of places.  Prompts wait for one, go through the model
 * packed, several at a time, and leave their keys and values there; then
 * every response takes one token a pass.  A place is free again as soon as
 * its response ends, so long responses do not hold up the queue.
 *
 * Here is what all responses have in common, and sampling (greedy with
 * temperature 0); beam search is in beam.c.
 */
#include "model/generation/generate.h"

#include "base/poll.h"
#include "base/random.h"
#include "model/generation/response.h"
#include "model/generation/sample.h"

#include <string.h>

/* A response in the making. */
typedef struct Slot
{
	int limit;     /* new tokens at most */
	int32_t *ids;  /* sampled so far; the last is not in the cache yet */
	int capacity;  /* of ids */
	int count;     /* of ids */
	uint8_t *seen; /* [V] for the repetition penalty, or NULL */
	StopTail tail;
} Slot;

typedef struct Sampling
{
	Slot *slots; /* [places] */
	SampleScratch scratch;
} Sampling;

bool
sampling_open(Generator *g, void **state, Failure *failure)
{
	size_t vocabulary = (size_t) g->model->config.vocabulary;
	size_t bytes = (size_t) g->place_count * sizeof(Slot);
	Sampling *sampling = arena_alloc(g->scratch, sizeof(Sampling));
	SampleScratch *scratch = &sampling->scratch;

	*state = sampling;
	sampling->slots = arena_alloc(g->scratch, bytes);
	scratch->ids = arena_try(g->scratch, vocabulary, sizeof(int32_t), failure);
	if (scratch->ids == NULL)
		return false;
	scratch->probabilities =
		arena_try(g->scratch, vocabulary, sizeof(double), failure);
	if (scratch->probabilities == NULL)
		return false;
	for (int i = 0; i < g->place_count; i++)
	{
		Slot *slot = &sampling->slots[i];

		if (!stop_tail_open(g, &slot->tail, failure))
			return false;
		if (g->options->repetition_penalty == 1)
			continue;
		slot->seen = arena_try(g->scratch, vocabulary, 1, failure);
		if (slot->seen == NULL)
			return false;
	}
	return true;
}

/* Makes the slot ready for a prompt. */
static void
occupy(Generator *g, Slot *slot, int number)
{
	const TokenList *prompt = &g->prompts[number];
	int vocabulary = g->model->config.vocabulary;

	slot->limit = response_limit(g, number);
	slot->tail.count = 0;
	slot->count = 0;
	if (slot->seen == NULL)
		return;
	memset(slot->seen, 0, (size_t) vocabulary);
	for (int t = 0; t < prompt->count; t++)
		if (prompt->ids[t] >= 0 && prompt->ids[t] < vocabulary)
			slot->seen[prompt->ids[t]] = 1;
}

/* One token more: most responses end long before their limit. */
static bool
append(Generator *g, Slot *slot, int32_t id, Failure *failure)
{
	if (slot->count == slot->capacity)
	{
		int capacity = slot->capacity == 0 ? 64 : 2 * slot->capacity;
		int32_t *ids =
			arena_try(g->scratch, (size_t) capacity, sizeof(int32_t), failure);

		if (ids == NULL)
			return false;
		if (slot->count > 0)
			memcpy(ids, slot->ids, (size_t) slot->count * sizeof(int32_t));
		slot->ids = ids;
		slot->capacity = capacity;
	}
	slot->ids[slot->count++] = id;
	return true;
}

/* Takes the next token of the place from a row of logits. */
static bool
take_token(Generator *g, Sampling *sampling, int place, int row,
           Failure *failure)
{
	const ModelConfig *c = &g->model->config;
	float *logits = g->lanes.logits + (size_t) row * (size_t) c->vocabulary;
	Slot *slot = &sampling->slots[place];
	int prompt = g->prompt[place];
	Generation *result = &g->results[prompt];
	double u = random_uniform(g->options->seed,
	                          g->options->first_stream + (uint64_t) prompt,
	                          (uint64_t) slot->count);
	int32_t id;

	if (slot->seen != NULL)
		sample_penalize(logits, c->vocabulary, slot->seen,
		                g->options->repetition_penalty);
	if (slot->seen == NULL && g->options->temperature == 0)
		id = g->lanes.largest[row];
	else
		id = sample_token(logits, c->vocabulary, g->options, u,
		                  &sampling->scratch);
	if (slot->seen != NULL)
		slot->seen[id] = 1;
	if (!append(g, slot, id, failure))
		return false;
	g->tokens++;
	result->ended =
		response_is_stop(c, id) || stop_tail_add(g, &slot->tail, id);
	if (result->ended || slot->count == slot->limit)
		return response_finish(g, place, slot->ids, slot->count, failure);
	return true;
}

static bool
take_tokens(Generator *g, Sampling *sampling, int count, const int *places,
            Failure *failure)
{
	for (int i = 0; i < count; i++)
		if (!take_token(g, sampling, places[i], i, failure))
			return false;
	return true;
}

bool
sampling_step(Generator *g, void *state, Arena *step, Failure *failure)
{
	Sampling *sampling = state;
	int places[LANES_MAX];
	int32_t ids[LANES_MAX];
	int count;

	if (!response_admit(g, step, places, &count, failure))
		return false;
	for (int i = 0; i < count; i++)
		occupy(g, &sampling->slots[places[i]], g->prompt[places[i]]);
	if (!take_tokens(g, sampling, count, places, failure))
		return false;
	count = 0;
	for (int i = 0; i < g->place_count; i++)
	{
		const Slot *slot = &sampling->slots[i];

		if (g->prompt[i] < 0)
			continue;
		places[count] = i;
		ids[count++] = slot->ids[slot->count - 1];
	}
	return count == 0 ||
	       (lanes_extend(&g->lanes, count, places, ids, failure) &&
	        take_tokens(g, sampling, count, places, failure));
}

/* ------------------------------------------------------- any generation */

/* Tokens a lane must hold, from the longest prompt. */
static bool
count_rows(Generator *g, int *rows, Failure *failure)
{
	int context = g->model->config.context;
	int longest = 0;

	for (int i = 0; i < g->count; i++)
	{
		int length = g->prompts[i].count;

		if (length < 1 || length >= context)
			return fail(failure, FAILURE_TOO_LONG,
			            "prompt of %d tokens leaves no room in the model's "
			            "context of %d",
			            length, context);
		longest = length > longest ? length : longest;
	}
	*rows = g->options->max_tokens < context - longest
	            ? longest + g->options->max_tokens
	            : context;
	return true;
}

static bool
check_options(const GenerateOptions *options, Failure *failure)
{
	if (options->num_beams > BEAMS_MAX)
		return fail(failure, FAILURE_BAD_INPUT,
		            "num_beams must be at most %d, not %d", BEAMS_MAX,
		            options->num_beams);
	if (options->num_beams > 1 && options->temperature > 0)
	{
		fail(failure, FAILURE_BAD_INPUT,
		     "num_beams %d does not go with temperature %g", options->num_beams,
		     options->temperature);
		return fail_hint(failure, "A beam search draws nothing: leave "
		                          "temperature at 0, or num_beams at 1.");
	}
	return true;
}

static bool
begin(Generator *g, void **state, Failure *failure)
{
	int each = g->options->num_beams > 1 ? g->options->num_beams : 1;
	int wanted = g->count < LANES_MAX ? g->count * each : LANES_MAX;
	int lanes;
	int rows = 0;

	if (!check_options(g->options, failure) || !count_rows(g, &rows, failure))
		return false;
	for (int i = 0; i < g->options->stops; i++)
	{
		size_t length = strlen(g->options->stop[i]);

		g->longest_stop = length > g->longest_stop ? length : g->longest_stop;
	}
	lanes = lanes_afford(g->model, rows, wanted);
	g->lanes_each = each;
	g->place_count = lanes < each ? 1 : lanes / each;
	for (int i = 0; i < g->place_count; i++)
		g->prompt[i] = -1;
	return lanes_open(&g->lanes, g->model, g->scratch, g->place_count * each,
	                  rows, failure) &&
	       (each > 1 ? beams_open : sampling_open)(g, state, failure);
}

void
generate_set_beams(GenerateOptions *options, const Model *model, int num_beams)
{
	options->num_beams = num_beams;
	options->beam_end = model->config.beam_end;
	options->length_penalty = model->config.length_penalty;
}

bool
generate(Model *model, Arena *arena, const GenerateOptions *options, int count,
         const TokenList *prompts, Generation *results,
         GenerateProgress progress, void *argument, Failure *failure)
{
	Arena *scratch = arena_create();
	Generator *g = arena_alloc(scratch, sizeof(Generator));
	ResponseStep take_step =
		options->num_beams > 1 ? beams_step : sampling_step;
	void *state = NULL;
	bool good;

	*g = (Generator){.model = model,
	                 .arena = arena,
	                 .scratch = scratch,
	                 .options = options,
	                 .prompts = prompts,
	                 .results = results,
	                 .count = count};
	memset(results, 0, (size_t) count * sizeof(Generation));
	good = model_require(model, MODEL_LANGUAGE, failure) &&
	       (count == 0 || begin(g, &state, failure));
	while (good && g->done < count)
	{
		Arena *step = arena_create();
		int done = g->done;

		good = poll_check(failure) && take_step(g, state, step, failure);
		arena_destroy(step);
		if (good && progress != NULL && g->done > done)
			progress(argument, g->done, count, g->tokens);
	}
	arena_destroy(scratch);
	return good;
}
