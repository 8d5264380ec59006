/*
 * create.c
 *		New models: WIRE_MODEL_CREATE, WIRE_MODEL_EXPORT.
 */
#include "base/poll.h"
#include "formats/json.h"
#include "model/lora/lora.h"
#include "serve/inspect.h"
#include "serve/requests.h"
#include "text/models/bpe_train.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY_MAX (1 << 24)

/* Feeds the documents of the WIRE_DATA frames that follow to the trainer. */
static bool
receive_corpus(Request *request, BpeTrainer *trainer, Failure *failure)
{
	bool done = true, ended = false;

	while (done && !ended)
	{
		Frame *frame = serve_await(request, failure);
		Arena *arena;
		json_t *head;
		uint32_t count;

		if (frame == NULL)
			return false;
		arena = arena_create();
		done = frame_head(arena, &frame->payload, &head, failure);
		ended = frame->header.type == WIRE_DATA_END;
		count = ended ? 0 : wire_get_count(&frame->payload, 4);
		for (uint32_t i = 0; done && i < count; i++)
		{
			size_t length;
			const char *text = wire_get_text(&frame->payload, &length);

			done = bpe_trainer_add(trainer, text, length, failure) &&
			       poll_check(failure);
		}
		if (done && frame->payload.broken)
			done = fail_items(request, failure);
		arena_destroy(arena);
		frame_free(frame);
	}
	return done;
}

/* transformers reads the ids of its special tokens from the configuration;
 * those of a tokenizer just made are known now. */
static void
settle_config(json_t *config, int entries)
{
	if (json_is_null(json_object_get(config, "vocab_size")) ||
	    json_object_get(config, "vocab_size") == NULL)
		json_object_set_new(config, "vocab_size", json_integer(entries));
	json_object_set_new(config, "bos_token_id", json_integer(entries - 1));
	json_object_set_new(config, "eos_token_id", json_integer(entries - 1));
	json_object_del(config, "pad_token_id");
}

static bool
create(Request *request, json_t *config, uint64_t seed, const char *directory,
       Failure *failure)
{
	BpeTrainer *trainer = bpe_trainer_create(request->arena);
	int64_t vocabulary;
	int entries;
	char *text;
	bool done;

	if (!json_get_int(config, "vocab_size", 257, 257, VOCABULARY_MAX,
	                  &vocabulary, failure) ||
	    !receive_corpus(request, trainer, failure) ||
	    !bpe_trainer_write(trainer, (int) vocabulary, directory, &entries,
	                       failure))
		return false;
	settle_config(config, entries);
	text = json_dumps(config, JSON_INDENT(2));
	if (text == NULL)
		return fail(failure, FAILURE_BAD_INPUT, "config is not an object");
	done = model_create(text, strlen(text), seed, directory, failure);
	free(text);
	return done;
}

bool
handle_model_create(Request *request, Failure *failure)
{
	const json_t *seed = json_object_get(request->head, "seed");
	ModelRef ref = {.name = "new"};
	json_t *config, *head;

	if (!json_get_object(request->head, "config", &config, failure) ||
	    !json_get_string(request->head, "directory", NULL, &ref.path, failure))
		return false;
	if (config == NULL || ref.path == NULL)
		return fail(failure, FAILURE_PROTOCOL,
		            "a new model needs a config and a directory");
	return create(request, config, (uint64_t) json_integer_value(seed),
	              ref.path, failure) &&
	       describe_model(request, &ref, &head, failure) &&
	       reply_send(request, WIRE_RESULT, head, failure);
}

/* The names in a directory. */
static json_t *
list_directory(const char *path)
{
	json_t *names = json_array();
	DIR *stream = opendir(path);
	struct dirent *entry;

	while (stream != NULL && (entry = readdir(stream)) != NULL)
		if (entry->d_name[0] != '.')
			json_array_append_new(names, json_string(entry->d_name));
	if (stream != NULL)
		closedir(stream);
	return names;
}

/* "auto" is DTYPE_OTHER: as stored. */
static bool
read_dtype(const char *name, DType *dtype, Failure *failure)
{
	static const struct
	{
		const char *name;
		DType dtype;
	} known[] = {{"auto", DTYPE_OTHER},
	             {"f32", DTYPE_F32},
	             {"f16", DTYPE_F16},
	             {"bf16", DTYPE_BF16},
	             {"q8_0", DTYPE_Q8_0}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, name) == 0)
		{
			*dtype = known[i].dtype;
			return true;
		}
	return fail(failure, FAILURE_BAD_INPUT,
	            "weights cannot be written as \"%s\", only as \"auto\", "
	            "\"f32\", \"f16\", \"bf16\" or \"q8_0\"",
	            name);
}

/* An adapter is merged into its base, or written alone.  Merged weights keep
 * all that it changes unless the caller asks for fewer bits. */
static bool
export_model(Arena *arena, Model *model, const ModelRef *ref,
             const char *format, DType dtype, const char *directory,
             Failure *failure)
{
	AdapterView adapter;
	bool is_adapter = adapter_view(model, &adapter);

	if (is_adapter && dtype == DTYPE_OTHER)
		dtype = DTYPE_F32;
	if (strcmp(format, "gguf") == 0)
		return model_save_gguf(model, dtype, ref->name,
		                       arena_printf(arena, "%s/model.gguf", directory),
		                       failure);
	if (dtype == DTYPE_Q8_0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "only GGUF files can hold weights of \"q8_0\"");
	if (strcmp(format, "safetensors") == 0)
		return model_save_as(model, dtype, directory, failure);
	if (strcmp(format, "peft") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "format \"%s\" is not available, only \"safetensors\", "
		            "\"peft\" and \"gguf\"",
		            format);
	if (!is_adapter)
		return fail(failure, FAILURE_UNSUPPORTED, "\"%s\" is no adapter",
		            ref->name);
	return adapter_save(model, NULL, directory, failure);
}

bool
handle_model_export(Request *request, Failure *failure)
{
	const char *directory, *format, *type;
	ModelRef ref;
	Model *model;
	DType dtype = DTYPE_OTHER;

	if (!json_get_string(request->head, "directory", NULL, &directory,
	                     failure) ||
	    !json_get_string(request->head, "format", "safetensors", &format,
	                     failure) ||
	    !json_get_string(request->head, "dtype", "auto", &type, failure) ||
	    !read_dtype(type, &dtype, failure) ||
	    !model_ref_of(request, "model", &ref, failure))
		return false;
	if (directory == NULL)
		return fail(failure, FAILURE_PROTOCOL, "an export needs a directory");
	if (model_ref_is_value(&ref))
		return fail(failure, FAILURE_UNSUPPORTED,
		            "\"%s\" is a value model, which cannot be exported",
		            ref.name);
	if (!model_use(request, &ref, &model, failure) ||
	    !export_model(request->arena, model, &ref, format, dtype, directory,
	                  failure))
		return false;
	return reply_send(request, WIRE_RESULT,
	                  json_pack("{s:o}", "files", list_directory(directory)),
	                  failure);
}
