/*
 * gguf_save.c
 *		A model as a GGUF file: its configuration and weights.
 */
#include "model/files/gguf_save.h"

#include "model/files/gguf_weights.h"
#include "model/files/weights.h"

#include <math.h>
#include <string.h>

/* A model on its way into a file. */
typedef struct Saving
{
	Arena *arena;
	Model *model;
	const char *architecture; /* as GGUF calls it */
	const char *name;
	DType dtype;
	GgufWriter *writer;
	Weights *weights;
	int *parameter;  /* [tensors], -1: rope_freqs.weight */
	int64_t **rows;  /* [tensors] our row of each of the file's; NULL: same */
	float *divisors; /* of rope_freqs.weight */
	int tensors;
} Saving;

static const struct
{
	const char *architecture;
	const char *gguf;
	Activation activation; /* which the name implies */
} known[] = {
	{"llama", "llama", ACTIVATION_SILU},
	{"mistral", "llama", ACTIVATION_SILU},
	{"qwen2", "qwen2", ACTIVATION_SILU},
	{"qwen3", "qwen3", ACTIVATION_SILU},
	{"gpt2", "gpt2", ACTIVATION_GELU_TANH},
	{"gpt_neox", "gptneox", ACTIVATION_GELU},
};

static const char *
key_of(const Saving *saving, const char *name)
{
	return arena_printf(saving->arena, "%s.%s", saving->architecture, name);
}

static void
put_int(const Saving *saving, const char *name, int value)
{
	gguf_put_u32(saving->writer, key_of(saving, name), (uint32_t) value);
}

static void
put_float(const Saving *saving, const char *name, double value)
{
	gguf_put_f32(saving->writer, key_of(saving, name), (float) value);
}

static bool
fail_inexpressible(const Saving *saving, const char *what, Failure *failure)
{
	return fail(failure, FAILURE_UNSUPPORTED,
	            "a GGUF file of architecture \"%s\" cannot have %s",
	            saving->architecture, what);
}

/* GGUF's architecture, if it says all that the configuration does. */
static bool
choose_architecture(Saving *saving, Failure *failure)
{
	const ModelConfig *c = &saving->model->config;
	bool has_window = false;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strcmp(known[i].architecture, c->architecture) != 0)
			continue;
		saving->architecture = known[i].gguf;
		if (c->activation != known[i].activation)
			return fail_inexpressible(saving, "this activation", failure);
	}
	if (saving->architecture == NULL)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "models of architecture \"%s\" cannot be written as GGUF",
		            c->architecture);
	for (int i = 0; i < c->layers; i++)
		has_window = has_window || config_window(c, i) > 0;
	if (has_window)
		return fail_inexpressible(saving, "a sliding window", failure);
	return true;
}

/* ------------------------------------------------------ the configuration */

static bool
put_scaling(Saving *saving, Failure *failure)
{
	const ModelConfig *c = &saving->model->config;
	const char *type = c->rope_scaling == ROPE_LINEAR ? "linear"
	                   : c->rope_scaling == ROPE_YARN ? "yarn"
	                                                  : NULL;
	double usual = 1;

	if (c->rope_scaling == ROPE_LLAMA3 || c->rope_scaling == ROPE_DIVISORS)
	{
		saving->divisors =
			arena_alloc(saving->arena, sizeof(float) * (size_t) c->rotary);
		rotation_divisors(c, saving->divisors);
	}
	if (c->rope_scaling == ROPE_YARN)
		usual = 0.1 * log(fmax(c->rope_factor, 1)) + 1;
	if (fabs(c->rope_amplitude - usual) > 1e-6 && c->rope_scaling != ROPE_YARN)
		return fail_inexpressible(saving, "this amplitude of rotation",
		                          failure);
	if (type == NULL)
		return true;
	gguf_put_text(saving->writer, key_of(saving, "rope.scaling.type"), type,
	              strlen(type));
	put_float(saving, "rope.scaling.factor", c->rope_factor);
	if (c->rope_scaling != ROPE_YARN)
		return true;
	put_int(saving, "rope.scaling.original_context_length",
	        (int) c->rope_original);
	put_float(saving, "rope.scaling.yarn_beta_fast", c->rope_high);
	put_float(saving, "rope.scaling.yarn_beta_slow", c->rope_low);
	if (fabs(c->rope_amplitude - usual) > 1e-6)
		put_float(saving, "rope.scaling.yarn_attn_factor",
		          c->rope_amplitude / usual);
	return true;
}

static bool
put_config(Saving *saving, Failure *failure)
{
	const ModelConfig *c = &saving->model->config;

	put_int(saving, "context_length", c->context);
	put_int(saving, "embedding_length", c->hidden);
	put_int(saving, "block_count", c->layers);
	put_int(saving, "feed_forward_length", c->feed_forward);
	put_int(saving, "attention.head_count", c->heads);
	put_int(saving, "attention.head_count_kv", c->kv_heads);
	put_int(saving, "vocab_size", c->vocabulary);
	put_float(saving,
	          c->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon"
	                              : "attention.layer_norm_epsilon",
	          (double) c->norm_eps);
	if (strcmp(saving->architecture, "gptneox") == 0)
		gguf_put_bool(saving->writer, key_of(saving, "use_parallel_residual"),
		              c->is_parallel);
	if (c->position != POSITION_ROTARY)
		return true;
	put_int(saving, "attention.key_length", c->head_dim);
	put_int(saving, "attention.value_length", c->head_dim);
	put_int(saving, "rope.dimension_count", c->rotary);
	put_float(saving, "rope.freq_base", c->rope_theta);
	return put_scaling(saving, failure);
}

/* general.file_type: what most matrices are. */
static uint32_t
file_type(DType dtype)
{
	switch (dtype)
	{
		case DTYPE_F16:
			return 1;
		case DTYPE_Q8_0:
			return 7;
		case DTYPE_BF16:
			return 32;
		default:
			return 0;
	}
}

static void
put_general(const Saving *saving, DType dtype)
{
	GgufWriter *writer = saving->writer;

	gguf_put_text(writer, "general.architecture", saving->architecture,
	              strlen(saving->architecture));
	gguf_put_text(writer, "general.type", "model", 5);
	/* transformers takes a LLaMA of such a name for an architecture of its
	 * own, which it cannot read then. */
	if (strcasestr(saving->name, "mistral") == NULL)
		gguf_put_text(writer, "general.name", saving->name,
		              strlen(saving->name));
	gguf_put_u32(writer, "general.file_type", file_type(dtype));
	gguf_put_u32(writer, "general.quantization_version", 2);
}

/* ------------------------------------------------------------ the weights */

/* Our row of each of the file's. */
static int64_t *
invert_order(const Saving *saving, const char *name, int64_t rows)
{
	RowOrder order = gguf_row_order(&saving->model->config, name);
	int64_t *from;

	if (order.heads == 0)
		return NULL;
	from = arena_alloc(saving->arena, (size_t) rows * sizeof(int64_t));
	for (int64_t row = 0; row < rows; row++)
		from[gguf_row(&order, rows, row)] = row;
	return from;
}

static bool
add_parameter(Saving *saving, int index, Failure *failure)
{
	const Parameter *parameter = &saving->model->parameters[index];
	bool is_matrix = parameter->dimensions > 1;
	bool turns = parameter->transposed;
	const char *name = gguf_weight_name(saving->arena, &saving->model->config,
	                                    parameter->name);
	int64_t shape[2] = {parameter->shape[turns ? 1 : 0],
	                    parameter->shape[turns ? 0 : 1]};
	DType dtype = DTYPE_F32;

	if (name == NULL)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "weight \"%s\" has no name in GGUF", parameter->name);
	if (is_matrix && parameter != saving->model->position_table)
		dtype = weights_dtype(saving->dtype, parameter);
	if (is_matrix && shape[1] % dtype_block(dtype) != 0)
		dtype = DTYPE_F16;
	gguf_add_tensor(saving->writer, name, dtype, parameter->dimensions, shape);
	saving->rows[saving->tensors] = invert_order(saving, name, shape[0]);
	saving->parameter[saving->tensors++] = index;
	return true;
}

static bool
add_tensors(Saving *saving, Failure *failure)
{
	const Model *model = saving->model;
	size_t count = (size_t) model->parameter_count + 1;
	int64_t half = model->config.rotary / 2;

	saving->parameter = arena_alloc(saving->arena, count * sizeof(int));
	saving->rows = arena_alloc(saving->arena, count * sizeof(int64_t *));
	for (int i = 0; i < model->parameter_count; i++)
		if (!add_parameter(saving, i, failure))
			return false;
	if (saving->divisors == NULL)
		return true;
	gguf_add_tensor(saving->writer, "rope_freqs.weight", DTYPE_F32, 1, &half);
	saving->parameter[saving->tensors++] = -1;
	return true;
}

/* GgufSource.  A vector whose order changes is a row of single numbers. */
static void
read_row(void *argument, int index, int64_t row, float *target)
{
	Saving *saving = argument;
	const Model *model = saving->model;
	const int64_t *from = saving->rows[index];
	int number = saving->parameter[index];
	const Parameter *parameter;
	bool turns;
	int64_t cols;

	if (number < 0)
	{
		memcpy(target, saving->divisors,
		       sizeof(float) * (size_t) model->config.rotary / 2);
		return;
	}
	parameter = &model->parameters[number];
	turns = parameter->transposed;
	if (parameter->dimensions == 1)
	{
		weights_read(saving->weights, number, 0, parameter->count, target);
		if (from != NULL)
			for (int64_t i = 0; i < parameter->count; i++)
				weights_read(saving->weights, number, from[i], 1, target + i);
		return;
	}
	cols = parameter->shape[turns ? 0 : 1];
	(turns ? weights_read_turned : weights_read)(
		saving->weights, number, (from == NULL ? row : from[row]) * cols, cols,
		target);
}

static bool
save(Saving *saving, const char *path, Failure *failure)
{
	Model *model = saving->model;
	DType main = saving->dtype;

	if (!model_require(model, MODEL_LANGUAGE, failure) ||
	    !choose_architecture(saving, failure) ||
	    !weights_open(saving->arena, model, NULL, &saving->weights, failure))
		return false;
	if (main == DTYPE_OTHER)
		main = model_stored_dtype(model);
	put_general(saving, main);
	return put_config(saving, failure) &&
	       gguf_put_tokenizer(saving->writer, saving->arena, model, failure) &&
	       add_tensors(saving, failure) &&
	       gguf_write(saving->writer, path, read_row, saving, failure) &&
	       model->device->sync(model->device, failure);
}

bool
model_save_gguf(Model *model, DType dtype, const char *name, const char *path,
                Failure *failure)
{
	Arena *arena = arena_create();
	Saving saving = {.arena = arena,
	                 .model = model,
	                 .name = name,
	                 .dtype = dtype,
	                 .writer = gguf_writer_create(arena)};
	bool done = save(&saving, path, failure);

	arena_destroy(arena);
	return done || fail_while(failure, "writing \"%s\"", path);
}
