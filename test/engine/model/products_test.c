/*
 * products_test.c
 *		A model that multiplies bf16 is near the same model in fp32, gives a
 *		response the same numbers in every batch, and learns the same.
 */
#include "on_cpu.h"
#include "tiny.h"
#include "weighted_sum.h"

#include "model/lora/lora.h"

static const int32_t offset[] = {0, 9, 31, 33, 60};
static const int32_t target[] = {4, 20, 32, 40};
static int32_t ids[60];

static Batch
batch_of(int first, int count, int32_t *offsets, int32_t *targets)
{
	for (int i = 0; i <= count; i++)
		offsets[i] = offset[first + i] - offset[first];
	for (int i = 0; i < count; i++)
		targets[i] = target[first + i] - offset[first];
	return (Batch){.sequences = count,
	               .offset = offsets,
	               .target = targets,
	               .ids = ids + offset[first]};
}

static Model *
open_model(Arena *arena, const char *config, DType products)
{
	Model *model = tiny_open(arena, device, tiny_directory(arena, config, 3));

	for (int i = 0; i < 60; i++)
		ids[i] = i * 31 % TINY_VOCABULARY;
	model_set_products(model, products);
	return model;
}

/* Log-probabilities of the sequences [first, first + count). */
static int
score(Model *model, int first, int count, float *logp)
{
	int32_t offsets[5], targets[4];
	Batch batch = batch_of(first, count, offsets, targets);
	Failure failure = {0};

	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	return batch_targets(&batch, 0, count);
}

static void
fp32_is_used_until_something_else_is_asked_for(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	assert_int_equal(model_products(tiny_open(
						 arena, device, tiny_directory(arena, TINY_WIDE, 3))),
	                 DTYPE_F32);
	arena_destroy(arena);
}

static void
auto_takes_bf16_where_a_wide_model_gains(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	assert_int_equal(
		model_products(open_model(arena, TINY_LLAMA(""), PRODUCTS_AUTO)),
		DTYPE_F32);
	assert_int_equal(
		model_products(open_model(arena, TINY_WIDE, PRODUCTS_AUTO)),
		device->has_bf16 ? DTYPE_BF16 : DTYPE_F32);
	arena_destroy(arena);
}

static void
dtypes_are_found_by_name(void **state)
{
	DType products;
	Failure failure = {0};

	(void) state;
	assert_true(products_find("auto", &products, &failure));
	assert_int_equal(products, PRODUCTS_AUTO);
	assert_true(products_find("bf16", &products, &failure));
	assert_int_equal(products, DTYPE_BF16);
	assert_false(products_find("fp16", &products, &failure));
	assert_string_equal(failure.message,
	                    "dtype must be auto, fp32 or bf16, not \"fp16\"");
}

static void
bf16_is_near_fp32_and_not_the_same(void **state)
{
	static const char *const configs[] = {TINY_GPT2, TINY_LLAMA(""), TINY_WIDE,
	                                      TINY_NEOX("")};

	(void) state;
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
	{
		Arena *arena = arena_create();
		Model *model = open_model(arena, configs[i], DTYPE_F32);
		float exact[60], rough[60];
		int targets = score(model, 0, 4, exact);
		double furthest = 0;

		model_set_products(model, DTYPE_BF16);
		score(model, 0, 4, rough);
		for (int t = 0; t < targets; t++)
			furthest =
				fmax(furthest, fabs((double) exact[t] - (double) rough[t]));
		/* 2^-9 of logits of about 1, after a dozen products. */
		assert_true(furthest > 1e-5 && furthest < 0.06);
		model_set_products(model, DTYPE_F32);
		score(model, 0, 4, rough);
		assert_memory_equal(exact, rough, (size_t) targets * sizeof(float));
		arena_destroy(arena);
	}
}

/* So the ratio to the reference is 1 at the start. */
static void
a_response_has_the_same_numbers_in_training_and_alone(void **state)
{
	static const char *const configs[] = {TINY_LLAMA(""), TINY_WIDE};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		Arena *arena = arena_create();
		Model *model = open_model(arena, configs[i], DTYPE_BF16);
		int32_t offsets[5], targets[4];
		Batch batch = batch_of(0, 4, offsets, targets);
		Seen *seen = arena_alloc(arena, sizeof(Seen));
		Failure failure = {0};
		float alone[60];
		int at = 0;

		for (int row = 0; row < 4; row++)
			at += score(model, row, 1, alone + at);
		assert_ok(model_make_trainable(model, NULL, &failure), failure);
		accumulate(model, &batch, NULL, seen);
		for (int t = 0; t < at; t++)
			assert_near(alone[t], seen->logp[t], 1e-6);
		arena_destroy(arena);
	}
}

/* The gradient of the sum, in numbers of arena. */
static float *
gradient(Arena *arena, Model *model, const LoraOptions *lora)
{
	int32_t offsets[5], targets[4];
	Batch batch = batch_of(0, 4, offsets, targets);
	Seen *seen = arena_alloc(arena, sizeof(Seen));
	Failure failure = {0};
	float *grad;

	assert_ok(model_make_trainable(model, lora, &failure), failure);
	accumulate(model, &batch, NULL, seen);
	grad = arena_alloc(arena, (size_t) model_state_size(model) * sizeof(float));
	model_state_download(model, MODEL_GRADIENTS, 0, model_state_size(model),
	                     grad);
	return grad;
}

static void
check_gradient(const char *config, const LoraOptions *lora)
{
	Arena *arena = arena_create();
	Model *model = open_model(arena, config, DTYPE_F32);
	float *exact = gradient(arena, model, lora);
	float *rough = gradient(arena, open_model(arena, config, DTYPE_BF16), lora);
	double distance = 0;
	double length = 0;

	for (int64_t i = 0; i < model_state_size(model); i++)
	{
		double difference = (double) exact[i] - (double) rough[i];

		distance += difference * difference;
		length += (double) exact[i] * (double) exact[i];
	}
	/* Each product is off by 2^-9 of its length, and a dozen add up. */
	distance = sqrt(distance / length);
	assert_true(distance > 1e-6 && distance < 0.02);
	arena_destroy(arena);
}

static void
gradients_are_near_those_of_fp32(void **state)
{
	static const LoraOptions lora = {.rank = 5, .alpha = 10};

	(void) state;
	check_gradient(TINY_LLAMA(""), NULL);
	check_gradient(TINY_GPT2, NULL);
	check_gradient(TINY_WIDE, NULL);
	check_gradient(TINY_LLAMA(""), &lora);
	check_gradient(TINY_WIDE, &lora);
}

/* LogprobGradient of the sum of all log-probabilities, negated. */
static bool
likelihood(void *argument, int first, int count, const float *logp, float *grad,
           Failure *failure)
{
	int targets = batch_targets(argument, first, count);

	(void) logp;
	(void) failure;
	for (int t = 0; t < targets; t++)
		grad[t] = -1;
	return true;
}

/* The mean log-probability of the batch after so many steps that raise it. */
static double
learned(const char *config, DType products, int steps)
{
	Arena *arena = arena_create();
	Model *model = open_model(arena, config, products);
	int32_t offsets[5], targets[4];
	static const int32_t groups[] = {0, 1, 2, 3, 4};
	Batch batch = batch_of(0, 4, offsets, targets);
	Failure failure = {0};
	float logp[60];
	double sum = 0;
	int count;

	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	for (int step = 1; step <= steps; step++)
	{
		AdamW adamw = {.learning_rate = 3e-4f,
		               .beta1 = 0.9,
		               .beta2 = 0.999,
		               .eps = 1e-8f,
		               .correction1 = (float) (1 - pow(0.9, step)),
		               .correction2 = (float) (1 - pow(0.999, step)),
		               .gradient_scale = 1};

		model_zero_gradients(model);
		assert_ok(model_accumulate(model, &batch, 4, groups, NULL, likelihood,
		                           &batch, &failure),
		          failure);
		assert_ok(model_update(model, &adamw, &failure), failure);
	}
	count = score(model, 0, 4, logp);
	for (int t = 0; t < count; t++)
		sum += (double) logp[t];
	arena_destroy(arena);
	return sum / count;
}

static void
bf16_learns_what_fp32_learns(void **state)
{
	double exact = learned(TINY_WIDE, DTYPE_F32, 12);

	(void) state;
	/* From about -5.6, a token among 257. */
	assert_true(exact > -4);
	assert_near(learned(TINY_WIDE, DTYPE_BF16, 12), exact, 0.02);
}

/* What was packed before must not be read after. */
static void
check_packed_anew(const LoraOptions *lora)
{
	const AdamW adamw = tiny_first_step();
	Arena *arena = arena_create();
	Model *model = open_model(arena, TINY_WIDE, DTYPE_BF16);
	Model *other = open_model(arena, TINY_WIDE, DTYPE_BF16);
	int64_t size;
	float before[60], after[60], loaded[60];
	Failure failure = {0};
	float *weights;
	int targets;

	gradient(arena, model, lora);
	targets = score(model, 0, 4, before);
	assert_ok(model_update(model, &adamw, &failure), failure);
	score(model, 0, 4, after);
	assert_memory_not_equal(before, after, (size_t) targets * sizeof(float));

	/* As a model that never had others. */
	size = model_state_size(model);
	weights = arena_alloc(arena, (size_t) size * sizeof(float));
	model_state_download(model, MODEL_WEIGHTS, 0, size, weights);
	assert_ok(model_make_trainable(other, lora, &failure), failure);
	score(other, 0, 4, loaded);
	assert_memory_equal(before, loaded, (size_t) targets * sizeof(float));
	model_state_upload(other, MODEL_WEIGHTS, 0, size, weights);
	score(other, 0, 4, loaded);
	assert_memory_equal(after, loaded, (size_t) targets * sizeof(float));
	arena_destroy(arena);
}

static void
weights_that_change_are_packed_anew(void **state)
{
	static const LoraOptions lora = {.rank = 5, .alpha = 10};

	(void) state;
	check_packed_anew(NULL);
	check_packed_anew(&lora);
}

/* Bytes that training takes in all. */
static uint64_t
memory_in_training(DType products, const LoraOptions *lora)
{
	Arena *arena = arena_create();
	uint64_t before = memory_used();
	Model *model = open_model(arena, TINY_WIDE, products);
	uint64_t after;

	gradient(arena, model, lora);
	after = memory_used();
	arena_destroy(arena);
	return after - before;
}

static void
training_holds_one_layer_packed_beside_what_is_frozen(void **state)
{
	static const LoraOptions lora = {.rank = 5, .alpha = 10};
	Arena *arena = arena_create();
	Model *model = open_model(arena, TINY_WIDE, DTYPE_F32);
	/* Packed, a number has 2 bytes; the embedding is not. */
	uint64_t whole = 2 * (uint64_t) model_parameters(model);

	(void) state;
	assert_true(memory_in_training(DTYPE_BF16, NULL) <
	            memory_in_training(DTYPE_F32, NULL) + whole / 2);
	assert_true(memory_in_training(DTYPE_BF16, &lora) <
	            memory_in_training(DTYPE_F32, &lora) + whole / 4 * 7);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fp32_is_used_until_something_else_is_asked_for),
		cmocka_unit_test(auto_takes_bf16_where_a_wide_model_gains),
		cmocka_unit_test(dtypes_are_found_by_name),
		cmocka_unit_test(bf16_is_near_fp32_and_not_the_same),
		cmocka_unit_test(a_response_has_the_same_numbers_in_training_and_alone),
		cmocka_unit_test(gradients_are_near_those_of_fp32),
		cmocka_unit_test(bf16_learns_what_fp32_learns),
		cmocka_unit_test(weights_that_change_are_packed_anew),
		cmocka_unit_test(training_holds_one_layer_packed_beside_what_is_frozen),
	};

	return run_on_cpu(tests);
}
