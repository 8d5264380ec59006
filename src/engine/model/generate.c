/*
 * generate.c
 *		Responses for many prompts at once, with a key/value cache.
 *
 * The cache has a number of slots.  Prompts wait for a slot, go through the
 * model packed, several at a time, and leave their keys and values there;
 * then every slot in use takes one token a pass.  A slot is free again as
 * soon as its response ends, so long responses do not hold up the queue.
 */
#include "model/generate.h"

#include "base/poll.h"
#include "base/random.h"
#include "model/layers.h"
#include "model/sample.h"

#include <string.h>

#define SLOTS_MAX 128
#define CACHE_BYTES ((uint64_t) 1 << 30)

/* A response in the making. */
typedef struct Slot
{
	int prompt;    /* -1: free */
	int length;    /* tokens in the cache */
	int limit;     /* new tokens at most */
	int32_t last;  /* sampled, not yet in the cache */
	int32_t *ids;  /* sampled so far */
	int capacity;  /* of ids */
	int count;     /* of ids */
	uint8_t *seen; /* [V] for the repetition penalty, or NULL */
	char *bytes;   /* raw text so far, for stop texts */
	size_t byte_count;
} Slot;

typedef struct Generator
{
	Model *model;
	Arena *arena;   /* the caller's: results */
	Arena *scratch; /* this call's */
	const GenerateOptions *options;
	const TokenList *prompts;
	Generation *results;
	int count;
	int next; /* prompt that waits first */
	int done;
	int64_t tokens;

	Slot slots[SLOTS_MAX];
	int slot_count;
	int rows; /* of the cache, a slot */
	KvCache cache;
	float *logits; /* host, [slot_count, V] */
	SampleScratch sample;
	size_t longest_stop;
} Generator;

static size_t
cache_row_bytes(const Model *model)
{
	const ModelConfig *c = &model->config;

	return sizeof(float) * 2 * (size_t) c->layers * (size_t) c->kv_heads *
	       (size_t) c->head_dim;
}

/* How many slots the memory allows, one at least. */
static int
choose_slots(const Generator *g)
{
	uint64_t logits =
		(uint64_t) g->model->config.vocabulary * 2 * sizeof(float);
	uint64_t slot = (uint64_t) g->rows * cache_row_bytes(g->model) + logits;
	uint64_t allowed = CACHE_BYTES;
	uint64_t slots;

	if (memory_limit() > 0)
	{
		uint64_t used = memory_used();
		uint64_t left = memory_limit() > used ? (memory_limit() - used) / 2 : 0;

		allowed = left < allowed ? left : allowed;
	}
	slots = allowed / slot;
	if (slots > SLOTS_MAX)
		slots = SLOTS_MAX;
	if (slots > (uint64_t) g->count)
		slots = (uint64_t) g->count;
	return slots < 1 ? 1 : (int) slots;
}

static void
free_on_device(void *object)
{
	Generator *g = object;
	Device *device = g->model->device;

	for (int i = 0; i < g->model->config.layers; i++)
	{
		device->free(device, g->cache.keys[i].data);
		device->free(device, g->cache.values[i].data);
	}
}

static bool
open_cache(Generator *g, Failure *failure)
{
	const ModelConfig *c = &g->model->config;
	Device *device = g->model->device;
	int64_t rows = (int64_t) g->slot_count * g->rows;
	int64_t width = (int64_t) c->kv_heads * c->head_dim;
	size_t bytes = (size_t) rows * (size_t) width * sizeof(float);
	size_t tensors = (size_t) c->layers * sizeof(Tensor);

	g->cache.keys = arena_alloc(g->scratch, tensors);
	g->cache.values = arena_alloc(g->scratch, tensors);
	arena_on_destroy(g->scratch, free_on_device, g);
	for (int i = 0; i < c->layers; i++)
	{
		g->cache.keys[i] = tensor_at(device->alloc(device, bytes), rows, width);
		g->cache.values[i] =
			tensor_at(device->alloc(device, bytes), rows, width);
	}
	return device->sync(device, failure);
}

/* What each slot keeps beside the cache. */
static bool
open_slots(Generator *g, Failure *failure)
{
	size_t vocabulary = (size_t) g->model->config.vocabulary;

	for (int i = 0; i < g->slot_count; i++)
	{
		Slot *slot = &g->slots[i];

		slot->prompt = -1;
		slot->bytes =
			arena_try(g->scratch, 2 * g->longest_stop + 1, 1, failure);
		if (slot->bytes == NULL)
			return false;
		if (g->options->repetition_penalty == 1)
			continue;
		slot->seen = arena_try(g->scratch, vocabulary, 1, failure);
		if (slot->seen == NULL)
			return false;
	}
	return true;
}

static bool
begin(Generator *g, Failure *failure)
{
	const ModelConfig *c = &g->model->config;
	size_t vocabulary = (size_t) c->vocabulary;
	int longest = 0;

	for (int i = 0; i < g->count; i++)
	{
		int length = g->prompts[i].count;

		if (length < 1 || length >= c->context)
			return fail(failure, FAILURE_TOO_LONG,
			            "prompt of %d tokens leaves no room in the model's "
			            "context of %d",
			            length, c->context);
		longest = length > longest ? length : longest;
	}
	g->rows = g->options->max_tokens < c->context - longest
	              ? longest + g->options->max_tokens
	              : c->context;
	g->slot_count = choose_slots(g);
	for (int i = 0; i < g->options->stops; i++)
	{
		size_t length = strlen(g->options->stop[i]);

		g->longest_stop = length > g->longest_stop ? length : g->longest_stop;
	}
	g->logits = arena_try(g->scratch, (size_t) g->slot_count * vocabulary,
	                      sizeof(float), failure);
	g->sample.ids = arena_try(g->scratch, vocabulary, sizeof(int32_t), failure);
	g->sample.probabilities =
		arena_try(g->scratch, vocabulary, sizeof(double), failure);
	return g->logits != NULL && g->sample.ids != NULL &&
	       g->sample.probabilities != NULL && open_slots(g, failure) &&
	       open_cache(g, failure);
}

/* Gives a waiting prompt the slot. */
static void
occupy(Generator *g, Slot *slot)
{
	const TokenList *prompt = &g->prompts[g->next];
	int room = g->model->config.context - prompt->count;

	slot->prompt = g->next++;
	slot->length = prompt->count;
	slot->limit = g->options->max_tokens < room ? g->options->max_tokens : room;
	slot->byte_count = 0;
	slot->count = 0;
	if (slot->seen != NULL)
	{
		memset(slot->seen, 0, (size_t) g->model->config.vocabulary);
		for (int t = 0; t < prompt->count; t++)
			if (prompt->ids[t] >= 0 &&
			    prompt->ids[t] < g->model->config.vocabulary)
				slot->seen[prompt->ids[t]] = 1;
	}
}

/*
 * Does the response hold a stop text now?  Keeps the last bytes that a stop
 * could still start in.
 */
static bool
meets_stop(Generator *g, Slot *slot, int32_t id)
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
		if (slot->byte_count == 2 * g->longest_stop)
		{
			memmove(slot->bytes, slot->bytes + g->longest_stop,
			        g->longest_stop);
			slot->byte_count = g->longest_stop;
		}
		slot->bytes[slot->byte_count++] = (char) bytes[i];
		for (int s = 0; s < g->options->stops && !found; s++)
		{
			size_t size = strlen(g->options->stop[s]);

			found = size > 0 && size <= slot->byte_count &&
			        memcmp(slot->bytes + slot->byte_count - size,
			               g->options->stop[s], size) == 0;
		}
	}
	return found;
}

static bool
is_stop_token(const ModelConfig *config, int32_t id)
{
	for (int i = 0; i < config->stops; i++)
		if (config->stop[i] == id)
			return true;
	return false;
}

/* The response as text, cut before the first stop text in it. */
static bool
finish(Generator *g, Slot *slot, Failure *failure)
{
	Generation *result = &g->results[slot->prompt];
	DecodeOptions decode = {.skip_special = !g->options->keep_special,
	                        .as_continuation = true,
	                        .zero_safe = true};

	slot->prompt = -1;
	g->done++;
	result->count = slot->count;
	result->ids =
		arena_try(g->arena, (size_t) slot->count, sizeof(int32_t), failure);
	if (result->ids == NULL)
		return false;
	memcpy(result->ids, slot->ids, (size_t) slot->count * sizeof(int32_t));
	if (!tokenizer_decode(g->model->tokenizer, g->arena, result->ids,
	                      result->count, &decode, &result->text,
	                      &result->length, failure))
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

/* Takes the slot's next token from its logits. */
static bool
take_token(Generator *g, Slot *slot, float *logits, Failure *failure)
{
	const ModelConfig *c = &g->model->config;
	Generation *result = &g->results[slot->prompt];
	double u = random_uniform(
		g->options->seed, g->options->first_stream + (uint64_t) slot->prompt,
		(uint64_t) slot->count);
	int32_t id;

	if (slot->seen != NULL)
		sample_penalize(logits, c->vocabulary, slot->seen,
		                g->options->repetition_penalty);
	id = sample_token(logits, c->vocabulary, g->options, u, &g->sample);
	if (slot->seen != NULL)
		slot->seen[id] = 1;
	if (!append(g, slot, id, failure))
		return false;
	slot->last = id;
	g->tokens++;
	result->ended = is_stop_token(c, id) || meets_stop(g, slot, id);
	if (result->ended || slot->count == slot->limit)
		return finish(g, slot, failure);
	return true;
}

/* Logits of the pass's rows to the host, and a token for each. */
static bool
take_tokens(Generator *g, Pass *pass, void *memory, Slot *const *slots,
            int count, const int32_t *row, Failure *failure)
{
	Model *model = g->model;
	Device *device = model->device;
	size_t width = (size_t) model->config.vocabulary;
	Tensor output = pass_forward(pass);
	Head head;

	head_begin(&head, pass, output, count, row, NULL, false, memory);
	for (int first = 0; first < count; first += head.chunk)
	{
		int rows = first + head.chunk < count ? head.chunk : count - first;

		head_logits(&head, model, first, rows);
		device->download(device, g->logits + (size_t) first * width,
		                 head.logits.data,
		                 (size_t) rows * width * sizeof(float));
	}
	if (!device->sync(device, failure))
		return false;
	for (int i = 0; i < count; i++)
		if (!take_token(g, slots[i], g->logits + (size_t) i * width, failure))
			return false;
	return true;
}

/* Waiting prompts into free slots: one packed pass of those that fit. */
static bool
admit(Generator *g, Arena *arena, Failure *failure)
{
	Model *model = g->model;
	Device *device = model->device;
	int budget = model_token_budget(model, false);
	Slot *slots[SLOTS_MAX];
	int32_t row[SLOTS_MAX];
	int32_t offset[SLOTS_MAX + 1] = {0};
	int32_t *ids;
	int32_t *cache_row;
	int count = 0;
	int tokens;
	size_t extra;
	char *memory;
	void *more;
	Pass pass;

	for (int i = 0; i < g->slot_count && g->next < g->count; i++)
	{
		int length = g->prompts[g->next].count;

		if (g->slots[i].prompt >= 0)
			continue;
		if (count > 0 && offset[count] + length > budget)
			break;
		occupy(g, &g->slots[i]);
		slots[count] = &g->slots[i];
		offset[count + 1] = offset[count] + length;
		row[count] = offset[count + 1] - 1;
		count++;
	}
	if (count == 0)
		return true;
	tokens = offset[count];
	ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
	cache_row = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
	for (int s = 0; s < count; s++)
		for (int t = offset[s]; t < offset[s + 1]; t++)
		{
			ids[t] = g->prompts[slots[s]->prompt].ids[t - offset[s]];
			cache_row[t] =
				(int32_t) (slots[s] - g->slots) * g->rows + t - offset[s];
		}
	extra = ((size_t) tokens * sizeof(int32_t) + 63) / 64 * 64;
	if (!pass_begin(&pass, model, &(Batch){count, offset, NULL, ids}, false,
	                extra + head_size(model, count, false), &more, failure))
		return false;
	memory = more;
	device->upload(device, memory, cache_row,
	               (size_t) tokens * sizeof(int32_t));
	pass.cache = &g->cache;
	pass.cache_row = (int32_t *) (void *) memory;
	return take_tokens(g, &pass, memory + extra, slots, count, row, failure);
}

/* One token for every slot in use. */
static bool
advance(Generator *g, Failure *failure)
{
	Model *model = g->model;
	Device *device = model->device;
	Slot *slots[SLOTS_MAX];
	int32_t ids[SLOTS_MAX];
	int32_t position[SLOTS_MAX];
	int32_t row[SLOTS_MAX];
	int32_t index[3][SLOTS_MAX]; /* cache row, first, length */
	size_t extra = sizeof(index);
	int count = 0;
	char *memory;
	void *more;
	Pass pass;

	for (int i = 0; i < g->slot_count; i++)
	{
		Slot *slot = &g->slots[i];

		if (slot->prompt < 0)
			continue;
		slots[count] = slot;
		ids[count] = slot->last;
		position[count] = slot->length;
		row[count] = count;
		index[0][count] = i * g->rows + slot->length;
		index[1][count] = i * g->rows;
		index[2][count] = ++slot->length;
		count++;
	}
	if (count == 0)
		return true;
	if (!pass_begin_tokens(&pass, model, count, ids, position,
	                       extra + head_size(model, count, false), &more,
	                       failure))
		return false;
	memory = more;
	device->upload(device, memory, index, sizeof(index));
	pass.cache = &g->cache;
	pass.cache_row = (int32_t *) (void *) memory;
	pass.cache_first = pass.cache_row + SLOTS_MAX;
	pass.cache_length = pass.cache_first + SLOTS_MAX;
	return take_tokens(g, &pass, memory + extra, slots, count, row, failure);
}

bool
generate(Model *model, Arena *arena, const GenerateOptions *options, int count,
         const TokenList *prompts, Generation *results,
         GenerateProgress progress, void *argument, Failure *failure)
{
	Arena *scratch = arena_create();
	Generator *g = arena_alloc(scratch, sizeof(Generator));
	bool good;

	*g = (Generator){.model = model,
	                 .arena = arena,
	                 .scratch = scratch,
	                 .options = options,
	                 .prompts = prompts,
	                 .results = results,
	                 .count = count};
	memset(results, 0, (size_t) count * sizeof(Generation));
	good = count == 0 || begin(g, failure);
	while (good && g->done < count)
	{
		Arena *step = arena_create();
		int done = g->done;

		good = poll_check(failure) && admit(g, step, failure) &&
		       advance(g, failure);
		arena_destroy(step);
		if (good && progress != NULL && g->done > done)
			progress(argument, g->done, count, g->tokens);
	}
	arena_destroy(scratch);
	return good;
}
