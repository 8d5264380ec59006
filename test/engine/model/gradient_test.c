/*
 * gradient_test.c
 *		A model's gradient as a whole, by finite differences; and that
 *		training and scoring, batched and alone, say the same.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "differences.h"
#include "weighted_sum.h"

#include "base/random.h"

#define SEQUENCES 6
#define PROBES 4 /* weights of each tensor that are moved */

static const char *const configs[] = {
	TINY_GPT2,
	TINY_LLAMA(", \"tie_word_embeddings\": true"),
	TINY_LLAMA(", \"tie_word_embeddings\": false"),
	TINY_LLAMA(", \"tie_word_embeddings\": false, \"attention_bias\": true, "
               "\"mlp_bias\": true"),
	TINY_MISTRAL,
	TINY_QWEN2,
	TINY_QWEN3,
	TINY_NEOX(""),
	TINY_NEOX(
		", \"use_parallel_residual\": false, \"hidden_act\": \"gelu_fast\", "
		"\"tie_word_embeddings\": true"),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* ModelLoss of a batch. */
static double
sum_of(Model *model, const void *argument)
{
	const Batch *batch = argument;
	int targets = batch_targets(batch, 0, batch->sequences);
	float logp[1024];
	double sum = 0;
	Failure failure = {0};

	assert_ok(model_logprobs(model, batch, logp, &failure), failure);
	for (int t = 0; t < targets; t++)
		sum += (double) coefficient(t) * (double) logp[t];
	return sum;
}

/* fp32 sums of some hundred tokens: 1e-5 over twice the step; and the third
 * derivative. */
static double
check_weight(Model *model, const Batch *batch, const char *name, int64_t at)
{
	return check_difference(model, sum_of, batch, name, at, 5e-3, 1e-2);
}

static void
check_model(const char *config, uint64_t seed)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, config, seed);
	Batch batch = tiny_batch(arena, SEQUENCES);
	Failure failure = {0};
	Seen seen;

	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	model_zero_gradients(model);
	accumulate(model, &batch, NULL, &seen);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		double largest = 0;

		for (uint64_t probe = 0; probe < PROBES; probe++)
		{
			uint64_t bits = random_bits(seed, (uint64_t) i, probe);
			int64_t at = (int64_t) (bits % (uint64_t) view.count);

			/* Of the tables only the rows in use have a gradient. */
			if (strstr(view.name, "wte") || strstr(view.name, "embed_tokens") ||
			    strstr(view.name, "embed_in"))
				at = batch.ids[bits % 20] * view.shape[1] + at % view.shape[1];
			if (strstr(view.name, "wpe"))
				at %= 8 * view.shape[1];
			largest = fmax(largest, check_weight(model, &batch, view.name,
			                                     view.offset + at));
		}
		/* Softmax does not see what is added to all keys. */
		if (strstr(view.name, "k_proj.bias") == NULL)
			assert_true(largest > 0);
	}
	arena_destroy(arena);
}

static void
gradients_are_those_of_differences(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
		check_model(configs[i], 11 + i);
}

static void
training_and_scoring_see_the_same_probabilities(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i], 3);
		Batch batch = tiny_batch(arena, SEQUENCES);
		int targets = batch_targets(&batch, 0, batch.sequences);
		float *before = arena_alloc(arena, (size_t) targets * sizeof(float));
		double difference = 0;
		Failure failure = {0};
		Seen seen;

		assert_ok(model_logprobs(model, &batch, before, &failure), failure);
		assert_ok(model_make_trainable(model, NULL, &failure), failure);
		model_zero_gradients(model);
		accumulate(model, &batch, NULL, &seen);
		for (int t = 0; t < targets; t++)
			difference += (double) seen.logp[t] - (double) before[t];
		/* So the first step's ratios are 1. */
		assert_near(difference, 0, 1e-4);
		arena_destroy(arena);
	}
}

static void
company_does_not_change_probabilities(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i], 4);
		Batch batch = tiny_batch(arena, 8 * SEQUENCES);
		float all[2048];
		float one[64];
		int at = 0;
		Failure failure = {0};

		assert_ok(model_logprobs(model, &batch, all, &failure), failure);
		for (int s = 0; s < batch.sequences; s++)
		{
			Batch part = tiny_part(arena, &batch, s);

			assert_ok(model_logprobs(model, &part, one, &failure), failure);
			for (int t = 0; t < batch_targets(&part, 0, 1); t++)
				assert_near(one[t], all[at++], 1e-5);
		}
		arena_destroy(arena);
	}
}

static void
steps_leave_no_memory_behind(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 5);
	Batch batch = tiny_batch(arena, SEQUENCES);
	AdamW settings = {1e-4f, 0.9f, 0.999f, 1e-8f, 0, 0.1f, 0.001f, 1};
	Failure failure = {0};
	uint64_t used = 0;
	double norm;
	Seen seen;

	(void) state;
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	for (int step = 0; step < 100; step++)
	{
		model_zero_gradients(model);
		accumulate(model, &batch, NULL, &seen);
		assert_ok(model_gradient_norm(model, &norm, &failure), failure);
		assert_ok(model_update(model, &settings, &failure), failure);
		if (step == 0)
			used = memory_used();
		assert_int_equal(memory_used(), used);
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(training_and_scoring_see_the_same_probabilities),
		cmocka_unit_test(company_does_not_change_probabilities),
		cmocka_unit_test(steps_leave_no_memory_behind),
	};

	return run_on_cpu(tests);
}
