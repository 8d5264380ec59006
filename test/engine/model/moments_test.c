/*
 * moments_test.c
 *		AdamW's moments as bytes: what is kept so, what memory that takes, and
 *		that training goes on as it does with exact ones.
 */
#include "on_cpu.h"
#include "tiny.h"

#include "base/streams.h"
#include "model/lora/lora.h"

#include <math.h>

/* Two layers of hidden size 64: maps of 4096 numbers and more. */
#define WIDE                                                                   \
	"{\"model_type\": \"llama\", \"hidden_size\": 64, "                        \
	"\"intermediate_size\": 96, \"num_hidden_layers\": 2, "                    \
	"\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                 \
	"\"max_position_embeddings\": 64, \"vocab_size\": 257, "                   \
	"\"initializer_range\": 0.2}"

#define LAYERS 2
/* So many, and to what share of it they bring the loss. */
#define STEPS (TEST_DEVICE_IS_SLOW ? 4 : 30)
#define LEFT (TEST_DEVICE_IS_SLOW ? 0.9 : 0.3)

static Model *
trainable(Arena *arena, const LoraOptions *lora, bool codes)
{
	Model *model = tiny_model(arena, device, WIDE, 11);
	Failure failure = {0};

	if (codes)
		model_code_moments(model);
	assert_ok(model_make_trainable(model, lora, &failure), failure);
	return model;
}

/* Words of a parameter of so many numbers as bytes: codes, then scales. */
static int64_t
coded_words(int64_t numbers)
{
	return (numbers + 63) / 64 * 16 + ((numbers + 255) / 256 + 15) / 16 * 16;
}

static void
maps_are_kept_as_bytes_but_no_tables_nor_small_ones(void **state)
{
	Arena *arena = arena_create();
	Model *exact = trainable(arena, NULL, false);
	Model *coded = trainable(arena, NULL, true);
	/* The embedding, and norms. */
	int64_t words = 257 * 64 + (2 * LAYERS + 1) * 64;

	(void) state;
	assert_int_equal(model_moment_size(exact), model_state_size(exact));
	/* q and out; k and v have half as many numbers; the MLP; the head. */
	words += LAYERS * (2 * coded_words(64 * 64) + 2 * 32 * 64 +
	                   3 * coded_words(96 * 64));
	words += coded_words(257 * 64);
	assert_int_equal(model_moment_size(coded), words);
	arena_destroy(arena);
}

static void
adapters_may_have_them_too(void **state)
{
	LoraOptions lora = {.rank = 64, .alpha = 16};
	Arena *arena = arena_create();
	Model *exact = trainable(arena, &lora, false);
	Model *coded = trainable(arena, &lora, true);
	int64_t words = 0;

	(void) state;
	assert_int_equal(model_moment_size(exact), model_state_size(exact));
	/* A and B of q and out; of k and v, B has half as many numbers. */
	words += LAYERS * (6 * coded_words(64 * 64) + 2 * 32 * 64);
	/* A and B of gate and up, and of down. */
	words += LAYERS * 3 * (coded_words(64 * 64) + coded_words(96 * 64));
	assert_int_equal(model_moment_size(coded), words);
	arena_destroy(arena);
}

/* Where there is room for bytes alone. */
static void
memory_is_planned_for_what_they_take(void **state)
{
	Arena *arena;
	Model *exact, *coded;
	uint64_t words = 0;
	Failure failure = {0};

	(void) state;
	/* The limit is one of the host's memory. */
	if (device->threads == 0)
		skip();
	arena = arena_create();
	exact = tiny_model(arena, device, WIDE, 11);
	coded = tiny_model(arena, device, WIDE, 11);
	model_code_moments(coded);
	for (int i = 0; i < model_parameter_count(exact); i++)
		words += (uint64_t) (model_parameter(exact, i).count + 15) / 16 * 16;
	memory_limit_set(memory_used() + words * 15);
	assert_fails(model_plan_training(exact, false, 8, &failure), failure,
	             FAILURE_OUT_OF_MEMORY, "more memory");
	assert_ok(model_plan_training(coded, false, 8, &failure), failure);
	assert_ok(model_make_trainable(coded, NULL, &failure), failure);
	memory_limit_set(0);
	arena_destroy(arena);
}

/* LogprobGradient: of the mean log-likelihood. */
static bool
likelihood(void *argument, int first, int count, const float *logp, float *grad,
           Failure *failure)
{
	const Batch *batch = argument;
	int targets = batch_targets(batch, first, count);

	(void) logp;
	(void) failure;
	for (int t = 0; t < targets; t++)
		grad[t] = -1.0f / (float) batch_targets(batch, 0, batch->sequences);
	return true;
}

static double
loss_of(Model *model, const Batch *batch)
{
	int targets = batch_targets(batch, 0, batch->sequences);
	float logp[512];
	Failure failure = {0};
	double sum = 0;

	assert_in_range(targets, 1, 512);
	assert_ok(model_logprobs(model, batch, logp, &failure), failure);
	for (int t = 0; t < targets; t++)
		sum -= logp[t];
	return sum / targets;
}

/* The loss after some steps on one batch. */
static double
trained_loss(const LoraOptions *lora, bool codes, double *before)
{
	Arena *arena = arena_create();
	Model *model = trainable(arena, lora, codes);
	Batch batch = tiny_batch(arena, 6);
	int32_t group[7];
	double loss;

	for (int i = 0; i <= 6; i++)
		group[i] = i;
	*before = loss_of(model, &batch);
	for (int k = 1; k <= STEPS; k++)
	{
		Failure failure = {0};
		AdamW settings = {3e-3f,
		                  0.9,
		                  0.999,
		                  1e-8f,
		                  0.01f,
		                  (float) (1 - pow(0.9, k)),
		                  (float) (1 - pow(0.999, k)),
		                  1};

		model_zero_gradients(model);
		assert_ok(model_accumulate(model, &batch, 6, group, NULL, likelihood,
		                           &batch, &failure),
		          failure);
		assert_ok(model_update(model, &settings, &failure), failure);
	}
	loss = loss_of(model, &batch);
	arena_destroy(arena);
	return loss;
}

static void
check_learning(const LoraOptions *lora)
{
	double before;
	double exact = trained_loss(lora, false, &before);
	double coded = trained_loss(lora, true, &before);

	assert_true(exact < LEFT * before);
	/* It is the way that differs, not where it leads. */
	assert_near(coded, exact, 0.5 * exact);
}

static void
training_goes_on_as_with_exact_ones(void **state)
{
	LoraOptions lora = {.rank = 64, .alpha = 64};

	(void) state;
	check_learning(NULL);
	check_learning(&lora);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_kept_as_bytes_but_no_tables_nor_small_ones),
		cmocka_unit_test(adapters_may_have_them_too),
		cmocka_unit_test(memory_is_planned_for_what_they_take),
		cmocka_unit_test(training_goes_on_as_with_exact_ones),
	};

	return run_on_cpu(tests);
}
