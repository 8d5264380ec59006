/*
 * adapter.c
 *		Adapters as PEFT keeps them: reading and writing the directory.
 */
#include "model/lora/lora.h"

#include "base/file.h"
#include "formats/json.h"
#include "model/lora/lora_layers.h"
#include "model/lora/lora_target.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG "adapter_config.json"
#define WEIGHTS "adapter_model.safetensors"

#define ALPHA_MAX 1e9

bool
adapter_is_at(const char *directory)
{
	char path[4096 + 32];

	return (size_t) snprintf(path, sizeof(path), "%s/" CONFIG, directory) <
	           sizeof(path) &&
	       file_exists(path);
}

bool
adapter_view(const Model *model, AdapterView *view)
{
	const Adapter *adapter = model->adapter;

	if (adapter == NULL)
		return false;
	*view = (AdapterView){adapter->directory, adapter->rank, adapter->alpha,
	                      adapter->rslora, adapter->targets};
	return true;
}

/* ------------------------------------------------------------- reading */

typedef struct AdapterFile
{
	Arena *arena;
	json_t *config;
	Adapter *adapter;
	StoredModel *stored;
	TargetRule *rule;    /* NULL: what the tensors say */
	TargetRule *exclude; /* NULL: nothing */
	TargetPatterns *ranks;
	TargetPatterns *alphas;
	int used; /* tensors that a map has taken */
} AdapterFile;

/* null, false, 0 and what is empty ask for nothing. */
static bool
asks(const json_t *value)
{
	switch (json_typeof(value))
	{
		case JSON_OBJECT:
			return json_object_size(value) > 0;
		case JSON_ARRAY:
			return json_array_size(value) > 0;
		case JSON_STRING:
			return json_string_length(value) > 0;
		default:
			return json_is_true(value) || json_is_number(value);
	}
}

/* What would make a sum other than W + scale B A of linear maps. */
static bool
refuse_others(const json_t *config, Failure *failure)
{
	static const char *const members[] = {"modules_to_save",
	                                      "use_dora",
	                                      "lora_bias",
	                                      "layers_to_transform",
	                                      "layer_replication",
	                                      "target_parameters",
	                                      "trainable_token_indices",
	                                      "alora_invocation_tokens",
	                                      "use_qalora",
	                                      "use_bdlora",
	                                      "arrow_config",
	                                      "kasa_config",
	                                      "velora_config",
	                                      "monteclora_config",
	                                      "corda_config",
	                                      "lora_ga_config"};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		const json_t *value = json_object_get(config, members[i]);

		if (value != NULL && asks(value))
			return fail(failure, FAILURE_UNSUPPORTED,
			            "adapters with %s are not supported", members[i]);
	}
	return true;
}

/* Some initialisations change the weights below, which are not in the file. */
static bool
check_initialization(const json_t *config, Failure *failure)
{
	static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
	const char *name =
		json_string_value(json_object_get(config, "init_lora_weights"));

	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (name == NULL || strcmp(name, harmless[i]) == 0)
			return true;
	return fail(failure, FAILURE_UNSUPPORTED,
	            "adapters with init_lora_weights \"%s\" are not supported: "
	            "they belong to other base weights",
	            name);
}

static bool
open_rules(AdapterFile *file, Failure *failure)
{
	const json_t *config = file->config;
	const json_t *targets = json_member(config, "target_modules");
	const json_t *exclude = json_member(config, "exclude_modules");
	json_t *ranks, *alphas;

	if (!json_get_object(config, "rank_pattern", &ranks, failure) ||
	    !json_get_object(config, "alpha_pattern", &alphas, failure) ||
	    !target_patterns_open(file->arena, ranks, "rank_pattern", &file->ranks,
	                          failure) ||
	    !target_patterns_open(file->arena, alphas, "alpha_pattern",
	                          &file->alphas, failure))
		return false;
	if (targets != NULL &&
	    !target_rule_open(file->arena, targets, "target_modules", &file->rule,
	                      failure))
		return false;
	return exclude == NULL || !asks(exclude) ||
	       target_rule_open(file->arena, exclude, "exclude_modules",
	                        &file->exclude, failure);
}

static bool
read_config(AdapterFile *file, const char *directory, Failure *failure)
{
	Adapter *adapter = file->adapter;
	const char *type, *bias;
	int64_t rank;

	if (!json_open_file(file->arena,
	                    arena_printf(file->arena, "%s/" CONFIG, directory),
	                    JSON_CONFIG_SIZE, &file->config, failure) ||
	    !json_get_string(file->config, "peft_type", "LORA", &type, failure) ||
	    !json_get_string(file->config, "bias", "none", &bias, failure))
		return false;
	if (strcmp(type, "LORA") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "adapters of type \"%s\" are not supported, only LORA",
		            type);
	if (strcmp(bias, "none") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "adapters with bias \"%s\" are not supported, only none",
		            bias);
	if (!refuse_others(file->config, failure) ||
	    !check_initialization(file->config, failure) ||
	    !json_get_int(file->config, "r", 8, 1, LORA_RANK_MAX, &rank, failure) ||
	    !json_get_double(file->config, "lora_alpha", 8, -ALPHA_MAX, ALPHA_MAX,
	                     &adapter->alpha, failure) ||
	    !json_get_double(file->config, "lora_dropout", 0, 0, 1,
	                     &adapter->dropout, failure) ||
	    !json_get_bool(file->config, "use_rslora", false, &adapter->rslora,
	                   failure))
		return false;
	adapter->rank = (int) rank;
	adapter->targets = json_object_get(file->config, "target_modules");
	return open_rules(file, failure);
}

/* Half "A" or "B" of a map, or NULL. */
static const StoredTensor *
find_half(const AdapterFile *file, const char *module, const char *half)
{
	const StoredTensor *tensor = stored_model_find(
		file->stored,
		arena_printf(file->arena, "base_model.model.%s.lora_%s.weight", module,
	                 half));

	if (tensor != NULL)
		return tensor;
	return stored_model_find(
		file->stored,
		arena_printf(file->arena, "base_model.model.%s.lora_%s.default.weight",
	                 module, half));
}

/* Does the configuration say that this map is changed? */
static bool
is_target(AdapterFile *file, const char *module, bool fallback, bool *target,
          Failure *failure)
{
	bool excluded = false;

	*target = fallback;
	if (file->rule != NULL &&
	    !target_rule_matches(file->rule, module, target, failure))
		return false;
	if (file->exclude != NULL &&
	    !target_rule_matches(file->exclude, module, &excluded, failure))
		return false;
	*target = *target && !excluded;
	return true;
}

static bool
read_shape(const AdapterFile *file, const char *module, LoraShape *shape,
           Failure *failure)
{
	const json_t *rank, *alpha;
	int64_t number = file->adapter->rank;

	if (!target_patterns_find(file->ranks, module, &rank, failure) ||
	    !target_patterns_find(file->alphas, module, &alpha, failure))
		return false;
	if (rank != NULL &&
	    (!json_as_int(rank, &number) || number < 1 || number > LORA_RANK_MAX))
		return fail(failure, FAILURE_BAD_FILE,
		            "rank_pattern gives \"%s\" no rank of 1 to %d", module,
		            LORA_RANK_MAX);
	shape->rank = (int) number;
	shape->alpha = file->adapter->alpha;
	if (alpha == NULL)
		return true;
	shape->alpha = json_number_value(alpha);
	return (json_is_number(alpha) && fabs(shape->alpha) <= ALPHA_MAX) ||
	       fail(failure, FAILURE_BAD_FILE,
	            "alpha_pattern gives \"%s\" no number of at most %g", module,
	            ALPHA_MAX);
}

/* LoraChooser: a map is changed when its tensors are there, and they must be
 * where the configuration says so. */
static bool
choose_stored(void *argument, const char *module, LoraShape *shape,
              Failure *failure)
{
	AdapterFile *file = argument;
	const StoredTensor *a = find_half(file, module, "A");
	const StoredTensor *b = find_half(file, module, "B");
	bool target;

	if (!is_target(file, module, a != NULL || b != NULL, &target, failure))
		return false;
	if (!target && a == NULL && b == NULL)
		return true;
	if (!target)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensors for \"%s\" are there, target_modules does not "
		            "name it",
		            module);
	if (a == NULL || b == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"base_model.model.%s.lora_%s.weight\" is missing",
		            module, a == NULL ? "A" : "B");
	file->used += 2;
	return read_shape(file, module, shape, failure);
}

/* The first tensor that no map has taken. */
static bool
fail_unknown(const AdapterFile *file, Failure *failure)
{
	const Adapter *adapter = file->adapter;

	for (int i = 0; i < stored_model_count(file->stored); i++)
	{
		const StoredTensor *tensor = stored_model_tensor(file->stored, i);
		bool is_known = false;

		for (int j = 0; j < 2 * adapter->loras && !is_known; j++)
			is_known = adapter->parameters[j].stored == tensor;
		if (is_known)
			continue;
		fail(failure, FAILURE_BAD_FILE,
		     "tensor \"%s\" belongs to no linear layer of the base model",
		     tensor->name);
		return fail_hint(failure, "Only adapters of the layers' linear maps "
		                          "are supported, over the model they were "
		                          "trained on.");
	}
	return true;
}

static bool
place_tensors(AdapterFile *file, Model *model, Failure *failure)
{
	Adapter *adapter = file->adapter;

	for (int i = 0; i < adapter->loras; i++)
	{
		const char *name = adapter->lora[i].a->name;
		int length = (int) (strlen(name) - strlen(".lora_A.weight"));
		size_t start = strlen("base_model.model.");
		const char *module = arena_printf(file->arena, "%.*s",
		                                  length - (int) start, name + start);

		adapter->lora[i].a->stored = find_half(file, module, "A");
		adapter->lora[i].b->stored = find_half(file, module, "B");
	}
	if (file->used != stored_model_count(file->stored))
		return fail_unknown(file, failure);
	if (adapter->loras == 0)
		return fail(failure, FAILURE_BAD_FILE, "the adapter has no tensors");
	for (int i = 0; i < 2 * adapter->loras; i++)
		if (!parameter_open(model, &adapter->parameters[i], "its base needs",
		                    failure))
			return false;
	return true;
}

/* A number that changes when one of the adapter's files is exchanged. */
static uint64_t
identity(const Adapter *adapter)
{
	return identity_add(
		identity_add(IDENTITY_START, adapter->directory, CONFIG),
		adapter->directory, WEIGHTS);
}

bool
adapter_is_current(const Adapter *adapter)
{
	return adapter->directory == NULL || identity(adapter) == adapter->identity;
}

/* What base has, but nothing that a pass or training writes to. */
static Model *
share(Arena *arena, const Model *base)
{
	size_t layers = (size_t) base->config.layers;
	Model *model = arena_alloc(arena, sizeof(Model));

	*model = *base;
	model->arena = arena;
	model->shares_weights = true;
	model->layers = arena_alloc(arena, layers * sizeof(Layer));
	memcpy(model->layers, base->layers, layers * sizeof(Layer));
	model->states = arena_alloc(arena, layers * sizeof(LayerState));
	model->kept = arena_alloc(arena, layers * sizeof(KeptState));
	model->maps = (Maps){0};
	model->angles = NULL;
	model->angle_rows = 0;
	model->block = NULL;
	model->block_size = 0;
	arena_on_destroy(arena, model_close, model);
	return model;
}

static bool
open_files(AdapterFile *file, Model *model, Failure *failure)
{
	Adapter *adapter = file->adapter;
	const char *path =
		arena_printf(file->arena, "%s/" WEIGHTS, adapter->directory);

	adapter->identity = identity(adapter);
	if (!read_config(file, adapter->directory, failure))
		return false;
	if (!file_exists(path))
		return fail(failure, FAILURE_NOT_FOUND,
		            "\"%s\" is not there; other files than safetensors are "
		            "not supported",
		            path);
	return stored_file_open(file->arena, path, &file->stored, failure) &&
	       adapter_attach(model, adapter, choose_stored, file, failure) &&
	       place_tensors(file, model, failure);
}

bool
adapter_open(Arena *arena, Model *base, const char *directory, Model **result,
             Failure *failure)
{
	AdapterFile file = {.arena = arena};
	Model *model;

	if (base->adapter != NULL)
		return fail(failure, FAILURE_BAD_INPUT,
		            "the base of an adapter cannot be an adapter");
	model = share(arena, base);
	file.adapter = arena_alloc(arena, sizeof(Adapter));
	file.adapter->directory = arena_strdup(arena, directory);
	if (!open_files(&file, model, failure))
		return fail_while(failure, "opening adapter \"%s\"", directory);
	model->stored_dtype = file.adapter->parameters[0].stored->dtype;
	*result = model;
	return true;
}

/* ------------------------------------------------------------- writing */

/* The ranks and alphas that are not the adapter's, by module. */
static void
put_patterns(const Adapter *adapter, json_t *config)
{
	json_t *ranks = json_object();
	json_t *alphas = json_object();

	for (int i = 0; i < adapter->loras; i++)
	{
		const Lora *lora = &adapter->lora[i];
		const char *name = lora->a->name + strlen("base_model.model.");
		size_t length = strlen(name) - strlen(".lora_A.weight");

		if (lora->rank != adapter->rank)
			json_object_setn_new(ranks, name, length, json_integer(lora->rank));
		if (lora->alpha != adapter->alpha)
			json_object_setn_new(alphas, name, length, json_real(lora->alpha));
	}
	json_object_set_new(config, "rank_pattern", ranks);
	json_object_set_new(config, "alpha_pattern", alphas);
}

/* The modules one by one: what an adapter without target_modules changes. */
static json_t *
name_targets(const Adapter *adapter)
{
	json_t *names = json_array();

	for (int i = 0; i < adapter->loras; i++)
	{
		const char *name =
			adapter->lora[i].a->name + strlen("base_model.model.");

		json_array_append_new(
			names, json_stringn(name, strlen(name) - strlen(".lora_A.weight")));
	}
	return names;
}

static bool
write_config(Arena *arena, const Model *model, const char *directory,
             Failure *failure)
{
	const Adapter *adapter = model->adapter;
	const Architecture *names = architecture_find(model->config.architecture);
	json_t *targets = adapter->targets == NULL ? name_targets(adapter)
	                                           : json_incref(adapter->targets);
	json_t *alpha = adapter->alpha == floor(adapter->alpha)
	                    ? json_integer((json_int_t) adapter->alpha)
	                    : json_real(adapter->alpha);
	json_t *config = json_pack(
		"{s:n, s:s, s:b, s:b, s:o, s:f, s:n, s:s, s:i, s:o, s:s, s:b, s:b}",
		"base_model_name_or_path", "bias", "none", "fan_in_fan_out",
		(int) names->transposed, "inference_mode", 1, "lora_alpha", alpha,
		"lora_dropout", adapter->dropout, "modules_to_save", "peft_type",
		"LORA", "r", adapter->rank, "target_modules", targets, "task_type",
		"CAUSAL_LM", "use_dora", 0, "use_rslora", (int) adapter->rslora);
	char *text;
	bool done;

	put_patterns(adapter, config);
	text = json_dumps(config, JSON_INDENT(2) | JSON_SORT_KEYS);
	json_decref(config);
	if (text == NULL)
		return fail(failure, FAILURE_INTERNAL, "cannot write " CONFIG);
	done = file_write_whole(arena_printf(arena, "%s/" CONFIG, directory), text,
	                        strlen(text), failure);
	free(text);
	return done;
}

void
adapter_read(Model *model, const float *weights, int index, int64_t first,
             int64_t count, float *target)
{
	parameter_read_now(model, &model->adapter->parameters[index], weights,
	                   first, count, target);
}

/* TensorSource: what the adapter has now. */
static void
read_current(void *argument, int index, int64_t first, int64_t count,
             void *target)
{
	adapter_read(argument, NULL, index, first, count, target);
}

static bool
write_weights(Arena *arena, Model *model, const float *weights,
              const char *directory, Failure *failure)
{
	const Adapter *adapter = model->adapter;
	int count = 2 * adapter->loras;
	TensorToStore *tensors =
		arena_alloc(arena, (size_t) count * sizeof(TensorToStore));

	for (int i = 0; i < count; i++)
	{
		const Parameter *parameter = &adapter->parameters[i];

		tensors[i] = (TensorToStore){
			.name = parameter->name,
			.dtype = DTYPE_F32,
			.dimensions = 2,
			.shape = {parameter->shape[0], parameter->shape[1]},
			.data = weights == NULL ? NULL : weights + parameter->offset};
	}
	return safetensors_write(arena_printf(arena, "%s/" WEIGHTS, directory),
	                         tensors, count, read_current, model, failure);
}

bool
adapter_save(Model *model, const float *weights, const char *directory,
             Failure *failure)
{
	Arena *arena = arena_create();
	bool done = write_config(arena, model, directory, failure) &&
	            write_weights(arena, model, weights, directory, failure) &&
	            model->device->sync(model->device, failure);

	arena_destroy(arena);
	return done ||
	       fail_while(failure, "saving an adapter to \"%s\"", directory);
}
