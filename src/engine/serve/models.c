/*
 * models.c
 *		The models an engine has open.
 */
#include "serve/models.h"

#include "base/file.h"
#include "formats/json.h"
#include "model/lora/lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Models kept open though nobody uses them, without memory for passes: a
 * session may use many, one after the other. */
#define KEPT 4

#define PATH_SIZE 4096

typedef struct Entry
{
	struct Entry *next;
	Arena *arena;
	const char *path;
	const char *tokenizer;            /* "" if the model's own */
	const char *forms;                /* "" if none are kept */
	DType products;                   /* as asked for */
	Model *model;                     /* a language model, or else */
	ValueHead *head;                  /* a value model's head */
	uint64_t identity[FILE_IDENTITY]; /* of the head's file */
	struct Entry *base; /* under an adapter, whose weights it uses */
	int adapters;       /* open over this one, in use or not */
	int users;
	uint64_t last_use;
} Entry;

struct ModelCache
{
	Entry *first;
	uint64_t uses;
};

static ModelCache *
cache_of(Serve *serve)
{
	static ModelCache cache;

	if (serve->models == NULL)
		serve->models = &cache;
	return serve->models;
}

bool
model_ref_read(const json_t *object, ModelRef *ref, Failure *failure)
{
	const char *dtype;
	json_t *base;

	memset(ref, 0, sizeof(ModelRef));
	if (!json_get_string(object, "path", NULL, &ref->path, failure) ||
	    !json_get_string(object, "name", NULL, &ref->name, failure) ||
	    !json_get_string(object, "tokenizer", NULL, &ref->tokenizer, failure) ||
	    !json_get_string(object, "forms", NULL, &ref->forms, failure) ||
	    !json_get_object(object, "base", &base, failure) ||
	    !json_get_string(object, "dtype", "fp32", &dtype, failure) ||
	    !products_find(dtype, &ref->products, failure))
		return false;
	if (ref->path == NULL || strlen(ref->path) >= PATH_SIZE - 64)
		return fail(failure, FAILURE_PROTOCOL,
		            "a model is named without a path of fewer than %d bytes",
		            PATH_SIZE - 64);
	if (ref->name == NULL)
		ref->name = ref->path;
	ref->base = base;
	return true;
}

bool
model_ref_of(const Request *request, const char *key, ModelRef *ref,
             Failure *failure)
{
	json_t *object;

	if (!json_get_object(request->head, key, &object, failure))
		return false;
	if (object == NULL)
		return fail(failure, FAILURE_PROTOCOL, "a \"%s\" request names no %s",
		            wire_type_name((uint16_t) request->type), key);
	return model_ref_read(object, ref, failure);
}

bool
model_ref_is_value(const ModelRef *ref)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/value_config.json", ref->path);
	return file_exists(path);
}

static void
forget(ModelCache *cache, Entry *entry)
{
	for (Entry **place = &cache->first; *place != NULL; place = &(*place)->next)
		if (*place == entry)
		{
			*place = entry->next;
			break;
		}
	if (entry->base != NULL)
		entry->base->adapters--;
	arena_destroy(entry->arena);
	free(entry);
}

/* Closes those that have waited longest, until at most `kept` wait. */
static void
close_idle(ModelCache *cache, int kept)
{
	for (;;)
	{
		Entry *oldest = NULL;
		int idle = 0;

		for (Entry *entry = cache->first; entry != NULL; entry = entry->next)
		{
			if (entry->users > 0 || entry->adapters > 0)
				continue;
			idle++;
			if (oldest == NULL || entry->last_use < oldest->last_use)
				oldest = entry;
		}
		if (idle <= kept)
			return;
		forget(cache, oldest);
	}
}

static void
release(void *object)
{
	Entry *entry = object;

	entry->users--;
}

static void
rest_idle(ModelCache *cache, const Entry *but)
{
	for (Entry *entry = cache->first; entry != NULL; entry = entry->next)
		if (entry->users == 0 && entry->model != NULL && entry != but)
			model_rest(entry->model);
}

void
models_rest(Serve *serve)
{
	rest_idle(cache_of(serve), NULL);
}

static void
keep_for_request(ModelCache *cache, Entry *entry, Request *request)
{
	rest_idle(cache, entry);
	entry->users++;
	entry->last_use = ++cache->uses;
	arena_on_destroy(request->arena, release, entry);
}

static bool
head_identity(const char *directory, uint64_t identity[FILE_IDENTITY],
              Failure *failure)
{
	Arena *arena = arena_create();
	MappedFile file;
	bool done = file_map(
		arena, arena_printf(arena, "%s/value_head.safetensors", directory),
		&file, failure);

	if (done)
		memcpy(identity, file.identity, sizeof(file.identity));
	arena_destroy(arena);
	return done;
}

static bool
is_current(const Entry *entry)
{
	uint64_t identity[FILE_IDENTITY];
	Failure ignored;

	if (entry->model != NULL)
		return model_is_current(entry->model);
	return head_identity(entry->path, identity, &ignored) &&
	       memcmp(identity, entry->identity, sizeof(identity)) == 0;
}

/* The open entry of this path (over this base), unless its files have
 * changed. */
static Entry *
find(ModelCache *cache, const ModelRef *ref, const Entry *base, bool is_value)
{
	const char *tokenizer = ref->tokenizer == NULL ? "" : ref->tokenizer;
	const char *forms = ref->forms == NULL ? "" : ref->forms;

	for (Entry *entry = cache->first; entry != NULL; entry = entry->next)
	{
		if (strcmp(entry->path, ref->path) != 0 ||
		    strcmp(entry->tokenizer, tokenizer) != 0 ||
		    strcmp(entry->forms, forms) != 0 ||
		    entry->products != ref->products || entry->base != base ||
		    (entry->head != NULL) != is_value)
			continue;
		if (is_current(entry))
			return entry;
		/* Never found again; closed when it is idle. */
		entry->path = "";
	}
	return NULL;
}

static Entry *
add(ModelCache *cache, const ModelRef *ref)
{
	Entry *entry = calloc(1, sizeof(Entry));

	if (entry == NULL)
	{
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	entry->arena = arena_create();
	entry->path = arena_strdup(entry->arena, ref->path);
	entry->tokenizer = arena_strdup(
		entry->arena, ref->tokenizer == NULL ? "" : ref->tokenizer);
	entry->forms =
		arena_strdup(entry->arena, ref->forms == NULL ? "" : ref->forms);
	entry->products = ref->products;
	entry->next = cache->first;
	cache->first = entry;
	return entry;
}

/* base: NULL for a model with weights of its own. */
static Entry *
open_entry(Request *request, ModelCache *cache, const ModelRef *ref,
           Entry *base, Failure *failure)
{
	Entry *entry = add(cache, ref);
	ModelFiles files = {ref->path, ref->tokenizer, ref->forms, NULL};
	bool done;

	if (base == NULL)
		done = model_open_files(entry->arena, request->serve->device, &files,
		                        &entry->model, failure);
	else
	{
		entry->base = base;
		base->adapters++;
		done = adapter_open(entry->arena, base->model, ref->path, &entry->model,
		                    failure);
	}
	if (done)
	{
		model_set_products(entry->model, ref->products);
		return entry;
	}
	forget(cache, entry);
	return NULL;
}

static Entry *
use_over(Request *request, const ModelRef *ref, Entry *base, Failure *failure)
{
	ModelCache *cache = cache_of(request->serve);
	Entry *entry = find(cache, ref, base, false);

	if (entry == NULL)
	{
		entry = open_entry(request, cache, ref, base, failure);
		if (entry == NULL && failure->code == FAILURE_OUT_OF_MEMORY)
		{
			close_idle(cache, 0);
			entry = open_entry(request, cache, ref, base, failure);
		}
		if (entry == NULL)
		{
			fail_while(failure, "loading model \"%s\"", ref->name);
			return NULL;
		}
	}
	keep_for_request(cache, entry, request);
	close_idle(cache, KEPT);
	return entry;
}

bool
model_ref_base(const ModelRef *ref, ModelRef *base, Failure *failure)
{
	if (ref->base == NULL)
		return fail(failure, FAILURE_BAD_INPUT,
		            "\"%s\" is an adapter without a base", ref->name);
	if (!model_ref_read(ref->base, base, failure))
		return false;
	if (base->base != NULL)
		return fail(failure, FAILURE_BAD_INPUT,
		            "the base \"%s\" of an adapter cannot be an adapter",
		            base->name);
	if (ref->tokenizer != NULL)
		base->tokenizer = ref->tokenizer;
	base->products = ref->products;
	return true;
}

bool
model_use(Request *request, const ModelRef *ref, Model **model,
          Failure *failure)
{
	Entry *base = NULL;
	Entry *entry;

	if (adapter_is_at(ref->path))
	{
		ModelRef below;

		if (!model_ref_base(ref, &below, failure))
			return false;
		base = use_over(request, &below, NULL, failure);
		if (base == NULL)
			return fail_while(failure, "loading adapter \"%s\"", ref->name);
	}
	entry = use_over(request, ref, base, failure);
	if (entry == NULL)
		return false;
	*model = entry->model;
	return true;
}

bool
model_use_kind(Request *request, const ModelRef *ref, ModelKind kind,
               Model **model, Failure *failure)
{
	return model_use(request, ref, model, failure) &&
	       (model_require(*model, kind, failure) ||
	        fail_while(failure, "using model \"%s\"", ref->name));
}

bool
value_use(Request *request, const ModelRef *ref, Model **policy,
          const ValueHead **head, Failure *failure)
{
	ModelCache *cache = cache_of(request->serve);
	Entry *entry = find(cache, ref, NULL, true);
	ModelRef base;

	if (ref->base == NULL)
		return fail(failure, FAILURE_BAD_INPUT,
		            "\"%s\" is not a value model of any policy", ref->name);
	if (!model_ref_read(ref->base, &base, failure))
		return false;
	base.products = ref->products;
	if (!model_use_kind(request, &base, MODEL_LANGUAGE, policy, failure))
		return false;
	if (entry == NULL)
	{
		int hidden = model_config(*policy)->hidden;

		entry = add(cache, ref);
		if (!value_head_open(entry->arena, ref->path, hidden, &entry->head,
		                     failure) ||
		    !head_identity(ref->path, entry->identity, failure))
		{
			forget(cache, entry);
			return fail_while(failure, "loading value model \"%s\"", ref->name);
		}
	}
	keep_for_request(cache, entry, request);
	close_idle(cache, KEPT);
	*head = entry->head;
	if (entry->head->hidden != model_config(*policy)->hidden)
		return fail(failure, FAILURE_BAD_INPUT,
		            "value model \"%s\" is for a hidden size of %d, policy "
		            "\"%s\" has %d",
		            ref->name, entry->head->hidden, base.name,
		            model_config(*policy)->hidden);
	return true;
}
