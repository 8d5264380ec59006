/*
 * pass_test.c
 *		Passes that are large enough to be taken in slices: they say and learn
 *		what their sequences do one by one, and the same bits every time, with
 *		little memory too.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "weighted_sum.h"

#include "model/lora/lora.h"

#define SEQUENCES 60 /* of 16 tokens on average, two thirds of them targets */
#define LABELS 3

static const char *const configs[] = {
	TINY_GPT2,     TINY_LLAMA(", \"tie_word_embeddings\": true"),
	TINY_MISTRAL,  TINY_QWEN3,
	TINY_NEOX(""), TINY_NEOX(", \"use_parallel_residual\": false"),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* All weights, or an adapter with dropout whose B is not 0. */
static Model *
open_trainable(Arena *arena, const char *config, bool is_adapter)
{
	LoraOptions lora = {.rank = 3, .alpha = 5, .dropout = 0.2, .seed = 7};
	Model *model = tiny_model(arena, device, config, 3);
	Failure failure = {0};

	assert_ok(model_make_trainable(model, is_adapter ? &lora : NULL, &failure),
	          failure);
	for (int64_t i = 0; is_adapter && i < model_state_size(model); i++)
	{
		float weight = (float) (0.1 * random_normal(1, 2, (uint64_t) i));

		model_state_upload(model, MODEL_WEIGHTS, i, 1, &weight);
	}
	return model;
}

/* Gradient and log-probabilities of the batch as a whole, or one by one. */
static float *
gradient_of(Arena *arena, Model *model, const Batch *batch, bool is_whole,
            Seen *seen)
{
	int64_t numbers = model_state_size(model);
	float *gradient = arena_alloc(arena, (size_t) numbers * sizeof(float));
	uint64_t key[SEQUENCES];
	int base = 0;

	for (int s = 0; s < SEQUENCES; s++)
		key[s] = 100 + (uint64_t) s;
	model_zero_gradients(model);
	if (is_whole)
		accumulate(model, batch, key, seen);
	for (int s = 0; s < SEQUENCES && !is_whole; s++)
	{
		Batch part = tiny_part(arena, batch, s);

		accumulate_from(model, &part, &key[s], base, seen);
		base += batch_targets(batch, s, 1);
	}
	model_state_download(model, MODEL_GRADIENTS, 0, numbers, gradient);
	return gradient;
}

static void
check_training(const char *config, bool is_adapter)
{
	Arena *arena = arena_create();
	Model *model = open_trainable(arena, config, is_adapter);
	Batch batch = tiny_batch(arena, SEQUENCES);
	int64_t numbers = model_state_size(model);
	Seen together, again, apart;
	float *whole = gradient_of(arena, model, &batch, true, &together);
	float *same = gradient_of(arena, model, &batch, true, &again);
	float *parts = gradient_of(arena, model, &batch, false, &apart);

	assert_memory_equal(whole, same, (size_t) numbers * sizeof(float));
	/* Sums of some hundred terms of about 1, in another order. */
	for (int64_t i = 0; i < numbers; i++)
		assert_near(whole[i], parts[i], 1e-4 + 1e-4 * fabsf(parts[i]));
	for (int t = 0; t < batch_targets(&batch, 0, SEQUENCES); t++)
		assert_near(together.logp[t], apart.logp[t], 1e-5);
	arena_destroy(arena);
}

static void
a_gradient_is_the_sum_of_those_of_its_sequences(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
		check_training(configs[i], false);
}

static void
so_is_that_of_an_adapter(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
		check_training(configs[i], true);
}

/* Deep enough that what layers keep is most of a pass. */
#define DEEP                                                                   \
	"{\"model_type\": \"llama\", \"hidden_size\": 24, "                        \
	"\"intermediate_size\": 40, \"num_hidden_layers\": 9, "                    \
	"\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                 \
	"\"max_position_embeddings\": 64, \"vocab_size\": 257, "                   \
	"\"initializer_range\": 0.2}"

static void
too_little_memory_changes_no_bit(void **state)
{
	(void) state;
	for (int is_adapter = 0; is_adapter < 2; is_adapter++)
	{
		Arena *arena = arena_create();
		Model *easy = open_trainable(arena, DEEP, is_adapter);
		Model *tight = open_trainable(arena, DEEP, is_adapter);
		Batch batch = tiny_batch(arena, SEQUENCES);
		size_t numbers = (size_t) model_state_size(easy);
		uint64_t before = memory_used();
		float *expected, *gradient;
		uint64_t taken;
		Seen seen;

		expected = gradient_of(arena, easy, &batch, true, &seen);
		taken = memory_used() - before;
		memory_limit_set(memory_used() + taken / 2);
		gradient = gradient_of(arena, tight, &batch, true, &seen);
		memory_limit_set(0);
		assert_memory_equal(gradient, expected, numbers * sizeof(float));
		arena_destroy(arena);
	}
}

/* Encoders, whose norms stand elsewhere, and a decoder. */
static void
outputs_do_not_depend_on_company(void **state)
{
	static const char *const classifiers[] = {
		TINY_ENCODER("bert", TINY_CLASSES("Bert")),
		TINY_DISTILBERT(TINY_CLASSES("DistilBert")),
		TINY_LLAMA(TINY_CLASSES("Llama")),
	};

	(void) state;
	for (size_t i = 0; i < sizeof(classifiers) / sizeof(classifiers[0]); i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, classifiers[i], 5);
		Batch batch = tiny_batch(arena, 140);
		float whole[140 * LABELS], part[LABELS];
		Failure failure = {0};

		assert_ok(model_classify(model, &batch, whole, &failure), failure);
		for (int s = 0; s < 140; s++)
		{
			Batch one = tiny_part(arena, &batch, s);

			assert_ok(model_classify(model, &one, part, &failure), failure);
			for (int l = 0; l < LABELS; l++)
				assert_near(whole[s * LABELS + l], part[l], 1e-5);
		}
		arena_destroy(arena);
	}
}

static void
scores_do_not_depend_on_company(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i], 4);
		Batch batch = tiny_batch(arena, SEQUENCES);
		float whole[1024], part[32];
		int base = 0;
		Failure failure = {0};

		assert_ok(model_logprobs(model, &batch, whole, &failure), failure);
		for (int s = 0; s < SEQUENCES; s++)
		{
			Batch one = tiny_part(arena, &batch, s);

			assert_ok(model_logprobs(model, &one, part, &failure), failure);
			for (int t = 0; t < batch_targets(&batch, s, 1); t++)
				assert_near(whole[base + t], part[t], 1e-5);
			base += batch_targets(&batch, s, 1);
		}
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gradient_is_the_sum_of_those_of_its_sequences),
		cmocka_unit_test(so_is_that_of_an_adapter),
		cmocka_unit_test(too_little_memory_changes_no_bit),
		cmocka_unit_test(outputs_do_not_depend_on_company),
		cmocka_unit_test(scores_do_not_depend_on_company),
	};

	return run_on_cpu(tests);
}
