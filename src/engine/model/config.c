/*
 * config.c
 *		config.json of the architectures we know, in the spellings of
 *		transformers 4 and 5.
 */
#include "model/layers.h"

#include "base/file.h"
#include "formats/json.h"

#include <math.h>
#include <string.h>

static const Architecture architectures[] = {
	{
		.name = "gpt2",
		.prefixes = {"transformer.", ""},
		.embedding = "wte.weight",
		.position = "wpe.weight",
		.layer = "h.%d.",
		.attention_norm = "ln_1",
		.qkv = "attn.c_attn",
		.out = "attn.c_proj",
		.mlp_norm = "ln_2",
		.gate = "mlp.c_fc",
		.down = "mlp.c_proj",
		.final_norm = "ln_f",
		.transposed = true,
	},
	{
		.name = "llama",
		.prefixes = {"model.", ""},
		.embedding = "embed_tokens.weight",
		.layer = "layers.%d.",
		.attention_norm = "input_layernorm",
		.q = "self_attn.q_proj",
		.k = "self_attn.k_proj",
		.v = "self_attn.v_proj",
		.out = "self_attn.o_proj",
		.mlp_norm = "post_attention_layernorm",
		.gate = "mlp.gate_proj",
		.up = "mlp.up_proj",
		.down = "mlp.down_proj",
		.final_norm = "norm",
	},
};

#define ARCHITECTURES ((int) (sizeof(architectures) / sizeof(architectures[0])))

const Architecture *
architecture_find(const char *name)
{
	for (int i = 0; i < ARCHITECTURES; i++)
		if (strcmp(architectures[i].name, name) == 0)
			return &architectures[i];
	return NULL;
}

const char *
architecture_name(int index)
{
	return index < ARCHITECTURES ? architectures[index].name : NULL;
}

/* An int member in [min, max]; fallback 0 with min > 0 means required. */
static bool
get_int(const json_t *json, const char *key, int fallback, int min, int max,
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

static bool
get_float(const json_t *json, const char *key, double fallback, double min,
          double max, double *value, Failure *failure)
{
	if (!json_get_double(json, key, fallback, min, max, value, failure))
		return fail_while(failure, "reading config.json");
	return true;
}

static bool
get_bool(const json_t *json, const char *key, bool fallback, bool *value,
         Failure *failure)
{
	if (!json_get_bool(json, key, fallback, value, failure))
		return fail_while(failure, "reading config.json");
	return true;
}

static bool
get_activation(const json_t *json, const char *key, const char *fallback,
               Activation *activation, Failure *failure)
{
	static const struct
	{
		const char *name;
		Activation activation;
	} known[] = {
		{"gelu", ACTIVATION_GELU},
		{"gelu_new", ACTIVATION_GELU_TANH},
		{"gelu_fast", ACTIVATION_GELU_TANH},
		{"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
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

/* eos_token_id and its like: a number or a list of them, added to the stops. */
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
		                 &id) ||
		    id < 0 || id >= config->vocabulary)
			return fail(failure, FAILURE_BAD_FILE,
			            "eos_token_id is not a token of the vocabulary of %d",
			            config->vocabulary);
		config->stop[config->stops++] = (int) id;
	}
	return true;
}

static bool
parse_rope(const json_t *json, ModelConfig *config, Failure *failure)
{
	json_t *rope;
	const char *type;
	const char *old_type;

	if (!json_get_object(json, "rope_parameters", &rope, failure))
		return false;
	if (rope == NULL && !json_get_object(json, "rope_scaling", &rope, failure))
		return false;
	if (!get_float(json, "rope_theta", 10000, 1, 1e12, &config->rope_theta,
	               failure) ||
	    !get_float(rope, "rope_theta", config->rope_theta, 1, 1e12,
	               &config->rope_theta, failure) ||
	    !json_get_string(rope, "type", "default", &old_type, failure) ||
	    !json_get_string(rope, "rope_type", old_type, &type, failure))
		return false;
	if (strcmp(type, "default") == 0)
		return true;
	config->rope_linear = strcmp(type, "linear") == 0;
	if (!config->rope_linear && strcmp(type, "llama3") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "rope scaling \"%s\" of config.json is not supported",
		            type);
	if (!get_float(rope, "factor", 1, 1e-3, 1e6, &config->rope_factor, failure))
		return false;
	if (config->rope_linear)
		return true;
	if (!get_float(rope, "low_freq_factor", 1, 1e-6, 1e6, &config->rope_low,
	               failure) ||
	    !get_float(rope, "high_freq_factor", 4, 1e-6, 1e6, &config->rope_high,
	               failure) ||
	    !get_float(rope, "original_max_position_embeddings", config->context, 1,
	               1e9, &config->rope_original, failure))
		return false;
	if (config->rope_high <= config->rope_low)
		return fail(failure, FAILURE_BAD_FILE,
		            "high_freq_factor %g is not above low_freq_factor %g",
		            config->rope_high, config->rope_low);
	return true;
}

static bool
parse_gpt2(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool scale_by_layer;
	bool scale;
	double eps;

	if (!get_int(json, "n_embd", 0, 1, 65536, &config->hidden, failure) ||
	    !get_int(json, "n_layer", 0, 1, 1000, &config->layers, failure) ||
	    !get_int(json, "n_head", 0, 1, 4096, &config->heads, failure) ||
	    !get_int(json, "n_positions", 1024, 2, 1 << 24, &config->context,
	             failure) ||
	    !get_int(json, "vocab_size", 0, 2, 1 << 24, &config->vocabulary,
	             failure) ||
	    !get_int(json, "n_inner", 4 * config->hidden, 1, 1 << 20,
	             &config->feed_forward, failure) ||
	    !get_float(json, "layer_norm_epsilon", 1e-5, 0, 1, &eps, failure) ||
	    !get_bool(json, "tie_word_embeddings", true, &config->tied, failure) ||
	    !get_bool(json, "scale_attn_by_inverse_layer_idx", false,
	              &scale_by_layer, failure) ||
	    !get_bool(json, "scale_attn_weights", true, &scale, failure) ||
	    !get_activation(json, "activation_function", "gelu_new",
	                    &config->activation, failure))
		return false;
	if (scale_by_layer || !scale)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "attention scaling other than 1/sqrt(head_dim) is not "
		            "supported");
	if (config->hidden % config->heads != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "n_embd %d is not a multiple of n_head %d", config->hidden,
		            config->heads);
	config->kv_heads = config->heads;
	config->head_dim = config->hidden / config->heads;
	config->norm = NORM_LAYER;
	config->norm_eps = (float) eps;
	config->position = POSITION_LEARNED;
	config->qkv_bias = config->out_bias = config->mlp_bias = true;
	return true;
}

static bool
parse_llama(const json_t *json, ModelConfig *config, Failure *failure)
{
	double eps;
	bool attention_bias;

	if (!get_int(json, "hidden_size", 0, 1, 65536, &config->hidden, failure) ||
	    !get_int(json, "intermediate_size", 0, 1, 1 << 20,
	             &config->feed_forward, failure) ||
	    !get_int(json, "num_hidden_layers", 0, 1, 1000, &config->layers,
	             failure) ||
	    !get_int(json, "num_attention_heads", 0, 1, 4096, &config->heads,
	             failure) ||
	    !get_int(json, "num_key_value_heads", config->heads, 1, 4096,
	             &config->kv_heads, failure) ||
	    !get_int(json, "head_dim", config->hidden / config->heads, 1, 4096,
	             &config->head_dim, failure) ||
	    !get_int(json, "max_position_embeddings", 2048, 2, 1 << 24,
	             &config->context, failure) ||
	    !get_int(json, "vocab_size", 0, 2, 1 << 24, &config->vocabulary,
	             failure) ||
	    !get_float(json, "rms_norm_eps", 1e-6, 0, 1, &eps, failure) ||
	    !get_bool(json, "tie_word_embeddings", false, &config->tied, failure) ||
	    !get_bool(json, "attention_bias", false, &attention_bias, failure) ||
	    !get_bool(json, "mlp_bias", false, &config->mlp_bias, failure) ||
	    !get_activation(json, "hidden_act", "silu", &config->activation,
	                    failure))
		return false;
	if (config->heads % config->kv_heads != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "num_attention_heads %d is not a multiple of "
		            "num_key_value_heads %d",
		            config->heads, config->kv_heads);
	if (config->head_dim % 2 != 0)
		return fail(failure, FAILURE_BAD_FILE, "head_dim %d is odd",
		            config->head_dim);
	config->norm = NORM_RMS;
	config->norm_eps = (float) eps;
	config->position = POSITION_ROTARY;
	config->rotary = config->head_dim;
	config->gated = true;
	config->qkv_bias = config->out_bias = attention_bias;
	return parse_rope(json, config, failure);
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
	return get_float(json, "length_penalty", config->length_penalty, -1e3, 1e3,
	                 &config->length_penalty, failure);
}

static bool
parse(const json_t *json, ModelConfig *config, Failure *failure)
{
	const char *type;
	double range;

	memset(config, 0, sizeof(ModelConfig));
	config->length_penalty = 1;
	if (!json_is_object(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "config.json is not a JSON object");
	if (!json_get_string(json, "model_type", NULL, &type, failure))
		return false;
	if (type == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "config.json has no \"model_type\"");
	if (architecture_find(type) == NULL)
	{
		fail(failure, FAILURE_UNSUPPORTED, "model_type \"%s\" is not supported",
		     type);
		return fail_hint(failure, "Supported are gpt2 and llama.");
	}
	snprintf(config->architecture, sizeof(config->architecture), "%s", type);
	if (!(strcmp(type, "gpt2") == 0 ? parse_gpt2 : parse_llama)(json, config,
	                                                            failure) ||
	    !get_float(json, "initializer_range", 0.02, 0, 10, &range, failure) ||
	    !get_int(json, "bos_token_id", -1, -1, config->vocabulary - 1,
	             &config->bos, failure) ||
	    !get_stops(json, config, failure) || !get_beams(json, config, failure))
		return false;
	config->initializer_range = (float) range;
	config->eos = config->stops > 0 ? config->stop[0] : -1;
	return true;
}

bool
config_parse(Arena *arena, const char *text, size_t length, ModelConfig *config,
             Failure *failure)
{
	json_t *json;

	return json_open_text(arena, text, length, "config", &json, failure) &&
	       parse(json, config, failure);
}

bool
config_open(Arena *arena, const char *directory, ModelConfig *config,
            Failure *failure)
{
	const char *path = arena_printf(arena, "%s/config.json", directory);
	json_t *json;

	if (!json_open_file(arena, path, JSON_CONFIG_SIZE, &json, failure) ||
	    !parse(json, config, failure))
		return false;
	path = arena_printf(arena, "%s/generation_config.json", directory);
	return !file_exists(path) ||
	       (json_open_file(arena, path, JSON_CONFIG_SIZE, &json, failure) &&
	        get_stops(json, config, failure) &&
	        get_beams(json, config, failure));
}
