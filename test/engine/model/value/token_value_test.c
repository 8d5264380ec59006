/*
 * token_value_test.c
 *		Values of tokens: gradients of the whole model by finite differences,
 *		of all weights and of an adapter's; and that no saved file knows them.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "differences.h"
#include "weighted_sum.h"

#include "base/random.h"
#include "model/lora/lora.h"

#define SEQUENCES 6
#define TARGETS 128
#define PROBES 3 /* weights of each tensor that are moved */

static const char *const configs[] = {TINY_GPT2, TINY_LLAMA(""), TINY_QWEN3};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* Trains an adapter where rank is not 0; no weight stays at 0. */
static Model *
make_trainable(Model *model, int rank)
{
	LoraOptions lora = {.rank = rank, .alpha = 5, .seed = 7};
	Failure failure = {0};

	model_add_values(model);
	assert_ok(model_make_trainable(model, rank > 0 ? &lora : NULL, &failure),
	          failure);
	for (int64_t i = 0; i < model_state_size(model); i++)
	{
		float weight;

		model_state_download(model, MODEL_WEIGHTS, i, 1, &weight);
		if (weight == 0)
			weight = (float) (0.1 * random_normal(1, 2, (uint64_t) i));
		model_state_upload(model, MODEL_WEIGHTS, i, 1, &weight);
	}
	return model;
}

static Model *
open_trainable(Arena *arena, const char *config, int rank)
{
	return make_trainable(tiny_model(arena, device, config, 3), rank);
}

/* ValuedGradient of a sum of both, each times its coefficient. */
static bool
weighted(void *argument, int first, int count, const float *logp,
         const float *value, float *dlogp, float *dvalue, Failure *failure)
{
	const Batch *batch = argument;
	int before = batch_targets(batch, 0, first);

	(void) logp;
	(void) value;
	(void) failure;
	for (int i = 0; i < batch_targets(batch, first, count); i++)
	{
		dlogp[i] = coefficient(before + i);
		dvalue[i] = coefficient(TARGETS + before + i);
	}
	return true;
}

/* ModelLoss of a batch. */
static double
sum_of(Model *model, const void *argument)
{
	const Batch *batch = argument;
	int targets = batch_targets(batch, 0, batch->sequences);
	float valued[2 * TARGETS];
	double sum = 0;
	Failure failure = {0};

	assert_true(targets <= TARGETS);
	assert_ok(model_valued(model, batch, valued, &failure), failure);
	for (int i = 0; i < targets; i++)
		sum += (double) coefficient(i) * (double) valued[2 * i] +
		       (double) coefficient(TARGETS + i) * (double) valued[2 * i + 1];
	return sum;
}

static void
check_model(const char *config, int rank)
{
	static const int32_t groups[] = {0, 1, 2, 3, 4, 5, 6};
	Arena *arena = arena_create();
	Model *model = open_trainable(arena, config, rank);
	Batch batch = tiny_batch(arena, SEQUENCES);
	Failure failure = {0};
	int count = model_parameter_count(model);

	assert_string_equal(model_parameter(model, count - 2).name, "value.weight");
	model_zero_gradients(model);
	assert_ok(model_accumulate_valued(model, &batch, SEQUENCES, groups, NULL,
	                                  weighted, &batch, &failure),
	          failure);
	for (int i = 0; i < count; i++)
	{
		ParameterView view = model_parameter(model, i);

		for (uint64_t probe = 0; probe < PROBES; probe++)
		{
			uint64_t bits = random_bits(5, (uint64_t) i, probe);

			check_difference(model, sum_of, &batch, view.name,
			                 view.offset +
			                     (int64_t) (bits % (uint64_t) view.count),
			                 2e-3, 2e-2);
		}
	}
	arena_destroy(arena);
}

static void
gradients_are_those_of_differences(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
	{
		check_model(configs[i], 0);
		check_model(configs[i], 3);
	}
}

static void
log_probabilities_are_those_without_values(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_trainable(arena, TINY_LLAMA(""), 0);
	Batch batch = tiny_batch(arena, SEQUENCES);
	int targets = batch_targets(&batch, 0, SEQUENCES);
	float valued[2 * TARGETS], logp[TARGETS];
	Failure failure = {0};

	(void) state;
	assert_ok(model_valued(model, &batch, valued, &failure), failure);
	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	for (int i = 0; i < targets; i++)
		assert_near(valued[2 * i], logp[i], 0);
	arena_destroy(arena);
}

static void
values_begin_at_0(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 3);
	Batch batch = tiny_batch(arena, SEQUENCES);
	float valued[2 * TARGETS];
	Failure failure = {0};

	(void) state;
	model_add_values(model);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	assert_ok(model_valued(model, &batch, valued, &failure), failure);
	for (int i = 0; i < batch_targets(&batch, 0, SEQUENCES); i++)
		assert_near(valued[2 * i + 1], 0, 0);
	arena_destroy(arena);
}

static void
a_saved_model_has_no_values(void **state)
{
	Arena *arena = arena_create();
	char *files = tiny_directory(arena, TINY_LLAMA(""), 3);
	Model *model = make_trainable(tiny_open(arena, device, files), 0);
	char *directory = test_directory(arena);
	Failure failure = {0};
	Model *saved;

	(void) state;
	assert_ok(model_save(model, NULL, directory, &failure), failure);
	saved = tiny_open(arena, device, directory);
	assert_int_equal(model_parameter_count(saved) + 2,
	                 model_parameter_count(model));
	assert_int_equal(model_parameters(saved) + 25, model_parameters(model));
	tiny_remove(directory);
	tiny_remove(files);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(log_probabilities_are_those_without_values),
		cmocka_unit_test(values_begin_at_0),
		cmocka_unit_test(a_saved_model_has_no_values),
	};

	return run_on_cpu(tests);
}
