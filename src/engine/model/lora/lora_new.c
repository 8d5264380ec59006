/*
 * lora_new.c
 *		Making a new adapter.
 */
#include "model/lora/lora_layers.h"

#include "base/streams.h"
#include "model/lora/lora_target.h"

#include <math.h>
#include <string.h>

/* A new adapter's choice: what the rule names, all of one rank. */
typedef struct NewAdapter
{
	TargetRule *rule;
	LoraShape shape;
} NewAdapter;

static bool
choose_new(void *argument, const char *module, LoraShape *shape,
           Failure *failure)
{
	NewAdapter *new = argument;
	bool matches;

	if (!target_rule_matches(new->rule, module, &matches, failure))
		return false;
	if (matches)
		*shape = new->shape;
	return true;
}

/* The last parts of the names of all linear maps: "c_attn", ...; each once. */
static json_t *
name_all(const Model *model)
{
	json_t *names = json_array();
	Linear *linears[LAYER_LINEARS];

	layer_linears(&model->layers[0], linears);
	for (int j = 0; j < LAYER_LINEARS; j++)
	{
		const char *name;
		bool is_new = true;
		size_t i;
		json_t *earlier;

		if (linears[j] == NULL)
			continue;
		name = strrchr(linear_module(model, linears[j]), '.') + 1;
		json_array_foreach(names, i, earlier) is_new =
			is_new && strcmp(json_string_value(earlier), name) != 0;
		if (is_new)
			json_array_append_new(names, json_string(name));
	}
	return names;
}

static void
release_json(void *json)
{
	json_decref(json);
}

/* "q_proj, k_proj, ...": for a hint. */
static char *
spell(Arena *arena, const json_t *names)
{
	char *text = arena_strdup(arena, "");
	size_t i;
	json_t *name;

	json_array_foreach(names, i, name) text = arena_printf(
		arena, "%s%s%s", text, i == 0 ? "" : ", ", json_string_value(name));
	return text;
}

static bool
fail_targets(const Model *model, const char *entry, Failure *failure)
{
	Arena *arena = arena_create();
	json_t *names = name_all(model);

	fail(failure, FAILURE_BAD_INPUT,
	     "lora_targets \"%s\" names no linear layer of the model", entry);
	fail_hint(failure, "Its linear layers end with %s.", spell(arena, names));
	json_decref(names);
	arena_destroy(arena);
	return false;
}

bool
lora_create(Model *model, const LoraOptions *options, Failure *failure)
{
	Arena *arena = model->arena;
	Adapter *adapter = arena_alloc(arena, sizeof(Adapter));
	json_t *all = name_all(model);
	const json_t *targets = options->targets == NULL ? all : options->targets;
	NewAdapter new = {.shape = {options->rank, options->alpha}};
	const char *unused;

	arena_on_destroy(arena, release_json, all);
	if (json_is_string(targets) &&
	    strcmp(json_string_value(targets), "all-linear") == 0)
		targets = all;
	*adapter = (Adapter){.targets = json_deep_copy(targets),
	                     .rank = options->rank,
	                     .alpha = options->alpha,
	                     .rslora = options->rslora,
	                     .seed = options->seed};
	arena_on_destroy(arena, release_json, adapter->targets);
	if (!target_rule_open(arena, adapter->targets, "lora_targets", &new.rule,
	                      failure) ||
	    !adapter_attach(model, adapter, choose_new, &new, failure))
		return false;
	unused = target_rule_unused(new.rule);
	if (unused != NULL)
		return fail_targets(model, unused, failure);
	return adapter->loras > 0 ||
	       fail_targets(model, json_string_value(targets), failure);
}

void
lora_initialize(const Adapter *adapter, int index, int64_t first, int64_t count,
                float *target)
{
	const Lora *lora = &adapter->lora[index / 2];
	uint64_t stream = random_stream(RANDOM_LORA_WEIGHTS, lora->site);
	/* torch's kaiming_uniform with a = sqrt(5) */
	double bound = 1 / sqrt((double) lora->a->shape[1]);

	for (int64_t i = 0; i < count; i++)
		target[i] =
			index % 2 == 1
				? 0
				: (float) (bound * (2 * random_uniform(adapter->seed, stream,
		                                               (uint64_t) (first + i)) -
		                            1));
}
