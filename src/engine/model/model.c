/*
 * model.c
 *		Opening a model: configuration, tokenizer, weights.
 */
#include "model/layers.h"

#include "base/file.h"
#include "formats/gguf_config.h"
#include "model/files/gguf_files.h"
#include "model/files/gguf_weights.h"
#include "model/files/straight.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const ModelConfig *
model_config(const Model *model)
{
	return &model->config;
}

const Tokenizer *
model_tokenizer(const Model *model)
{
	return model->tokenizer;
}

ModelKind
model_kind(const Model *model)
{
	return model->config.kind;
}

const char *
model_kind_name(ModelKind kind)
{
	static const char *const names[] = {"unknown", "lm", "classifier",
	                                    "encoder"};

	return names[kind];
}

bool
model_require(const Model *model, ModelKind kind, Failure *failure)
{
	static const char *const names[] = {"an unknown model", "a language model",
	                                    "a classifier",
	                                    "an encoder without a head"};

	return model->config.kind == kind ||
	       fail(failure, FAILURE_BAD_INPUT, "the model is %s, not %s",
	            names[model->config.kind], names[kind]);
}

int
model_labels(const Model *model)
{
	return model->config.kind == MODEL_CLASSIFIER ? model->config.labels : 0;
}

DType
model_stored_dtype(const Model *model)
{
	return model->stored_dtype;
}

Device *
model_device(const Model *model)
{
	return model->device;
}

const char *
model_directory(const Model *model)
{
	return model->directory;
}

int64_t
model_parameters(const Model *model)
{
	ParameterList list = trained_parameters(model);
	int64_t count = 0;

	for (int i = 0; i < list.count; i++)
		count += list.parameter[i].count;
	return count;
}

int
model_parameter_count(const Model *model)
{
	return trained_parameters(model).count;
}

ParameterView
model_parameter(const Model *model, int index)
{
	const Parameter *parameter = &trained_parameters(model).parameter[index];

	return (ParameterView){parameter->name,
	                       parameter->offset,
	                       parameter->count,
	                       parameter->dimensions,
	                       {parameter->shape[0], parameter->shape[1]}};
}

static uint64_t
identity_add_path(uint64_t sum, const char *path)
{
	struct stat status;
	uint64_t facts[4] = {0};

	if (stat(path, &status) == 0)
	{
		facts[0] = status.st_ino;
		facts[1] = (uint64_t) status.st_size;
		facts[2] = (uint64_t) status.st_mtim.tv_sec;
		facts[3] = (uint64_t) status.st_mtim.tv_nsec;
	}
	for (int i = 0; i < 4; i++)
		sum = (sum ^ facts[i]) * 1099511628211u;
	return sum;
}

uint64_t
identity_add(uint64_t sum, const char *directory, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return identity_add_path(sum, path);
}

/* A number that changes when one of the model's files is exchanged. */
static uint64_t
identity(const Model *model)
{
	static const char *const names[] = {"config.json",
	                                    "model.safetensors",
	                                    "generation_config.json",
	                                    "model.safetensors.index.json",
	                                    "tokenizer.json",
	                                    "tokenizer_config.json",
	                                    "chat_template.jinja"};
	uint64_t sum = IDENTITY_START;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const char *path =
			i > 3 ? model->tokenizer_directory : model->directory;

		if (file_is_regular(path)) /* GGUF */
			sum = identity_add_path(sum, path);
		else
			sum = identity_add(sum, path, names[i]);
	}
	return sum;
}

bool
model_is_current(const Model *model)
{
	return identity(model) == model->identity &&
	       (model->adapter == NULL || adapter_is_current(model->adapter));
}

/* The same files, of which each weight is kept in the same way. */
bool
model_is_alike(const Model *model, const Model *other)
{
	const Adapter *a = model->adapter;
	const Adapter *b = other->adapter;

	if (model == other)
		return true;
	if (model->weights != NULL || other->weights != NULL ||
	    model->identity != other->identity ||
	    model->products != other->products || (a == NULL) != (b == NULL) ||
	    (a != NULL && (a->directory == NULL || b->directory == NULL ||
	                   a->identity != b->identity)))
		return false;
	for (int i = 0; i < model->parameter_count; i++)
		if (model->parameters[i].dtype != other->parameters[i].dtype)
			return false;
	return true;
}

/* Shapes as the file has them must be those of the configuration. */
static bool
check_shape(const Parameter *parameter, const char *says, Failure *failure)
{
	const StoredTensor *stored = parameter->stored;
	bool fits =
		stored->dimensions == parameter->dimensions &&
		stored->shape[0] == parameter->shape[0] &&
		(stored->dimensions < 2 || stored->shape[1] == parameter->shape[1]);

	if (fits)
		return true;
	return fail(failure, FAILURE_BAD_FILE,
	            "tensor \"%s\" has %d dimensions [%lld, %lld], %s %d "
	            "[%lld, %lld]",
	            stored->name, stored->dimensions,
	            stored->dimensions > 0 ? (long long) stored->shape[0] : 1LL,
	            stored->dimensions > 1 ? (long long) stored->shape[1] : 1LL,
	            says, parameter->dimensions, (long long) parameter->shape[0],
	            parameter->dimensions > 1 ? (long long) parameter->shape[1]
	                                      : 1LL);
}

void
parameter_read(const Parameter *parameter, int64_t first, int64_t count,
               float *target)
{
	const StoredTensor *stored = parameter->stored;

	dtype_read(target, stored->data, stored->dtype, first, count);
}

void
parameter_read_now(Model *model, const Parameter *parameter,
                   const float *values, int64_t first, int64_t count,
                   float *target)
{
	if (values != NULL)
		memcpy(target, values + parameter->offset + first,
		       (size_t) count * sizeof(float));
	else if (model->weights != NULL)
		model_state_download(model, MODEL_WEIGHTS, parameter->offset + first,
		                     count, target);
	else
		parameter_read(parameter, first, count, target);
}

void
parameter_upload(Model *model, const Parameter *parameter, float *target)
{
	Device *device = model->device;
	/* Each upload costs a GPU some microseconds. */
	float part[1 << 18];
	int64_t size = sizeof(part) / sizeof(part[0]);

	for (int64_t first = 0; first < parameter->count; first += size)
	{
		int64_t left = parameter->count - first;
		int64_t count = left < size ? left : size;

		parameter_read(parameter, first, count, part);
		device->upload(device, target + first, part,
		               (size_t) count * sizeof(float));
	}
}

void
parameter_release(Model *model, Parameter *parameter)
{
	Device *device = model->device;

	parameter_unpack(model, parameter);
	if (parameter->value == NULL)
		return;
	if (parameter->is_copy)
		device->free(device, (void *) (uintptr_t) parameter->value);
	else
		device->release(device, parameter->value);
	parameter->value = NULL;
	parameter->is_copy = false;
}

/* Weights are used where the file lies, whatever their type.  Only vectors,
 * which are small, are widened: norms and biases are read by many kernels. */
static bool
place(Model *model, Parameter *parameter, Failure *failure)
{
	const StoredTensor *stored = parameter->stored;
	Device *device = model->device;
	float *target;

	if (stored->dtype == DTYPE_F32 || parameter->dimensions > 1)
	{
		parameter->dtype = stored->dtype;
		parameter->value =
			device->adopt(device, stored->data, (size_t) stored->bytes);
		return parameter->value != NULL || device->sync(device, failure);
	}
	parameter->dtype = DTYPE_F32;
	target = device->alloc(device, (size_t) parameter->count * sizeof(float));
	if (target == NULL)
		return device->sync(device, failure);
	parameter->value = target;
	parameter->is_copy = true;
	parameter_upload(model, parameter, target);
	return true;
}

bool
parameter_open(Model *model, Parameter *parameter, const char *says,
               Failure *failure)
{
	const StoredTensor *stored = parameter->stored;

	if (!check_shape(parameter, says, failure))
		return false;
	if (stored->dtype == DTYPE_OTHER)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "tensor \"%s\" has the type %s, which is not supported",
		            stored->name, stored->label);
	return place(model, parameter, failure);
}

/* The dtype that most of the numbers have. */
static DType
main_dtype(const Model *model)
{
	int64_t count[DTYPE_OTHER + 1] = {0};
	DType most = DTYPE_F32;

	for (int i = 0; i < model->parameter_count; i++)
		if (model->parameters[i].stored != NULL)
			count[model->parameters[i].stored->dtype] +=
				model->parameters[i].count;
	for (int dtype = 0; dtype <= DTYPE_OTHER; dtype++)
		if (count[dtype] > count[most])
			most = (DType) dtype;
	return most;
}

static bool
has_tensor(const Model *model, const char *name)
{
	return stored_model_find(model->stored, name) != NULL;
}

/* What kind of model it is where config.json did not say: what the file has
 * decides. */
static void
settle_kind(Model *model, const Architecture *names)
{
	ModelConfig *config = &model->config;

	if (config->kind != MODEL_UNKNOWN)
		return;
	if (has_tensor(model,
	               arena_printf(model->arena, "%s.weight", names->classifier)))
		config->kind = MODEL_CLASSIFIER;
	else if (names->head != NULL &&
	         (config->tied || has_tensor(model, names->head)))
		config->kind = MODEL_LANGUAGE;
	else
		config->kind = MODEL_ENCODER;
}

static bool
holds_same(const StoredTensor *a, const StoredTensor *b)
{
	float left[4096], right[4096];
	int64_t size = sizeof(left) / sizeof(left[0]);

	if (a->count != b->count || a->dtype == DTYPE_OTHER ||
	    b->dtype == DTYPE_OTHER)
		return false;
	for (int64_t first = 0; first < a->count; first += size)
	{
		int64_t count = a->count - first < size ? a->count - first : size;

		dtype_read(left, a->data, a->dtype, first, count);
		dtype_read(right, b->data, b->dtype, first, count);
		if (memcmp(left, right, (size_t) count * sizeof(float)) != 0)
			return false;
	}
	return true;
}

/*
 * A file of a tied model may hold both matrices; as in `transformers`, they
 * are two where their values differ, whatever config.json says.
 */
static void
settle_tie(Model *model, const Architecture *names, const char *prefix)
{
	ModelConfig *config = &model->config;
	const StoredTensor *embedding = stored_model_find(
		model->stored,
		arena_printf(model->arena, "%s%s", prefix, names->embedding));
	const StoredTensor *head;

	if (!config->tied || config->kind != MODEL_LANGUAGE)
		return;
	head = stored_model_find(model->stored, names->head);
	if (embedding != NULL && head != NULL && !holds_same(embedding, head))
		config->tied = false;
}

/* BERT's oldest files call a norm's weight and bias gamma and beta. */
static const StoredTensor *
find_stored(Model *model, Parameter *parameter)
{
	static const char *const endings[][2] = {
		{"LayerNorm.weight", "LayerNorm.gamma"},
		{"LayerNorm.bias", "LayerNorm.beta"}};
	const StoredTensor *stored =
		stored_model_find(model->stored, parameter->name);
	size_t length = strlen(parameter->name);

	for (int i = 0; i < 2 && stored == NULL; i++)
	{
		size_t size = strlen(endings[i][0]);

		if (length < size ||
		    strcmp(parameter->name + length - size, endings[i][0]) != 0)
			continue;
		stored = stored_model_find(
			model->stored,
			arena_printf(model->arena, "%.*s%s", (int) (length - size),
		                 parameter->name, endings[i][1]));
		if (stored != NULL)
			parameter->name = stored->name;
	}
	return stored;
}

/* Finds each parameter in the files: what is missing, or has not the planned
 * shape, may only be of a new head.  Of a tied model's matrix some writers keep
 * the head's name. */
static bool
find_all_stored(Model *model, Failure *failure)
{
	for (int i = 0; i < model->parameter_count; i++)
	{
		Parameter *parameter = &model->parameters[i];

		parameter->stored = find_stored(model, parameter);
		if (parameter->stored == NULL && parameter == model->embedding &&
		    model->config.tied)
			parameter->stored = stored_model_find(
				model->stored,
				architecture_find(model->config.architecture)->head);
		if (relabel_makes(model, parameter))
			parameter->stored = NULL;
		else if (parameter->stored == NULL)
			return fail(failure, FAILURE_BAD_FILE, "tensor \"%s\" is missing",
			            parameter->name);
	}
	return true;
}

/* A classifier that is made of a bare body gets the names of one. */
static void
rename_parameters(Model *model, const char *prefix)
{
	int count = model->parameter_count;
	const Parameter *found = model->parameters;

	model_list_parameters(model, prefix, false);
	for (int i = 0; i < count; i++)
		model->parameters[i].stored = found[i].stored;
}

static bool
open_weights(Model *model, const char *forms, Failure *failure)
{
	const Architecture *names = architecture_find(model->config.architecture);
	ModelConfig *config = &model->config;
	Arena *arena = model->arena;
	const char *prefix = names->prefixes[0];

	if (!stored_model_open(arena, model->directory, &model->stored, failure))
		return false;
	model->forms = forms_open(arena, forms, stored_model_source(model->stored));
	if (!straighten(arena, model->forms, model->stored, failure))
		return false;
	for (int i = 0; i < 2; i++)
		if (has_tensor(model, arena_printf(arena, "%s%s", names->prefixes[i],
		                                   names->embedding)))
			prefix = names->prefixes[i];
	settle_kind(model, names);
	settle_tie(model, names, prefix);
	if (model->plan != NULL)
		relabel_config(model);
	model_list_parameters(
		model, prefix,
		config->kind == MODEL_ENCODER && names->pooler != NULL &&
			has_tensor(model, arena_printf(arena, "%s%s.weight", prefix,
	                                       names->pooler)));
	if (!find_all_stored(model, failure))
		return false;
	if (model->plan != NULL)
		rename_parameters(model, names->prefixes[0]);
	if (!reserve_weights(model, failure))
		return false;
	for (int i = 0; i < model->parameter_count; i++)
		if (model->parameters[i].stored != NULL &&
		    !parameter_open(model, &model->parameters[i], "config.json says",
		                    failure))
			return false;
	model->stored_dtype = main_dtype(model);
	return true;
}

/* Finds each parameter in the GGUF file, but for those of a new head. */
static bool
find_all_in_gguf(Model *model, Failure *failure)
{
	size_t count = (size_t) model->parameter_count;
	const char **names = arena_alloc(model->arena, count * sizeof(char *));
	const StoredTensor **weights =
		arena_alloc(model->arena, count * sizeof(StoredTensor *));

	for (size_t i = 0; i < count; i++)
		if (!relabel_makes(model, &model->parameters[i]))
			names[i] = model->parameters[i].name;
	if (!gguf_weights_open(model->arena, model->gguf, &model->config,
	                       model->forms, (int) count, names, weights, failure))
		return false;
	for (size_t i = 0; i < count; i++)
		model->parameters[i].stored = weights[i];
	return true;
}

/* The same from a GGUF file, which holds language models under the first
 * prefix's names. */
static bool
open_gguf_weights(Model *model, Failure *failure)
{
	const Architecture *names = architecture_find(model->config.architecture);

	model->config.kind = MODEL_LANGUAGE;
	if (model->plan != NULL)
		relabel_config(model);
	model_list_parameters(model, names->prefixes[0], false);
	if (!find_all_in_gguf(model, failure))
		return false;
	if (!reserve_weights(model, failure))
		return false;
	for (int i = 0; i < model->parameter_count; i++)
		if (model->parameters[i].stored != NULL &&
		    !parameter_open(model, &model->parameters[i], "its metadata say",
		                    failure))
			return false;
	model->stored_dtype = main_dtype(model);
	return true;
}

static void
release_all(Model *model, Parameter *parameters, int count)
{
	for (int i = 0; i < count; i++)
	{
		Parameter *parameter = &parameters[i];

		/* Those that are trained went when they were copied. */
		if (model->weights == NULL ||
		    parameter->value != model->weights + parameter->offset)
			parameter_release(model, parameter);
		parameter_unpack(model, parameter);
	}
}

void
model_close(void *object)
{
	Model *model = object;
	Device *device = model->device;
	ParameterList trained = trained_parameters(model);

	if (!model->shares_weights)
		release_all(model, model->parameters, model->parameter_count);
	if (model->adapter != NULL)
	{
		release_all(model, trained.parameter, trained.count);
		for (int i = 0; i < model->adapter->inputs; i++)
			parameter_unpack(model, &model->adapter->input[i].a);
	}
	device->free(device, model->weights);
	device->free(device, model->gradients);
	device->free(device, model->first_moment);
	device->free(device, model->second_moment);
	device->free(device, model->angles);
	device->free(device, model->block);
	device->free(device, model->maps.memory);
}

/* The token that ends responses: the tokenizer's, else the configuration's.
 * It ends generations too, whatever the configuration lists: a model that was
 * trained on it must be able to stop. */
static bool
settle_special_tokens(Model *model, Failure *failure)
{
	ModelConfig *config = &model->config;
	int eos = tokenizer_eos(model->tokenizer);
	bool is_stop = false;

	if (eos >= config->vocabulary)
		return fail(failure, FAILURE_BAD_FILE,
		            "the tokenizer's end of text is token %d, the model has "
		            "only %d",
		            eos, config->vocabulary);
	if (eos >= 0)
		config->eos = eos;
	for (int i = 0; i < config->stops; i++)
		is_stop = is_stop || config->stop[i] == config->eos;
	if (!is_stop && config->eos >= 0 && config->stops < MODEL_STOP_MAX)
		config->stop[config->stops++] = config->eos;
	if (config->eos < 0 && config->kind == MODEL_LANGUAGE)
		return fail(failure, FAILURE_BAD_FILE,
		            "neither the tokenizer nor config.json names an end of "
		            "text token");
	return true;
}

bool
model_config_json(Arena *arena, const Model *model, json_t **json,
                  Failure *failure)
{
	if (model->gguf != NULL)
		return gguf_config(arena, model->gguf, json, failure);
	return json_open_file(
		arena, arena_printf(arena, "%s/config.json", model->directory),
		JSON_CONFIG_SIZE, json, failure);
}

/* Configuration and weights of a Hugging Face directory or a GGUF file. */
static bool
open_files(Model *model, const char *forms, Failure *failure)
{
	Arena *arena = model->arena;
	GgufFile *file;
	json_t *config;

	if (!file_is_regular(model->directory))
		return config_open(arena, model->directory, &model->config, failure) &&
		       open_weights(model, forms, failure);
	if (!gguf_open(arena, model->directory, &file, failure))
		return false;
	model->gguf = file;
	model->forms = forms_open(arena, forms, gguf_source(file));
	return gguf_config(arena, file, &config, failure) &&
	       config_read(arena, config, &model->config, failure) &&
	       open_gguf_weights(model, failure);
}

bool
model_open_files(Arena *arena, Device *device, const ModelFiles *files,
                 Model **result, Failure *failure)
{
	Model *model = arena_alloc(arena, sizeof(Model));

	model->arena = arena;
	model->plan = files->plan;
	model->device = device;
	model->directory = arena_strdup(arena, files->directory);
	model->tokenizer_directory = files->tokenizer == NULL
	                                 ? model->directory
	                                 : arena_strdup(arena, files->tokenizer);
	arena_on_destroy(arena, model_close, model);
	model->identity = identity(model);
	if (!open_files(model, files->forms, failure) ||
	    !gguf_tokenizer_open(arena, model->tokenizer_directory,
	                         &model->tokenizer, failure) ||
	    !settle_special_tokens(model, failure))
		return fail_while(failure, "opening model \"%s\"", model->directory);
	model->states =
		arena_alloc(arena, (size_t) model->config.layers * sizeof(LayerState));
	model->kept =
		arena_alloc(arena, (size_t) model->config.layers * sizeof(KeptState));
	*result = model;
	return true;
}

bool
model_open(Arena *arena, Device *device, const char *directory,
           const char *tokenizer, Model **result, Failure *failure)
{
	ModelFiles files = {.directory = directory, .tokenizer = tokenizer};

	return model_open_files(arena, device, &files, result, failure);
}
