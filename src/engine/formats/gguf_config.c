/*
 * gguf_config.c
 *		From a GGUF file's metadata to config.json.
 */
#include "formats/gguf_config.h"

#include <math.h>
#include <string.h>

/* The metadata of one file, whose keys begin with its architecture. */
typedef struct Metadata
{
	Arena *arena;
	const GgufFile *file;
	const char *architecture;
	json_t *config;
	Failure *failure;
} Metadata;

/* GGUF's architectures, and what transformers calls them. */
static const struct
{
	const char *gguf;
	const char *model_type;
	const char *class_name;
} known[] = {
	{"llama", "llama", "LlamaForCausalLM"},
	{"qwen2", "qwen2", "Qwen2ForCausalLM"},
	{"qwen3", "qwen3", "Qwen3ForCausalLM"},
	{"gpt2", "gpt2", "GPT2LMHeadModel"},
	{"gptneox", "gpt_neox", "GPTNeoXForCausalLM"},
};

#define KNOWN ((int) (sizeof(known) / sizeof(known[0])))

static void
release(void *json)
{
	json_decref(json);
}

static const char *
key_of(const Metadata *m, const char *name)
{
	return arena_printf(m->arena, "%s.%s", m->architecture, name);
}

static bool
has(const Metadata *m, const char *name)
{
	return gguf_has(m->file, key_of(m, name));
}

static bool
fail_missing(const Metadata *m, const char *key)
{
	return fail(m->failure, FAILURE_BAD_FILE, "\"%s\" has no \"%s\"",
	            gguf_path(m->file), key);
}

static bool
get_int(const Metadata *m, const char *name, int64_t fallback, int64_t *value)
{
	return gguf_get_int(m->file, key_of(m, name), fallback, 0, INT32_MAX, value,
	                    m->failure);
}

/* An integer that must be there becomes a member of config.json. */
static bool
copy_int(const Metadata *m, const char *name, const char *member,
         int64_t *value)
{
	if (!has(m, name))
		return fail_missing(m, key_of(m, name));
	if (!get_int(m, name, 0, value))
		return false;
	json_object_set_new(m->config, member, json_integer(*value));
	return true;
}

static bool
copy_double(const Metadata *m, const char *name, const char *member,
            double *value)
{
	if (!gguf_get_double(m->file, key_of(m, name), 0, 0, 1e12, value,
	                     m->failure))
		return false;
	if (!has(m, name))
		return fail_missing(m, key_of(m, name));
	json_object_set_new(m->config, member, json_real(*value));
	return true;
}

/* What would be opened and be another model. */
static bool
refuse_variants(const Metadata *m)
{
	int64_t experts, parts;

	if (!gguf_get_int(m->file, "split.count", 1, 0, INT32_MAX, &parts,
	                  m->failure))
		return false;
	if (parts > 1)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "\"%s\" is one of %lld files of a model, which is not "
		            "supported",
		            gguf_path(m->file), (long long) parts);

	if (!get_int(m, "expert_count", 0, &experts))
		return false;
	if (experts > 0)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "\"%s\" is a mixture of %lld experts, which is not "
		            "supported",
		            gguf_path(m->file), (long long) experts);
	return true;
}

/* ---------------------------------------------------------- the rotation */

/* rope_freqs.weight: the divisor of every frequency. */
static bool
read_factors(const Metadata *m, int64_t rotary)
{
	const StoredTensor *tensor = gguf_tensor_find(m->file, "rope_freqs.weight");
	json_t *factors;
	float *numbers;

	if (tensor == NULL)
		return true;
	if (tensor->count != rotary / 2 || tensor->dtype != DTYPE_F32)
		return fail(m->failure, FAILURE_BAD_FILE,
		            "rope_freqs.weight of \"%s\" has %lld numbers of type %s, "
		            "not %lld of F32",
		            gguf_path(m->file), (long long) tensor->count,
		            tensor->label, (long long) rotary / 2);
	numbers =
		arena_try(m->arena, (size_t) tensor->count, sizeof(float), m->failure);
	if (numbers == NULL)
		return false;
	dtype_to_f32(numbers, tensor->data, DTYPE_F32, (size_t) tensor->count);
	factors = json_array();
	for (int64_t i = 0; i < tensor->count; i++)
	{
		if (!(numbers[i] > 0) || !isfinite(numbers[i]))
		{
			json_decref(factors);
			return fail(m->failure, FAILURE_BAD_FILE,
			            "number %lld of rope_freqs.weight in \"%s\" is %g",
			            (long long) i, gguf_path(m->file), (double) numbers[i]);
		}
		json_array_append_new(factors, json_real(numbers[i]));
	}
	json_object_set_new(m->config, "rope_scaling",
	                    json_pack("{s:s, s:O, s:o, s:f}", "rope_type",
	                              "longrope", "short_factor", factors,
	                              "long_factor", factors, "attention_factor",
	                              1.0));
	return true;
}

static bool
read_yarn(const Metadata *m, json_t *scaling, double factor, int64_t context)
{
	static const struct
	{
		const char *name;
		const char *member;
	} numbers[] = {{"rope.scaling.attn_factor", "attention_factor"},
	               {"rope.scaling.yarn_attn_factor", "attention_factor"},
	               {"rope.scaling.yarn_beta_fast", "beta_fast"},
	               {"rope.scaling.yarn_beta_slow", "beta_slow"}};
	int64_t original;

	if (!get_int(m, "rope.scaling.original_context_length", context, &original))
		return false;
	json_object_set_new(scaling, "original_max_position_embeddings",
	                    json_integer(original));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		double value;

		if (!gguf_get_double(m->file, key_of(m, numbers[i].name), 0, 1e-6, 1e6,
		                     &value, m->failure))
			return false;
		/* llama.cpp multiplies the usual amplitude by it. */
		if (i < 2)
			value *= 0.1 * log(fmax(factor, 1)) + 1;
		if (has(m, numbers[i].name))
			json_object_set_new(scaling, numbers[i].member, json_real(value));
	}
	return true;
}

static bool
read_scaling(const Metadata *m, int64_t context)
{
	const char *type;
	double factor;
	json_t *scaling;

	/* Before scaling had a type it was linear. */
	if (!gguf_get_double(m->file, key_of(m, "rope.scale_linear"), 1, 0, 1e6,
	                     &factor, m->failure) ||
	    !gguf_get_text(m->file, key_of(m, "rope.scaling.type"),
	                   has(m, "rope.scale_linear") ? "linear" : "none", &type,
	                   m->failure) ||
	    !gguf_get_double(m->file, key_of(m, "rope.scaling.factor"), factor, 0,
	                     1e6, &factor, m->failure))
		return false;
	/* A factor of 0 stands for none. */
	if (strcmp(type, "none") == 0 || factor == 0 ||
	    (strcmp(type, "linear") == 0 && factor == 1))
		return true;
	if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "rope scaling \"%s\" of \"%s\" is not supported", type,
		            gguf_path(m->file));
	if (gguf_tensor_find(m->file, "rope_freqs.weight") != NULL)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "\"%s\" has rope scaling \"%s\" and rope_freqs.weight",
		            gguf_path(m->file), type);
	scaling = json_pack("{s:s, s:f}", "rope_type", type, "factor", factor);
	json_object_set_new(m->config, "rope_scaling", scaling);
	return strcmp(type, "linear") == 0 ||
	       read_yarn(m, scaling, factor, context);
}

static bool
read_rotation(const Metadata *m, int64_t head_dim, bool is_partial)
{
	int64_t rotary;
	int64_t context = json_integer_value(
		json_object_get(m->config, "max_position_embeddings"));
	double theta;

	if (!get_int(m, "rope.dimension_count", head_dim, &rotary) ||
	    !gguf_get_double(m->file, key_of(m, "rope.freq_base"), 10000, 1, 1e12,
	                     &theta, m->failure))
		return false;
	if (rotary > head_dim || (rotary != head_dim && !is_partial))
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "%lld of the %lld elements of a head rotate in \"%s\", "
		            "which is not supported",
		            (long long) rotary, (long long) head_dim,
		            gguf_path(m->file));
	if (is_partial)
		/* The middle of what truncates to this many. */
		json_object_set_new(
			m->config, "rotary_pct",
			json_real(rotary == head_dim
		                  ? 1
		                  : ((double) rotary + 0.5) / (double) head_dim));
	json_object_set_new(m->config, "rope_theta", json_real(theta));
	return read_scaling(m, context) && read_factors(m, rotary);
}

/* ------------------------------------------------------ the architectures */

static bool
read_gpt2(const Metadata *m)
{
	int64_t hidden, inner, ignored;
	double eps;

	if (!copy_int(m, "context_length", "n_positions", &ignored) ||
	    !copy_int(m, "embedding_length", "n_embd", &hidden) ||
	    !copy_int(m, "block_count", "n_layer", &ignored) ||
	    !copy_int(m, "attention.head_count", "n_head", &ignored) ||
	    !get_int(m, "feed_forward_length", 4 * hidden, &inner) ||
	    !copy_double(m, "attention.layer_norm_epsilon", "layer_norm_epsilon",
	                 &eps))
		return false;
	json_object_set_new(m->config, "n_inner", json_integer(inner));
	json_object_set_new(m->config, "activation_function",
	                    json_string("gelu_new"));
	return true;
}

/* What all but GPT-2 have, under the same names. */
static bool
read_sizes(const Metadata *m, int64_t *hidden, int64_t *heads)
{
	int64_t ignored;

	if (!copy_int(m, "context_length", "max_position_embeddings", &ignored) ||
	    !copy_int(m, "embedding_length", "hidden_size", hidden) ||
	    !copy_int(m, "block_count", "num_hidden_layers", &ignored) ||
	    !copy_int(m, "feed_forward_length", "intermediate_size", &ignored) ||
	    !copy_int(m, "attention.head_count", "num_attention_heads", heads))
		return false;
	return *heads > 0 ||
	       fail(m->failure, FAILURE_BAD_FILE, "\"%s\" in \"%s\" is 0",
	            key_of(m, "attention.head_count"), gguf_path(m->file));
}

static bool
read_gpt_neox(const Metadata *m)
{
	int64_t hidden, heads;
	double eps;
	bool is_parallel;

	if (!read_sizes(m, &hidden, &heads) ||
	    !copy_double(m, "attention.layer_norm_epsilon", "layer_norm_eps",
	                 &eps) ||
	    !gguf_get_bool(m->file, key_of(m, "use_parallel_residual"), true,
	                   &is_parallel, m->failure))
		return false;
	json_object_set_new(m->config, "use_parallel_residual",
	                    json_boolean(is_parallel));
	json_object_set_new(m->config, "hidden_act", json_string("gelu"));
	return read_rotation(m, hidden / heads, true);
}

static bool
has_tensor(const Metadata *m, const char *name)
{
	return gguf_tensor_find(m->file, name) != NULL;
}

/* LLaMA and those after it. */
static bool
read_gated(const Metadata *m)
{
	int64_t hidden, heads, kv_heads, width, value_width, window;
	double eps;

	if (!read_sizes(m, &hidden, &heads) ||
	    !get_int(m, "attention.head_count_kv", heads, &kv_heads) ||
	    !get_int(m, "rope.dimension_count", hidden / heads, &width) ||
	    !get_int(m, "attention.key_length", width, &width) ||
	    !get_int(m, "attention.value_length", width, &value_width) ||
	    !get_int(m, "attention.sliding_window", 0, &window) ||
	    !copy_double(m, "attention.layer_norm_rms_epsilon", "rms_norm_eps",
	                 &eps))
		return false;
	if (width != value_width)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "keys of %lld and values of %lld elements in \"%s\" are "
		            "not supported",
		            (long long) width, (long long) value_width,
		            gguf_path(m->file));
	if (window > 0)
		return fail(m->failure, FAILURE_UNSUPPORTED,
		            "the sliding window of %lld in \"%s\" is not supported",
		            (long long) window, gguf_path(m->file));
	json_object_set_new(m->config, "num_key_value_heads",
	                    json_integer(kv_heads));
	json_object_set_new(m->config, "head_dim", json_integer(width));
	json_object_set_new(m->config, "hidden_act", json_string("silu"));
	if (strcmp(m->architecture, "qwen2") != 0)
		json_object_set_new(m->config, "attention_bias",
		                    json_boolean(has_tensor(m, "blk.0.attn_q.bias")));
	if (strcmp(m->architecture, "llama") == 0)
		json_object_set_new(m->config, "mlp_bias",
		                    json_boolean(has_tensor(m, "blk.0.ffn_up.bias")));
	return read_rotation(m, width, false);
}

/* --------------------------------------------------------------- the rest */

/*
 * Is output.weight the embedding once more, as older converters of GPT-2
 * wrote it?
 */
static bool
repeats_embedding(const StoredTensor *output, const StoredTensor *embedding)
{
	return output->dtype == embedding->dtype &&
	       output->bytes == embedding->bytes &&
	       memcmp(output->data, embedding->data, (size_t) output->bytes) == 0;
}

/* The vocabulary is as large as the embedding has rows. */
static bool
read_vocabulary(const Metadata *m)
{
	const StoredTensor *embedding =
		gguf_tensor_find(m->file, "token_embd.weight");
	const StoredTensor *output = gguf_tensor_find(m->file, "output.weight");
	bool is_gpt2 = strcmp(m->architecture, "gpt2") == 0;

	if (embedding == NULL || embedding->dimensions != 2)
		return fail(m->failure, FAILURE_BAD_FILE,
		            "\"%s\" has no matrix token_embd.weight",
		            gguf_path(m->file));
	json_object_set_new(m->config, "vocab_size",
	                    json_integer(embedding->shape[0]));
	json_object_set_new(
		m->config, "tie_word_embeddings",
		json_boolean(output == NULL ||
	                 (is_gpt2 && repeats_embedding(output, embedding))));
	return true;
}

/* An id, or -1 for none, which files may write as 2^32 - 1. */
static bool
get_token(const Metadata *m, const char *key, int64_t *id)
{
	if (!gguf_get_int(m->file, key, -1, -1, UINT32_MAX, id, m->failure))
		return false;
	if (*id == UINT32_MAX)
		*id = -1;
	return true;
}

/* The tokens that begin and end texts. */
static bool
read_tokens(const Metadata *m)
{
	static const char *const ends[] = {"tokenizer.ggml.eos_token_id",
	                                   "tokenizer.ggml.eot_token_id",
	                                   "tokenizer.ggml.eom_token_id"};
	json_t *stops = json_array();
	int64_t id;

	json_object_set_new(m->config, "eos_token_id", stops);
	for (int i = 0; i < 3; i++)
	{
		bool is_there = false;

		if (!get_token(m, ends[i], &id))
			return false;
		for (size_t j = 0; j < json_array_size(stops); j++)
			if (json_integer_value(json_array_get(stops, j)) == id)
				is_there = true;
		if (id >= 0 && !is_there)
			json_array_append_new(stops, json_integer(id));
	}
	if (json_array_size(stops) == 0)
		json_object_del(m->config, "eos_token_id");
	else if (json_array_size(stops) == 1)
		json_object_set(m->config, "eos_token_id", json_array_get(stops, 0));
	if (!get_token(m, "tokenizer.ggml.bos_token_id", &id))
		return false;
	json_object_set_new(m->config, "bos_token_id",
	                    id < 0 ? json_null() : json_integer(id));
	return true;
}

static bool
fail_architecture(const Metadata *m)
{
	const char *list = known[0].gguf;

	for (int i = 1; i < KNOWN; i++)
		list = arena_printf(m->arena, "%s%s%s", list,
		                    i == KNOWN - 1 ? " and " : ", ", known[i].gguf);
	fail(m->failure, FAILURE_UNSUPPORTED,
	     "\"%s\" has the architecture \"%s\", which is not supported",
	     gguf_path(m->file), m->architecture);
	return fail_hint(m->failure, "Supported are %s.", list);
}

bool
gguf_config(Arena *arena, const GgufFile *file, json_t **config,
            Failure *failure)
{
	Metadata m = {arena, file, NULL, json_object(), failure};

	*config = m.config;
	arena_on_destroy(arena, release, m.config);
	if (!gguf_get_text(file, "general.architecture", NULL, &m.architecture,
	                   failure))
		return false;
	if (m.architecture == NULL)
		return fail_missing(&m, "general.architecture");
	for (int i = 0; i < KNOWN; i++)
	{
		if (strcmp(known[i].gguf, m.architecture) != 0)
			continue;
		json_object_set_new(m.config, "model_type",
		                    json_string(known[i].model_type));
		json_object_set_new(m.config, "architectures",
		                    json_pack("[s]", known[i].class_name));
		return refuse_variants(&m) &&
		       (strcmp(m.architecture, "gpt2") == 0      ? read_gpt2(&m)
		        : strcmp(m.architecture, "gptneox") == 0 ? read_gpt_neox(&m)
		                                                 : read_gated(&m)) &&
		       read_vocabulary(&m) && read_tokens(&m);
	}
	return fail_architecture(&m);
}
