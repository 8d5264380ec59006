/*
 * config.c
 *		config.json: its members, and what all architectures have in common.
 */
#include "model/files/config.h"

#include "base/file.h"

#include <string.h>

bool
config_int(const json_t *json, const char *key, int fallback, int min, int max,
           int *value, Failure *failure)
{
	int64_t number;

	if (fallback < min && json_member(json, key) == NULL)
		return fail(failure, FAILURE_BAD_FILE, "config.json has no \"%s\"",
		            key);
	if (!json_get_int(json, key, fallback, min, max, &number, failure))
		return fail_while(failure, "reading config.json");
	*value = (int) number;
	return true;
}

bool
config_float(const json_t *json, const char *key, double fallback, double min,
             double max, double *value, Failure *failure)
{
	if (!json_get_double(json, key, fallback, min, max, value, failure))
		return fail_while(failure, "reading config.json");
	return true;
}

bool
config_bool(const json_t *json, const char *key, bool fallback, bool *value,
            Failure *failure)
{
	if (!json_get_bool(json, key, fallback, value, failure))
		return fail_while(failure, "reading config.json");
	return true;
}

bool
config_activation(const json_t *json, const char *key, const char *fallback,
                  Activation *activation, Failure *failure)
{
	static const struct
	{
		const char *name;
		Activation activation;
	} known[] = {
		{"gelu", ACTIVATION_GELU},
		{"gelu_python", ACTIVATION_GELU},
		{"gelu_new", ACTIVATION_GELU_TANH},
		{"gelu_fast", ACTIVATION_GELU_TANH},
		{"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
		{"gelu_accurate", ACTIVATION_GELU_TANH},
		{"silu", ACTIVATION_SILU},
		{"swish", ACTIVATION_SILU},
		{"relu", ACTIVATION_RELU},
	};
	const char *name;

	if (!json_get_string(json, key, fallback, &name, failure))
		return fail_while(failure, "reading config.json");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, name) == 0)
		{
			*activation = known[i].activation;
			return true;
		}
	return fail(failure, FAILURE_UNSUPPORTED,
	            "activation \"%s\" of config.json is not supported", name);
}

/*
 * eos_token_id and its like: a number or a list of them, added to the stops.
 * One outside the vocabulary never comes, so it ends nothing: configurations
 * keep the default of a larger vocabulary.
 */
static bool
get_stops(const json_t *json, ModelConfig *config, Failure *failure)
{
	json_t *eos = json_member(json, "eos_token_id");
	size_t count = json_is_array(eos) ? json_array_size(eos) : 1;

	if (eos == NULL)
		return true;
	if (count > MODEL_STOP_MAX)
		return fail(failure, FAILURE_BAD_FILE,
		            "eos_token_id lists %zu tokens, at most %d are possible",
		            count, MODEL_STOP_MAX);
	config->stops = 0;
	for (size_t i = 0; i < count; i++)
	{
		int64_t id;

		if (!json_as_int(json_is_array(eos) ? json_array_get(eos, i) : eos,
		                 &id))
			return fail(failure, FAILURE_BAD_FILE,
			            "eos_token_id must be an integer or a list of them");
		if (id >= 0 && id < config->vocabulary)
			config->stop[config->stops++] = (int) id;
	}
	return true;
}

/* How beam searches end; what is not there stays. */
static bool
get_beams(const json_t *json, ModelConfig *config, Failure *failure)
{
	const json_t *end = json_member(json, "early_stopping");

	if (json_is_boolean(end))
		config->beam_end =
			json_is_true(end) ? BEAM_END_EARLY : BEAM_END_PATIENT;
	else if (json_is_string(end) &&
	         strcmp(json_string_value(end), "never") == 0)
		config->beam_end = BEAM_END_NEVER;
	else if (end != NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "early_stopping must be true, false or \"never\"");
	return config_float(json, "length_penalty", config->length_penalty, -1e3,
	                    1e3, &config->length_penalty, failure);
}

static bool
ends_with(const char *text, const char *ending)
{
	size_t length = strlen(text);
	size_t size = strlen(ending);

	return length >= size && strcmp(text + length - size, ending) == 0;
}

/*
 * What the class in "architectures" stands for.  An encoder's other heads (for
 * masked tokens, say) are left out; of a decoder with another head than ours,
 * or of none, the weights decide.
 */
static bool
get_kind(const json_t *json, const Architecture *names, ModelConfig *config,
         Failure *failure)
{
	json_t *classes;
	const char *class;

	if (!json_get_array(json, "architectures", &classes, failure))
		return false;
	class = json_string_value(json_array_get(classes, 0));
	if (class == NULL)
		class = "";
	if (ends_with(class, "ForSequenceClassification"))
		config->kind = MODEL_CLASSIFIER;
	else if (names->head != NULL && (ends_with(class, "ForCausalLM") ||
	                                 ends_with(class, "LMHeadModel")))
		config->kind = MODEL_LANGUAGE;
	else if (names->head == NULL && class[0] != '\0')
		config->kind = MODEL_ENCODER;
	return true;
}

/* As many as id2label names; without it num_labels, or two. */
static bool
get_labels(const json_t *json, ModelConfig *config, Failure *failure)
{
	json_t *names;
	int count;

	if (!json_get_object(json, "id2label", &names, failure))
		return false;
	count = names == NULL ? 2 : (int) json_object_size(names);
	if (count == 0)
		return fail(failure, FAILURE_BAD_FILE, "id2label names no label");
	if (!config_int(json, "num_labels", count, 1, MODEL_LABELS_MAX,
	                &config->labels, failure))
		return false;
	if (names != NULL && config->labels != count)
		return fail(failure, FAILURE_BAD_FILE,
		            "id2label names %d labels, num_labels is %d", count,
		            config->labels);
	return true;
}

bool
config_read(Arena *arena, const json_t *json, ModelConfig *config,
            Failure *failure)
{
	const Architecture *names;
	const char *type;
	double range;

	memset(config, 0, sizeof(ModelConfig));
	config->length_penalty = 1;
	config->pad = -1;
	if (!json_is_object(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "config.json is not a JSON object");
	if (!json_get_string(json, "model_type", NULL, &type, failure))
		return false;
	if (type == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "config.json has no \"model_type\"");
	names = architecture_find(type);
	if (names == NULL)
	{
		fail(failure, FAILURE_UNSUPPORTED, "model_type \"%s\" is not supported",
		     type);
		return fail_hint(failure, "Supported are %s.",
		                 architecture_list(arena));
	}
	snprintf(config->architecture, sizeof(config->architecture), "%s", type);
	if (!names->parse(json, config, failure) ||
	    !config_float(json, "initializer_range", 0.02, 0, 10, &range,
	                  failure) ||
	    !config_int(json, "pad_token_id", config->pad, -1, INT32_MAX,
	                &config->pad, failure) ||
	    !get_kind(json, names, config, failure) ||
	    !get_labels(json, config, failure) ||
	    !config_int(json, "bos_token_id", -1, INT32_MIN, INT32_MAX,
	                &config->bos, failure) ||
	    !get_stops(json, config, failure) || !get_beams(json, config, failure))
		return false;
	if (config->bos < 0 || config->bos >= config->vocabulary)
		config->bos = -1;
	config->initializer_range = (float) range;
	config->eos = config->stops > 0 ? config->stop[0] : -1;
	return true;
}

int
config_window(const ModelConfig *config, int layer)
{
	bool is_windowed = config->window_layers[layer / 64] >> (layer % 64) & 1;

	return is_windowed ? config->window : 0;
}

bool
config_parse(Arena *arena, const char *text, size_t length, ModelConfig *config,
             Failure *failure)
{
	json_t *json;

	return json_open_text(arena, text, length, "config", &json, failure) &&
	       config_read(arena, json, config, failure);
}

bool
config_open(Arena *arena, const char *directory, ModelConfig *config,
            Failure *failure)
{
	const char *path = arena_printf(arena, "%s/config.json", directory);
	json_t *json;

	if (!json_open_file(arena, path, JSON_CONFIG_SIZE, &json, failure) ||
	    !config_read(arena, json, config, failure))
		return false;
	path = arena_printf(arena, "%s/generation_config.json", directory);
	return !file_exists(path) ||
	       (json_open_file(arena, path, JSON_CONFIG_SIZE, &json, failure) &&
	        get_stops(json, config, failure) &&
	        get_beams(json, config, failure));
}
