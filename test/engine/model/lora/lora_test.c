/*
 * lora_test.c
 *		What an adapter adds to a model: gradients by finite differences,
 *		dropout too, the first values of new ones, and what they take.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "weighted_sum.h"

#include "base/random.h"
#include "model/lora/lora.h"

#define SEQUENCES 6

#define WIDE                                                                   \
	"{\"model_type\": \"llama\", \"hidden_size\": 64, "                        \
	"\"intermediate_size\": 96, \"num_hidden_layers\": 1, "                    \
	"\"num_attention_heads\": 4, \"vocab_size\": 4096, "                       \
	"\"tie_word_embeddings\": true}"

static const char *const configs[] = {
	TINY_GPT2,
	TINY_LLAMA(", \"tie_word_embeddings\": true, \"attention_bias\": true"),
	TINY_QWEN3,
	TINY_NEOX(""),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

static const uint64_t keys[SEQUENCES] = {11, 22, 33, 44, 55, 66};

/* Of these models A of rank 4 fill lines of the flat arrays, and those of an
 * input are one matrix; of rank 3 they are not. */
#define RANK 3
#define RANK_JOINED 4

/* Makes the model train a new adapter; B is random where it is not fresh. */
static void
make_trainable(Model *model, int rank, double dropout, bool is_fresh)
{
	LoraOptions options = {
		.rank = rank, .alpha = 5, .dropout = dropout, .seed = 7};
	Failure failure = {0};

	assert_ok(model_make_trainable(model, &options, &failure), failure);
	for (int64_t i = 0; !is_fresh && i < model_state_size(model); i++)
	{
		float weight = (float) (0.1 * random_normal(1, 2, (uint64_t) i));

		model_state_upload(model, MODEL_WEIGHTS, i, 1, &weight);
	}
}

static Model *
open_trainable(Arena *arena, const char *config, int rank, double dropout,
               bool is_fresh)
{
	Model *model = tiny_model(arena, device, config, 3);

	make_trainable(model, rank, dropout, is_fresh);
	return model;
}

static void
check_weight(Model *model, const Batch *batch, const char *name, int64_t at,
             float grad)
{
	const float step = 2.5e-3f;
	float weight, moved;
	double up, down;
	Seen seen;

	model_state_download(model, MODEL_WEIGHTS, at, 1, &weight);
	moved = weight + step;
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &moved);
	up = accumulate(model, batch, keys, &seen);
	moved = weight - step;
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &moved);
	down = accumulate(model, batch, keys, &seen);
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &weight);
	/* As in gradient_test.c; dropout has made the third derivative larger. */
	if (!(fabs((up - down) / (2 * (double) step) - (double) grad) <=
	      1e-2 * fabs((double) grad) + 1e-2))
		fail_msg("d%s[%lld] is %.6g, differences say %.6g", name,
		         (long long) at, (double) grad,
		         (up - down) / (2 * (double) step));
}

/* quantized: what the frozen weights become, or fp32. */
static void
check_model(const char *config, int rank, double dropout, DType quantized,
            uint64_t probes)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, config, 3);
	Batch batch = tiny_batch(arena, SEQUENCES);
	float *grad;
	Failure failure = {0};
	Seen seen;

	if (quantized != DTYPE_F32)
		assert_ok(model_quantize(model, quantized, &failure), failure);
	make_trainable(model, rank, dropout, false);
	grad = arena_alloc(arena, sizeof(float) * (size_t) model_state_size(model));
	model_zero_gradients(model);
	accumulate(model, &batch, keys, &seen);
	model_state_download(model, MODEL_GRADIENTS, 0, model_state_size(model),
	                     grad);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		double largest = 0;

		for (uint64_t probe = 0; probe < probes; probe++)
		{
			uint64_t bits = random_bits(9, (uint64_t) i, probe);
			int64_t at = view.offset + (int64_t) (bits % (uint64_t) view.count);

			check_weight(model, &batch, view.name, at, grad[at]);
			largest = fmax(largest, fabs((double) grad[at]));
		}
		assert_true(largest > 0);
	}
	arena_destroy(arena);
}

static void
check_gradients(double dropout)
{
	for (size_t c = 0; c < CONFIGS; c++)
	{
		check_model(configs[c], RANK, dropout, DTYPE_F32, 3);
		check_model(configs[c], RANK_JOINED, dropout, DTYPE_F32, 2);
	}
}

static void
gradients_are_those_of_differences(void **state)
{
	(void) state;
	check_gradients(0);
}

static void
gradients_pass_through_quantized_weights(void **state)
{
	(void) state;
	check_model(configs[0], RANK, 0, DTYPE_Q8_0, 1);
	check_model(configs[1], RANK_JOINED, 0.1, DTYPE_NF4, 1);
	check_model(configs[2], RANK, 0, DTYPE_NF4_DOUBLE, 1);
}

static void
dropout_has_the_gradient_of_its_mask(void **state)
{
	(void) state;
	check_gradients(0.3);
}

static void
the_mask_depends_on_keys_and_not_on_company(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model =
			open_trainable(arena, configs[c], RANK_JOINED, 0.5, false);
		Batch batch = tiny_batch(arena, SEQUENCES);
		uint64_t others[SEQUENCES] = {11, 22, 33, 44, 55, 67};
		double changed = 0;
		int at = 0;
		Seen all, one, other;

		model_zero_gradients(model);
		accumulate(model, &batch, keys, &all);
		for (int s = 0; s < SEQUENCES; s++)
		{
			Batch part = tiny_part(arena, &batch, s);

			accumulate(model, &part, keys + s, &one);
			for (int t = 0; t < batch_targets(&part, 0, 1); t++)
				assert_near(one.logp[t], all.logp[at++], 2e-5);
		}
		accumulate(model, &batch, others, &other);
		for (int t = 0; t < at; t++)
		{
			if (t < batch_targets(&batch, 0, SEQUENCES - 1))
				assert_near(other.logp[t], all.logp[t], 1e-6);
			else
				changed += fabs((double) other.logp[t] - (double) all.logp[t]);
		}
		assert_true(changed > 1e-2);
		arena_destroy(arena);
	}
}

static void
scoring_drops_nothing(void **state)
{
	Arena *arena = arena_create();
	Model *with = open_trainable(arena, TINY_GPT2, RANK, 0.5, false);
	Model *without = open_trainable(arena, TINY_GPT2, RANK, 0, false);
	Batch batch = tiny_batch(arena, SEQUENCES);
	int targets = batch_targets(&batch, 0, SEQUENCES);
	float a[1024], b[1024];
	Failure failure = {0};

	(void) state;
	assert_ok(model_logprobs(with, &batch, a, &failure), failure);
	assert_ok(model_logprobs(without, &batch, b, &failure), failure);
	assert_memory_equal(a, b, (size_t) targets * sizeof(float));
	arena_destroy(arena);
}

/* ------------------------------------------------------- new adapters */

static void
a_new_adapter_changes_nothing(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = tiny_batch(arena, SEQUENCES);
		int targets = batch_targets(&batch, 0, SEQUENCES);
		LoraOptions options = {.rank = 4, .alpha = 16};
		float before[1024], after[1024];
		Failure failure = {0};

		assert_ok(model_logprobs(model, &batch, before, &failure), failure);
		assert_ok(model_make_trainable(model, &options, &failure), failure);
		assert_ok(model_logprobs(model, &batch, after, &failure), failure);
		assert_memory_equal(before, after, (size_t) targets * sizeof(float));
		arena_destroy(arena);
	}
}

static void
a_starts_uniform_and_b_at_zero(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_trainable(arena, TINY_GPT2, RANK, 0, true);
	float *weights =
		arena_alloc(arena, sizeof(float) * (size_t) model_state_size(model));

	(void) state;
	model_state_download(model, MODEL_WEIGHTS, 0, model_state_size(model),
	                     weights);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		bool is_a = strstr(view.name, ".lora_A.weight") != NULL;
		double bound = 1 / sqrt((double) view.shape[1]);
		double sum = 0, largest = 0;

		for (int64_t j = 0; j < view.count; j++)
		{
			double weight = (double) weights[view.offset + j];

			sum += weight * weight;
			largest = fmax(largest, fabs(weight));
		}
		assert_true(largest <= (is_a ? bound : 0));
		if (is_a) /* the variance of a uniform number is bound^2 / 3 */
			assert_near(sum / (double) view.count / (bound * bound), 1.0 / 3,
			            0.12);
	}
	arena_destroy(arena);
}

static int64_t
offset_of(const Model *model, const char *name)
{
	for (int i = 0; i < model_parameter_count(model); i++)
		if (strstr(model_parameter(model, i).name, name) != NULL)
			return model_parameter(model, i).offset;
	fail_msg("no %s", name);
	return -1;
}

static void
a_of_one_input_lie_one_after_the_other(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_trainable(arena, TINY_QWEN3, RANK_JOINED, 0, true);
	static const char *const follow[][2] = {
		{"0.self_attn.q_proj.lora_A", "0.self_attn.k_proj.lora_A"},
		{"0.self_attn.k_proj.lora_A", "0.self_attn.v_proj.lora_A"},
		{"1.mlp.gate_proj.lora_A", "1.mlp.up_proj.lora_A"}};

	(void) state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(offset_of(model, follow[i][1]) -
		                     offset_of(model, follow[i][0]),
		                 RANK_JOINED * 24);
	arena_destroy(arena);
}

/* The gradient of a fresh adapter on these targets; model and gradient live in
 * arena. */
static float *
fresh_gradient(Arena *arena, const json_t *targets, Model **model)
{
	LoraOptions options = {
		.rank = 3, .alpha = 5, .seed = 7, .targets = targets};
	Batch batch = tiny_batch(arena, SEQUENCES);
	Failure failure = {0};
	float *gradient;
	Seen seen;

	*model = tiny_model(arena, device, TINY_QWEN3, 3);
	assert_ok(model_make_trainable(*model, &options, &failure), failure);
	model_zero_gradients(*model);
	accumulate(*model, &batch, NULL, &seen);
	gradient =
		arena_alloc(arena, sizeof(float) * (size_t) model_state_size(*model));
	model_state_download(*model, MODEL_GRADIENTS, 0, model_state_size(*model),
	                     gradient);
	return gradient;
}

static void
layers_below_change_no_gradient(void **state)
{
	Arena *arena = arena_create();
	json_t *upper = json_string(".*layers\\.1\\..*");
	Model *some, *all;
	const float *gradient = fresh_gradient(arena, upper, &some);
	const float *expected = fresh_gradient(arena, NULL, &all);
	int first = model_parameter_count(all) - model_parameter_count(some);

	(void) state;
	assert_int_equal(model_parameter_count(some), 2 * 7);
	for (int i = 0; i < model_parameter_count(some); i++)
	{
		ParameterView view = model_parameter(some, i);
		ParameterView same = model_parameter(all, first + i);

		assert_string_equal(view.name, same.name);
		for (int64_t j = 0; j < view.count; j++)
			assert_near(gradient[view.offset + j], expected[same.offset + j],
			            1e-6);
	}
	json_decref(upper);
	arena_destroy(arena);
}

static void
only_the_adapter_takes_memory(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, WIDE, 3);
	LoraOptions options = {.rank = 2, .alpha = 1};
	uint64_t before = memory_used();
	/* q, k, v, o, gate, up and down */
	int64_t numbers = 2 * (4 * (64 + 64) + 3 * (64 + 96));
	int64_t total = 0;
	Failure failure = {0};

	(void) state;
	assert_ok(model_make_trainable(model, &options, &failure), failure);
	assert_int_equal(model_parameter_count(model), 2 * 7);
	for (int i = 0; i < model_parameter_count(model); i++)
		total += model_parameter(model, i).count;
	assert_int_equal(total, numbers);
	assert_int_equal(model_parameters(model), numbers);
	assert_true(model_state_size(model) >= numbers);
	assert_true(model_state_size(model) < numbers + 14 * 16);
	/* Small blocks of 64 KiB; four numbers for each weight were 4.7 MiB. */
	assert_true(memory_used() - before < (uint64_t) 6 * 65536);
	arena_destroy(arena);
}

/* How many parameters an adapter with these targets has. */
static int
count_targets(const char *text)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 3);
	LoraOptions options = {.rank = 2, .alpha = 1};
	json_t *targets;
	Failure failure = {0};
	int count;

	assert_ok(json_open_text(arena, text, strlen(text), "targets", &targets,
	                         &failure),
	          failure);
	options.targets = json_array_get(targets, 0);
	count = model_make_trainable(model, &options, &failure)
	            ? model_parameter_count(model)
	            : -1;
	if (count < 0)
		assert_non_null(strstr(failure.message, "names no linear layer"));
	arena_destroy(arena);
	return count;
}

static void
targets_match_as_in_peft(void **state)
{
	(void) state;
	assert_int_equal(count_targets("[\"all-linear\"]"), 16);
	assert_int_equal(count_targets("[[\"c_proj\"]]"), 8);
	assert_int_equal(count_targets("[[\"attn.c_proj\", \"c_fc\"]]"), 8);
	assert_int_equal(count_targets("[[\"transformer.h.1.mlp.c_fc\"]]"), 2);
	assert_int_equal(count_targets("[\".*h\\\\.0\\\\..*c_fc\"]"), 2);
	/* Not a part of a name, nor without its beginning. */
	assert_int_equal(count_targets("[[\"proj\"]]"), -1);
	assert_int_equal(count_targets("[[\"c_proj\", \"q_proj\"]]"), -1);
	assert_int_equal(count_targets("[\"c_fc\"]"), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(gradients_pass_through_quantized_weights),
		cmocka_unit_test(dropout_has_the_gradient_of_its_mask),
		cmocka_unit_test(the_mask_depends_on_keys_and_not_on_company),
		cmocka_unit_test(scoring_drops_nothing),
		cmocka_unit_test(a_new_adapter_changes_nothing),
		cmocka_unit_test(a_starts_uniform_and_b_at_zero),
		cmocka_unit_test(a_of_one_input_lie_one_after_the_other),
		cmocka_unit_test(layers_below_change_no_gradient),
		cmocka_unit_test(only_the_adapter_takes_memory),
		cmocka_unit_test(targets_match_as_in_peft),
	};

	return run_on_cpu(tests);
}
