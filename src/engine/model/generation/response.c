/*
 * response.c
 *		What sampling and beam search share: prompts that wait, and the end of
 *		a response.
 */
#include "model/generation/response.h"

#include <string.h>

bool
response_admit(Generator *g, Arena *step, int *places, int *count,
               Failure *failure)
{
	int budget = model_token_budget(g->model, false);
	const TokenList *prompt[LANES_MAX];
	int lane[LANES_MAX];
	int tokens = 0;
	int taken = 0;

	for (int i = 0; i < g->place_count && g->next < g->count; i++)
	{
		const TokenList *next = &g->prompts[g->next];

		if (g->prompt[i] >= 0)
			continue;
		if (taken > 0 && tokens + next->count > budget)
			break;
		tokens += next->count;
		g->prompt[i] = g->next++;
		prompt[taken] = next;
		lane[taken] = i * g->lanes_each;
		places[taken++] = i;
	}
	*count = taken;
	return taken == 0 ||
	       lanes_fill(&g->lanes, step, taken, lane, prompt, failure);
}

int
response_limit(const Generator *g, int prompt)
{
	int room = g->model->config.context - g->prompts[prompt].count;

	return g->options->max_tokens < room ? g->options->max_tokens : room;
}

bool
stop_tail_open(const Generator *g, StopTail *tail, Failure *failure)
{
	tail->count = 0;
	tail->bytes = arena_try(g->scratch, 2 * g->longest_stop + 1, 1, failure);
	return tail->bytes != NULL;
}

bool
stop_tail_add(const Generator *g, StopTail *tail, int32_t id)
{
	const uint8_t *bytes;
	size_t length;
	bool found = false;

	if (g->options->stops == 0 ||
	    tokenizer_is_special(g->model->tokenizer, id) ||
	    !tokenizer_token_bytes(g->model->tokenizer, id, &bytes, &length))
		return false;
	for (size_t i = 0; i < length && !found; i++)
	{
		if (tail->count == 2 * g->longest_stop)
		{
			memmove(tail->bytes, tail->bytes + g->longest_stop,
			        g->longest_stop);
			tail->count = g->longest_stop;
		}
		tail->bytes[tail->count++] = (char) bytes[i];
		for (int s = 0; s < g->options->stops && !found; s++)
		{
			size_t size = strlen(g->options->stop[s]);

			found = size > 0 && size <= tail->count &&
			        memcmp(tail->bytes + tail->count - size,
			               g->options->stop[s], size) == 0;
		}
	}
	return found;
}

bool
response_is_stop(const ModelConfig *config, int32_t id)
{
	for (int i = 0; i < config->stops; i++)
		if (config->stop[i] == id)
			return true;
	return false;
}

bool
response_finish(Generator *g, int place, const int32_t *ids, int count,
                Failure *failure)
{
	Generation *result = &g->results[g->prompt[place]];
	DecodeOptions decode = {.skip_special = !g->options->keep_special,
	                        .as_continuation = true,
	                        .zero_safe = true};

	g->prompt[place] = -1;
	g->done++;
	result->count = count;
	result->ids = arena_try(g->arena, (size_t) count, sizeof(int32_t), failure);
	if (result->ids == NULL)
		return false;
	memcpy(result->ids, ids, (size_t) count * sizeof(int32_t));
	if (!tokenizer_decode(g->model->tokenizer, g->arena, result->ids, count,
	                      &decode, &result->text, &result->length, failure))
		return false;
	for (int s = 0; s < g->options->stops; s++)
	{
		size_t size = strlen(g->options->stop[s]);
		char *at = size == 0 ? NULL
		                     : memmem(result->text, result->length,
		                              g->options->stop[s], size);

		if (at != NULL)
			result->length = (size_t) (at - result->text);
	}
	result->text[result->length] = '\0';
	return true;
}
