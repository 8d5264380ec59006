/*
 * inspect.c
 *		What a model's directory, or GGUF file, holds.
 */
#include "serve/inspect.h"

#include "base/file.h"
#include "formats/json.h"
#include "model/lora/lora.h"
#include "serve/requests.h"

#include <string.h>
#include <sys/stat.h>

#define INDEX "model.safetensors.index.json"
#define INDEX_SIZE ((size_t) 64 << 20)

/* Everything but the weights that may belong to a language model. */
static const char *const companions[] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "chat_template.jinja"};

static void
add_file(Arena *arena, const char *directory, const char *name, json_t *files,
         int64_t *bytes)
{
	struct stat status;

	if (stat(arena_printf(arena, "%s/%s", directory, name), &status) != 0 ||
	    !S_ISREG(status.st_mode))
		return;
	json_array_append_new(files, json_string(name));
	*bytes += status.st_size;
}

/* The index and its shards, each once. */
static bool
add_shards(Arena *arena, const char *directory, json_t *files, int64_t *bytes,
           Failure *failure)
{
	const char *path = arena_printf(arena, "%s/" INDEX, directory);
	json_t *index, *map, *shard;
	json_t *seen = json_object();
	const char *tensor;

	if (!json_open_file(arena, path, INDEX_SIZE, &index, failure) ||
	    !json_get_object(index, "weight_map", &map, failure))
	{
		json_decref(seen);
		return false;
	}
	add_file(arena, directory, INDEX, files, bytes);
	json_object_foreach(map, tensor, shard)
	{
		const char *name = json_string_value(shard);

		if (name == NULL || json_object_get(seen, name) != NULL)
			continue;
		json_object_set_new(seen, name, json_true());
		add_file(arena, directory, name, files, bytes);
	}
	json_decref(seen);
	return true;
}

static bool
list_files(Arena *arena, const char *directory, json_t *files, int64_t *bytes,
           Failure *failure)
{
	if (file_is_regular(directory)) /* GGUF */
	{
		char *folder = arena_strdup(arena, directory);
		char *name = strrchr(folder, '/');

		if (name != NULL)
			*name = '\0';
		add_file(arena, name == NULL ? "." : folder,
		         name == NULL ? folder : name + 1, files, bytes);
		return true;
	}
	for (size_t i = 0; i < sizeof(companions) / sizeof(companions[0]); i++)
		add_file(arena, directory, companions[i], files, bytes);
	if (!file_exists(arena_printf(arena, "%s/model.safetensors", directory)))
		return add_shards(arena, directory, files, bytes, failure);
	add_file(arena, directory, "model.safetensors", files, bytes);
	return true;
}

static bool
describe_value_model(Request *request, const ModelRef *ref, json_t **result,
                     Failure *failure)
{
	Arena *arena = request->arena;
	json_t *files = json_array();
	int64_t bytes = 0;
	json_t *config;
	ValueHead *head;
	int64_t hidden;
	bool done;

	/* Without a policy to fit, it must at least fit its own description. */
	done = json_open_file(
			   arena, arena_printf(arena, "%s/value_config.json", ref->path),
			   JSON_CONFIG_SIZE, &config, failure) &&
	       json_get_int(config, "hidden", 0, 1, 65536, &hidden, failure) &&
	       value_head_open(arena, ref->path, (int) hidden, &head, failure);
	if (!done)
	{
		json_decref(files);
		return fail_while(failure, "loading value model \"%s\"", ref->name);
	}
	add_file(arena, ref->path, "value_config.json", files, &bytes);
	add_file(arena, ref->path, "value_head.safetensors", files, &bytes);
	*result = json_pack("{s:s, s:s, s:I, s:s, s:I, s:i, s:i, s:o}", "kind",
	                    "value", "architecture", "attention_pooling",
	                    "parameters", (json_int_t) head->offset[VALUE_TENSORS],
	                    "dtype", "fp32", "bytes", (json_int_t) bytes, "context",
	                    0, "vocabulary", 0, "files", files);
	return true;
}

static json_t *
describe_adapter(Request *request, const ModelRef *ref, const Model *model,
                 int rank)
{
	const ModelConfig *config = model_config(model);
	json_t *files = json_array();
	int64_t bytes = 0;

	add_file(request->arena, ref->path, "adapter_config.json", files, &bytes);
	add_file(request->arena, ref->path, "adapter_model.safetensors", files,
	         &bytes);
	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:i, s:i, s:i, s:o}", "kind",
	                 "adapter", "architecture", config->architecture,
	                 "parameters", (json_int_t) model_parameters(model),
	                 "dtype", dtype_name(model_stored_dtype(model)), "bytes",
	                 (json_int_t) bytes, "context", config->context,
	                 "vocabulary", config->vocabulary, "rank", rank, "files",
	                 files);
}

bool
describe_model(Request *request, const ModelRef *ref, json_t **head,
               Failure *failure)
{
	json_t *files;
	int64_t bytes = 0;
	Model *model;
	AdapterView adapter;
	const ModelConfig *config;

	if (model_ref_is_value(ref))
		return describe_value_model(request, ref, head, failure);
	if (!model_use(request, ref, &model, failure))
		return false;
	if (adapter_view(model, &adapter))
	{
		*head = describe_adapter(request, ref, model, adapter.rank);
		return true;
	}
	config = model_config(model);
	files = json_array();
	if (!list_files(request->arena, ref->path, files, &bytes, failure))
	{
		json_decref(files);
		return false;
	}
	*head = json_pack("{s:s, s:s, s:I, s:s, s:I, s:i, s:i, s:o}", "kind",
	                  model_kind_name(model_kind(model)), "architecture",
	                  config->architecture, "parameters",
	                  (json_int_t) model_parameters(model), "dtype",
	                  dtype_name(model_stored_dtype(model)), "bytes",
	                  (json_int_t) bytes, "context", config->context,
	                  "vocabulary", config->vocabulary, "files", files);
	if (model_kind(model) == MODEL_CLASSIFIER)
		json_object_set_new(*head, "labels", json_integer(config->labels));
	return true;
}

bool
handle_model_inspect(Request *request, Failure *failure)
{
	ModelRef ref;
	json_t *head;

	return model_ref_of(request, "model", &ref, failure) &&
	       describe_model(request, &ref, &head, failure) &&
	       reply_send(request, WIRE_RESULT, head, failure);
}
