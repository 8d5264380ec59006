/*
 * save.c
 *		Writing a model as a directory that `transformers` opens, and making
 *		one with random weights.
 */
#include "model/files/gguf_files.h"
#include "model/layers.h"
#include "model/files/weights.h"

#include "base/file.h"
#include "base/random.h"
#include "formats/json.h"

#include <math.h>
#include <string.h>

/* What belongs to a model beside its configuration and weights. */
static const char *const companions[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "added_tokens.json",
                                         "chat_template.jinja"};

#define COMPANION_SIZE ((size_t) 256 << 20)

static bool
copy_file(Arena *arena, const char *from, const char *to, const char *name,
          Failure *failure)
{
	const char *source = arena_printf(arena, "%s/%s", from, name);
	const char *target = arena_printf(arena, "%s/%s", to, name);
	char *content;
	size_t size;

	if (!file_exists(source))
		return true;
	content = file_read(arena, source, COMPANION_SIZE, &size, failure);
	return content != NULL && file_write_whole(target, content, size, failure);
}

/* A model on its way to a directory. */
typedef struct Saved
{
	Model *model;
	Weights *weights;
	DType dtype; /* DTYPE_OTHER: see weights_dtype() */
} Saved;

/* The model's config.json with the type of the weights. */
static bool
write_config(Arena *arena, const Saved *saved, const char *directory,
             Failure *failure)
{
	static const char *const names[] = {[DTYPE_F32] = "float32",
	                                    [DTYPE_F16] = "float16",
	                                    [DTYPE_BF16] = "bfloat16"};
	const Model *model = saved->model;
	DType dtype = weights_dtype(saved->dtype, model->embedding);
	json_t *json;

	if (!model_config_json(arena, model, &json, failure))
		return false;
	json_object_del(json, "torch_dtype");
	json_object_set_new(json, "dtype", json_string(names[dtype]));
	if (model->plan != NULL)
		relabel_describe(model, json);
	return json_write_file(
		json, arena_printf(arena, "%s/config.json", directory), failure);
}

/* All weights, of the type that weights_dtype() says. */
static bool
write_weights(Arena *arena, const Model *model, DType dtype,
              TensorSource source, void *argument, const char *directory,
              Failure *failure)
{
	size_t count = (size_t) model->parameter_count;
	TensorToStore *tensors = arena_alloc(arena, count * sizeof(TensorToStore));

	for (size_t i = 0; i < count; i++)
	{
		const Parameter *parameter = &model->parameters[i];
		TensorToStore *tensor = &tensors[i];
		bool is_turned = parameter->is_turned;

		tensor->name = parameter->name;
		tensor->dtype = weights_dtype(dtype, parameter);
		tensor->dimensions = parameter->dimensions;
		tensor->shape[0] = parameter->shape[is_turned ? 1 : 0];
		tensor->shape[1] = parameter->shape[is_turned ? 0 : 1];
	}
	return safetensors_write(
		arena_printf(arena, "%s/model.safetensors", directory), tensors,
		(int) count, source, argument, failure);
}

/* TensorSource: what the model has, laid out as in Hugging Face's files. */
static void
read_weights(void *argument, int index, int64_t first, int64_t count,
             void *target)
{
	Saved *saved = argument;
	const Parameter *parameter = &saved->model->parameters[index];
	DType dtype = weights_dtype(saved->dtype, parameter);
	TensorSource read =
		parameter->is_turned ? weights_read_turned : weights_read;
	float part[4096];
	int64_t most = sizeof(part) / sizeof(part[0]);
	uint8_t *to = target;

	for (int64_t done = 0; done < count; done += most)
	{
		int64_t numbers = count - done < most ? count - done : most;

		read(saved->weights, index, first + done, numbers, part);
		dtype_from_f32(to, part, dtype, (size_t) numbers);
		to += dtype_bytes(dtype, numbers);
	}
}

/* The tokenizer's files: as they lie in a directory, or from GGUF. */
static bool
write_tokenizer(Arena *arena, const Model *model, const char *directory,
                Failure *failure)
{
	bool done = true;

	if (file_is_regular(model->tokenizer_directory))
		return gguf_tokenizer_save(model->tokenizer_directory, directory,
		                           failure);
	for (size_t i = 0; done && i < sizeof(companions) / sizeof(companions[0]);
	     i++)
		done = copy_file(arena, model->tokenizer_directory, directory,
		                 companions[i], failure);
	return done;
}

static bool
save(Model *model, const float *weights, DType dtype, const char *directory,
     Failure *failure)
{
	Arena *arena = arena_create();
	Saved saved = {.model = model, .dtype = dtype};
	bool done = write_config(arena, &saved, directory, failure) &&
	            copy_file(arena, model->directory, directory,
	                      "generation_config.json", failure) &&
	            weights_open(arena, model, weights, &saved.weights, failure) &&
	            write_weights(arena, model, dtype, read_weights, &saved,
	                          directory, failure) &&
	            model->device->sync(model->device, failure) &&
	            write_tokenizer(arena, model, directory, failure);

	arena_destroy(arena);
	return done || fail_while(failure, "saving a model to \"%s\"", directory);
}

bool
model_save(Model *model, const float *weights, const char *directory,
           Failure *failure)
{
	return save(model, weights, DTYPE_F32, directory, failure);
}

bool
model_save_as(Model *model, DType dtype, const char *directory,
              Failure *failure)
{
	return save(model, NULL, dtype, directory, failure);
}

/* Is this the last map of a residual branch? */
static bool
is_residual(const Model *model, const Parameter *parameter)
{
	for (int i = 0; i < model->config.layers; i++)
		if (parameter == model->layers[i].out.weight ||
		    parameter == model->layers[i].down.weight)
			return true;
	return false;
}

/* A model that is not written yet: its shapes, and the seed of its weights. */
typedef struct NewModel
{
	Model model;
	uint64_t seed;
} NewModel;

/* TensorSource: random numbers by tensor and place. */
static void
read_random(void *argument, int index, int64_t first, int64_t count,
            void *target)
{
	const NewModel *new = argument;
	const Model *model = &new->model;
	const Parameter *parameter = &model->parameters[index];
	double scale = model->config.initializer_range;
	float *data = target;

	if (parameter->dimensions == 1)
	{
		float value = parameter->is_scale ? 1 : 0;

		for (int64_t i = 0; i < count; i++)
			data[i] = value;
		return;
	}
	if (is_residual(model, parameter))
		scale /= sqrt(2.0 * model->config.layers);
	for (int64_t i = 0; i < count; i++)
		data[i] = (float) (scale * random_normal(new->seed, (uint64_t) index,
		                                         (uint64_t) (first + i)));
}

/* The user's configuration with what the tokenizer decides filled in. */
static bool
complete_config(Arena *arena, const char *text, size_t length,
                const char *directory, const Tokenizer *tokenizer,
                Failure *failure)
{
	json_t *json;
	int eos = tokenizer_eos(tokenizer);

	if (!json_open_text(arena, text, length, "config", &json, failure))
		return false;
	if (json_member(json, "bos_token_id") == NULL)
		json_object_set_new(json, "bos_token_id", json_integer(eos));
	if (json_member(json, "eos_token_id") == NULL)
		json_object_set_new(json, "eos_token_id", json_integer(eos));
	json_object_set_new(json, "dtype", json_string("float32"));
	if (json_member(json, "architectures") == NULL)
	{
		const Architecture *names = architecture_find(
			json_string_value(json_object_get(json, "model_type")));

		json_object_set_new(json, "architectures",
		                    json_pack("[s]", names->class_name));
	}
	return json_write_file(
		json, arena_printf(arena, "%s/config.json", directory), failure);
}

static bool
create(Arena *arena, const char *text, size_t length, uint64_t seed,
       const char *directory, Failure *failure)
{
	NewModel *new = arena_alloc(arena, sizeof(NewModel));
	Model *model = &new->model;
	const Architecture *names;

	new->seed = seed;
	model->arena = arena;
	if (!config_parse(arena, text, length, &model->config, failure))
		return false;
	names = architecture_find(model->config.architecture);
	if (model->config.kind == MODEL_UNKNOWN)
		model->config.kind =
			names->head == NULL ? MODEL_ENCODER : MODEL_LANGUAGE;
	if (!tokenizer_open(arena, directory, &model->tokenizer, failure))
		return false;
	if (tokenizer_size(model->tokenizer) > model->config.vocabulary)
		return fail(failure, FAILURE_BAD_INPUT,
		            "vocab_size must be at least %d, not %d",
		            tokenizer_size(model->tokenizer), model->config.vocabulary);
	if (!complete_config(arena, text, length, directory, model->tokenizer,
	                     failure))
		return false;
	model_list_parameters(model, names->prefixes[0], true);
	return write_weights(arena, model, DTYPE_F32, read_random, new, directory,
	                     failure);
}

bool
model_create(const char *config_json, size_t length, uint64_t seed,
             const char *directory, Failure *failure)
{
	Arena *arena = arena_create();
	bool done = create(arena, config_json, length, seed, directory, failure);

	arena_destroy(arena);
	return done || fail_while(failure, "creating a model");
}
