/*
 * architectures.c
 *		The architectures we know: what their config.json says, in the
 *		spellings of transformers 4 and 5, and the names in their files.
 */
#include "model/files/config.h"

#include <string.h>

static bool
parse_gpt2(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool scale_by_layer;
	bool scale;
	double eps;

	if (!config_int(json, "n_embd", 0, 1, 65536, &config->hidden, failure) ||
	    !config_int(json, "n_layer", 0, 1, MODEL_LAYERS_MAX, &config->layers,
	                failure) ||
	    !config_int(json, "n_head", 0, 1, 4096, &config->heads, failure) ||
	    !config_int(json, "n_positions", 1024, 2, 1 << 24, &config->context,
	                failure) ||
	    !config_int(json, "vocab_size", 0, 2, 1 << 24, &config->vocabulary,
	                failure) ||
	    !config_int(json, "n_inner", 4 * config->hidden, 1, 1 << 20,
	                &config->feed_forward, failure) ||
	    !config_float(json, "layer_norm_epsilon", 1e-5, 0, 1, &eps, failure) ||
	    !config_bool(json, "tie_word_embeddings", true, &config->tied,
	                 failure) ||
	    !config_bool(json, "scale_attn_by_inverse_layer_idx", false,
	                 &scale_by_layer, failure) ||
	    !config_bool(json, "scale_attn_weights", true, &scale, failure) ||
	    !config_activation(json, "activation_function", "gelu_new",
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
	config->qkv = QKV_FUSED;
	config->qkv_bias = config->out_bias = config->mlp_bias = true;
	return true;
}

/* What most architectures call alike. */
static bool
parse_sizes(const json_t *json, int context, ModelConfig *config,
            Failure *failure)
{
	return config_int(json, "hidden_size", 0, 1, 65536, &config->hidden,
	                  failure) &&
	       config_int(json, "intermediate_size", 0, 1, 1 << 20,
	                  &config->feed_forward, failure) &&
	       config_int(json, "num_hidden_layers", 0, 1, MODEL_LAYERS_MAX,
	                  &config->layers, failure) &&
	       config_int(json, "num_attention_heads", 0, 1, 4096, &config->heads,
	                  failure) &&
	       config_int(json, "max_position_embeddings", context, 2, 1 << 24,
	                  &config->context, failure) &&
	       config_int(json, "vocab_size", 0, 2, 1 << 24, &config->vocabulary,
	                  failure) &&
	       config_bool(json, "tie_word_embeddings", false, &config->tied,
	                   failure);
}

/* Heads that share the hidden size evenly. */
static bool
divide_heads(ModelConfig *config, Failure *failure)
{
	if (config->hidden % config->heads != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "hidden_size %d is not a multiple of "
		            "num_attention_heads %d",
		            config->hidden, config->heads);
	config->kv_heads = config->heads;
	config->head_dim = config->hidden / config->heads;
	return true;
}

static bool
parse_gpt_neox(const json_t *json, ModelConfig *config, Failure *failure)
{
	double eps;
	bool attention_bias;

	if (!parse_sizes(json, 2048, config, failure) ||
	    !divide_heads(config, failure) ||
	    !config_float(json, "layer_norm_eps", 1e-5, 0, 1, &eps, failure) ||
	    !config_bool(json, "attention_bias", true, &attention_bias, failure) ||
	    !config_bool(json, "use_parallel_residual", true, &config->is_parallel,
	                 failure) ||
	    !config_activation(json, "hidden_act", "gelu", &config->activation,
	                       failure))
		return false;
	config->norm = NORM_LAYER;
	config->norm_eps = (float) eps;
	config->qkv = QKV_BY_HEAD;
	config->qkv_bias = config->out_bias = attention_bias;
	config->mlp_bias = true;
	return config_rotation(json, true, config, failure);
}

/* What LLaMA and those after it share; 0 key heads or head_dim: what the
 * others give. */
static bool
parse_gated(const json_t *json, int context, int kv_heads, int head_dim,
            ModelConfig *config, Failure *failure)
{
	double eps;

	if (!parse_sizes(json, context, config, failure) ||
	    !config_int(json, "num_key_value_heads",
	                kv_heads == 0 ? config->heads : kv_heads, 1, 4096,
	                &config->kv_heads, failure) ||
	    !config_int(json, "head_dim",
	                head_dim == 0 ? config->hidden / config->heads : head_dim,
	                1, 4096, &config->head_dim, failure) ||
	    !config_float(json, "rms_norm_eps", 1e-6, 0, 1, &eps, failure) ||
	    !config_activation(json, "hidden_act", "silu", &config->activation,
	                       failure))
		return false;
	if (config->heads % config->kv_heads != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "num_attention_heads %d is not a multiple of "
		            "num_key_value_heads %d",
		            config->heads, config->kv_heads);
	config->norm = NORM_RMS;
	config->norm_eps = (float) eps;
	config->gated = true;
	return config_rotation(json, false, config, failure);
}

static bool
parse_llama(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool attention_bias;

	if (!parse_gated(json, 2048, 0, 0, config, failure) ||
	    !config_bool(json, "attention_bias", false, &attention_bias, failure) ||
	    !config_bool(json, "mlp_bias", false, &config->mlp_bias, failure))
		return false;
	config->qkv_bias = config->out_bias = attention_bias;
	return true;
}

static void
set_window(ModelConfig *config, int layer)
{
	config->window_layers[layer / 64] |= (uint64_t) 1 << (layer % 64);
}

/* A window that is not mentioned is 4096 wide, one that is null is none. */
static bool
parse_mistral(const json_t *json, ModelConfig *config, Failure *failure)
{
	if (!parse_gated(json, 4096 * 32, 8, 0, config, failure) ||
	    !config_int(json, "sliding_window", 4096, 1, INT32_MAX, &config->window,
	                failure))
		return false;
	if (json_is_null(json_object_get(json, "sliding_window")))
		config->window = 0;
	for (int i = 0; i < config->layers && config->window > 0; i++)
		set_window(config, i);
	return true;
}

/* The layers with a window, as layer_types lists them. */
static bool
read_layer_types(json_t *types, ModelConfig *config, Failure *failure)
{
	if (json_array_size(types) != (size_t) config->layers)
		return fail(failure, FAILURE_BAD_FILE,
		            "layer_types lists %zu layers, num_hidden_layers is %d",
		            json_array_size(types), config->layers);
	for (int i = 0; i < config->layers; i++)
	{
		json_t *item = json_array_get(types, (size_t) i);
		const char *type = json_is_string(item) ? json_string_value(item) : "";
		bool is_windowed = strcmp(type, "sliding_attention") == 0;

		if (!is_windowed && strcmp(type, "full_attention") != 0)
			return fail(failure, FAILURE_UNSUPPORTED,
			            "layer_types has \"%s\", which is not supported", type);
		if (is_windowed && config->window == 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "layer_types has \"%s\" without a sliding_window",
			            type);
		if (is_windowed)
			set_window(config, i);
	}
	return true;
}

/* Without layer_types, the layers from max_window_layers on have a window. */
static bool
parse_qwen_window(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool uses_window;
	int first;
	json_t *types;

	if (!config_bool(json, "use_sliding_window", false, &uses_window,
	                 failure) ||
	    !config_int(json, "max_window_layers", 28, 0, INT32_MAX, &first,
	                failure) ||
	    !json_get_array(json, "layer_types", &types, failure))
		return false;
	if (uses_window && !config_int(json, "sliding_window", 4096, 1, INT32_MAX,
	                               &config->window, failure))
		return false;
	if (json_is_null(json_object_get(json, "sliding_window")))
		config->window = 0;
	if (types != NULL)
		return read_layer_types(types, config, failure);
	for (int i = first; i < config->layers && config->window > 0; i++)
		set_window(config, i);
	return true;
}

static bool
parse_qwen2(const json_t *json, ModelConfig *config, Failure *failure)
{
	if (!parse_gated(json, 32768, 32, 0, config, failure) ||
	    !parse_qwen_window(json, config, failure))
		return false;
	config->qkv_bias = true;
	return true;
}

static bool
parse_qwen3(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool attention_bias;

	if (!parse_gated(json, 32768, 32, 128, config, failure) ||
	    !config_bool(json, "attention_bias", false, &attention_bias, failure) ||
	    !parse_qwen_window(json, config, failure))
		return false;
	config->qkv_bias = config->out_bias = attention_bias;
	config->head_norm = true;
	return true;
}

/* What BERT and those after it share, beside their sizes. */
static bool
set_encoder(const json_t *json, ModelConfig *config, Failure *failure)
{
	const char *position;
	bool is_decoder;

	if (!json_get_string(json, "position_embedding_type", "absolute", &position,
	                     failure) ||
	    !config_bool(json, "is_decoder", false, &is_decoder, failure))
		return false;
	if (strcmp(position, "absolute") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "position_embedding_type \"%s\" is not supported",
		            position);
	if (is_decoder)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "a %s with \"is_decoder\" is not supported",
		            config->architecture);
	config->norm = NORM_LAYER;
	config->position = POSITION_LEARNED;
	config->embedding_norm = config->norm_after = config->is_bidirectional =
		true;
	config->tied = false;
	config->qkv_bias = config->out_bias = config->mlp_bias = true;
	return true;
}

static bool
parse_bert(const json_t *json, ModelConfig *config, Failure *failure)
{
	double eps;

	if (!parse_sizes(json, 512, config, failure) ||
	    !divide_heads(config, failure) ||
	    !config_int(json, "type_vocab_size", 2, 1, 65536, &config->types,
	                failure) ||
	    !config_float(json, "layer_norm_eps", 1e-12, 0, 1, &eps, failure) ||
	    !config_activation(json, "hidden_act", "gelu", &config->activation,
	                       failure) ||
	    !set_encoder(json, config, failure))
		return false;
	config->norm_eps = (float) eps;
	config->pooler = ACTIVATION_TANH;
	config->pad = 0;
	return true;
}

/* A BERT whose positions begin behind the id of its padding token. */
static bool
parse_roberta(const json_t *json, ModelConfig *config, Failure *failure)
{
	int pad;

	if (!parse_bert(json, config, failure) ||
	    !config_int(json, "pad_token_id", 1, 0, config->vocabulary - 1, &pad,
	                failure))
		return false;
	config->pad = pad;
	config->first_position = pad + 1;
	config->context -= config->first_position;
	if (config->context < 2)
		return fail(failure, FAILURE_BAD_FILE,
		            "max_position_embeddings %d leaves no room behind "
		            "pad_token_id %d",
		            config->context + config->first_position, pad);
	return true;
}

static bool
parse_distilbert(const json_t *json, ModelConfig *config, Failure *failure)
{
	if (!config_int(json, "dim", 0, 1, 65536, &config->hidden, failure) ||
	    !config_int(json, "hidden_dim", 0, 1, 1 << 20, &config->feed_forward,
	                failure) ||
	    !config_int(json, "n_layers", 0, 1, MODEL_LAYERS_MAX, &config->layers,
	                failure) ||
	    !config_int(json, "n_heads", 0, 1, 4096, &config->heads, failure) ||
	    !config_int(json, "max_position_embeddings", 512, 2, 1 << 24,
	                &config->context, failure) ||
	    !config_int(json, "vocab_size", 0, 2, 1 << 24, &config->vocabulary,
	                failure) ||
	    !config_activation(json, "activation", "gelu", &config->activation,
	                       failure) ||
	    !set_encoder(json, config, failure))
		return false;
	if (config->hidden % config->heads != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "dim %d is not a multiple of n_heads %d", config->hidden,
		            config->heads);
	config->kv_heads = config->heads;
	config->head_dim = config->hidden / config->heads;
	config->norm_eps = 1e-12f;
	config->pooler = ACTIVATION_RELU;
	config->pad = 0;
	return true;
}

/* Which of queries and keys look at distances. */
static bool
read_distance_parts(const json_t *json, ModelConfig *config, Failure *failure)
{
	json_t *parts;

	/* A list, or the names joined by bars. */
	if (json_is_string(json_member(json, "pos_att_type")))
	{
		const char *text = json_string_value(json_member(json, "pos_att_type"));

		config->distance_query = strstr(text, "c2p") != NULL;
		config->distance_key = strstr(text, "p2c") != NULL;
		return true;
	}
	if (!json_get_array(json, "pos_att_type", &parts, failure))
		return false;
	for (size_t i = 0; i < json_array_size(parts); i++)
	{
		json_t *item = json_array_get(parts, i);
		const char *part = json_is_string(item) ? json_string_value(item) : "";

		config->distance_query |= strcmp(part, "c2p") == 0;
		config->distance_key |= strcmp(part, "p2c") == 0;
	}
	return true;
}

/* Attention that looks at distances (arXiv 2006.03654). */
static bool
parse_distances(const json_t *json, ModelConfig *config, Failure *failure)
{
	bool is_relative;
	int limit;
	const char *norm;

	if (!read_distance_parts(json, config, failure) ||
	    !config_bool(json, "relative_attention", false, &is_relative,
	                 failure) ||
	    !config_bool(json, "share_att_key", false, &config->distance_shared,
	                 failure) ||
	    !config_int(json, "max_relative_positions", -1, -1, 1 << 24, &limit,
	                failure) ||
	    !config_int(json, "position_buckets", -1, -1, 65536,
	                &config->distance_buckets, failure) ||
	    !json_get_string(json, "norm_rel_ebd", "none", &norm, failure))
		return false;
	config->distance_limit = limit < 1 ? config->context : limit;
	if (!is_relative)
		return true;
	if (config->distance_buckets < 1)
		config->distance_buckets = 0;
	/* Half of the buckets hold one distance each: there is none in one. */
	if (config->distance_buckets == 1 || config->distance_limit < 3 ||
	    config->distance_buckets / 2 >= config->distance_limit - 1)
		return fail(failure, FAILURE_BAD_FILE,
		            "position_buckets %d do not fit max_relative_positions %d",
		            config->distance_buckets, config->distance_limit);
	config->distances =
		2 * (config->distance_buckets > 0 ? config->distance_buckets
	                                      : config->distance_limit);
	config->distance_norm = strstr(norm, "layer_norm") != NULL;
	return true;
}

static bool
parse_deberta(const json_t *json, ModelConfig *config, Failure *failure)
{
	double eps;
	bool has_positions;
	int kernel, width, pooler;

	if (!parse_sizes(json, 512, config, failure) ||
	    !divide_heads(config, failure) ||
	    !config_int(json, "type_vocab_size", 0, 0, 65536, &config->types,
	                failure) ||
	    !config_float(json, "layer_norm_eps", 1e-7, 0, 1, &eps, failure) ||
	    !config_bool(json, "position_biased_input", true, &has_positions,
	                 failure) ||
	    !config_int(json, "conv_kernel_size", 0, 0, INT32_MAX, &kernel,
	                failure) ||
	    !config_int(json, "embedding_size", config->hidden, 1, 65536, &width,
	                failure) ||
	    !config_int(json, "pooler_hidden_size", config->hidden, 1, 65536,
	                &pooler, failure) ||
	    !config_activation(json, "hidden_act", "gelu", &config->activation,
	                       failure) ||
	    !config_activation(json, "pooler_hidden_act", "gelu", &config->pooler,
	                       failure) ||
	    !set_encoder(json, config, failure) ||
	    !parse_distances(json, config, failure))
		return false;
	if (kernel > 0 || width != config->hidden || pooler != config->hidden)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "a %s with a convolution, or with embeddings or a pooler "
		            "of another size, is not supported",
		            config->architecture);
	config->norm_eps = (float) eps;
	config->position = has_positions ? POSITION_LEARNED : POSITION_NONE;
	config->pad = 0;
	return true;
}

/* BERT's names, which RoBERTa took over. */
#define BERT_NAMES                                                             \
	.embedding = "embeddings.word_embeddings.weight",                          \
	.position = "embeddings.position_embeddings.weight",                       \
	.type = "embeddings.token_type_embeddings.weight",                         \
	.embedding_norm = "embeddings.LayerNorm", .layer = "encoder.layer.%d.",    \
	.q = "attention.self.query", .k = "attention.self.key",                    \
	.v = "attention.self.value", .out = "attention.output.dense",              \
	.attention_norm = "attention.output.LayerNorm",                            \
	.gate = "intermediate.dense", .down = "output.dense",                      \
	.mlp_norm = "output.LayerNorm", .pooler = "pooler.dense"

/* LLaMA's names, which those after it took over. */
#define LLAMA_NAMES                                                            \
	.prefixes = {"model.", ""}, .embedding = "embed_tokens.weight",            \
	.layer = "layers.%d.", .attention_norm = "input_layernorm",                \
	.q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj", \
	.q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm",                \
	.out = "self_attn.o_proj", .mlp_norm = "post_attention_layernorm",         \
	.gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj",     \
	.final_norm = "norm", .head = "lm_head.weight", .classifier = "score"

static const Architecture architectures[] = {
	{
		.name = "gpt2",
		.class_name = "GPT2LMHeadModel",
		.parse = parse_gpt2,
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
		.head = "lm_head.weight",
		.classifier = "score",
		.transposed = true,
	},
	{
		.name = "gpt_neox",
		.class_name = "GPTNeoXForCausalLM",
		.parse = parse_gpt_neox,
		.prefixes = {"gpt_neox.", ""},
		.embedding = "embed_in.weight",
		.layer = "layers.%d.",
		.attention_norm = "input_layernorm",
		.qkv = "attention.query_key_value",
		.out = "attention.dense",
		.mlp_norm = "post_attention_layernorm",
		.gate = "mlp.dense_h_to_4h",
		.down = "mlp.dense_4h_to_h",
		.final_norm = "final_layer_norm",
		.head = "embed_out.weight",
		.classifier = "score",
	},
	{
		.name = "llama",
		.class_name = "LlamaForCausalLM",
		.parse = parse_llama,
		LLAMA_NAMES,
	},
	{
		.name = "mistral",
		.class_name = "MistralForCausalLM",
		.parse = parse_mistral,
		LLAMA_NAMES,
	},
	{
		.name = "qwen2",
		.class_name = "Qwen2ForCausalLM",
		.parse = parse_qwen2,
		LLAMA_NAMES,
	},
	{
		.name = "qwen3",
		.class_name = "Qwen3ForCausalLM",
		.parse = parse_qwen3,
		LLAMA_NAMES,
	},
	{
		.name = "bert",
		.class_name = "BertModel",
		.parse = parse_bert,
		.prefixes = {"bert.", ""},
		.classifier = "classifier",
		BERT_NAMES,
	},
	{
		.name = "roberta",
		.class_name = "RobertaModel",
		.parse = parse_roberta,
		.prefixes = {"roberta.", ""},
		.dense = "classifier.dense",
		.classifier = "classifier.out_proj",
		BERT_NAMES,
	},
	{
		.name = "deberta-v2",
		.class_name = "DebertaV2Model",
		.parse = parse_deberta,
		.prefixes = {"deberta.", ""},
		.embedding = "embeddings.word_embeddings.weight",
		.position = "embeddings.position_embeddings.weight",
		.type = "embeddings.token_type_embeddings.weight",
		.embedding_norm = "embeddings.LayerNorm",
		.distance = "encoder.rel_embeddings.weight",
		.distance_norm = "encoder.LayerNorm",
		.distance_query = "attention.self.pos_query_proj",
		.distance_key = "attention.self.pos_key_proj",
		.layer = "encoder.layer.%d.",
		.q = "attention.self.query_proj",
		.k = "attention.self.key_proj",
		.v = "attention.self.value_proj",
		.out = "attention.output.dense",
		.attention_norm = "attention.output.LayerNorm",
		.gate = "intermediate.dense",
		.down = "output.dense",
		.mlp_norm = "output.LayerNorm",
		.dense = "pooler.dense",
		.classifier = "classifier",
	},
	{
		.name = "distilbert",
		.class_name = "DistilBertModel",
		.parse = parse_distilbert,
		.prefixes = {"distilbert.", ""},
		.embedding = "embeddings.word_embeddings.weight",
		.position = "embeddings.position_embeddings.weight",
		.embedding_norm = "embeddings.LayerNorm",
		.layer = "transformer.layer.%d.",
		.q = "attention.q_lin",
		.k = "attention.k_lin",
		.v = "attention.v_lin",
		.out = "attention.out_lin",
		.attention_norm = "sa_layer_norm",
		.gate = "ffn.lin1",
		.down = "ffn.lin2",
		.mlp_norm = "output_layer_norm",
		.dense = "pre_classifier",
		.classifier = "classifier",
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

const char *
architecture_list(Arena *arena)
{
	const char *list = architectures[0].name;

	for (int i = 1; i < ARCHITECTURES; i++)
		list = arena_printf(arena, "%s%s%s", list,
		                    i == ARCHITECTURES - 1 ? " and " : ", ",
		                    architectures[i].name);
	return list;
}
