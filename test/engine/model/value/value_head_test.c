/*
 * value_head_test.c
 *		The value head by finite differences, against the golden values (three
 *		AdamW steps), and its fit.
 */
#include "near.h"

#include "device/device.h"
#include "formats/safetensors.h"
#include "model/pair.h"
#include "model/value/value_fit.h"

#define HIDDEN 12
#define TOKENS 5
#define LENGTH 30 /* tokens of a prompt to fit */

static Device *device;

static void
fill(float *x, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++)
	{
		seed = seed * 1664525 + 1013904223;
		x[i] = (float) (seed >> 8) / (1 << 24) - 0.5f;
	}
}

static ValueHead *
random_head(Arena *arena, int hidden, int heads)
{
	Failure failure = {0};
	ValueHead *head;

	assert_ok(value_head_allocate(arena, hidden, heads, -1, 2, &head, &failure),
	          failure);
	fill(head->weights, head->offset[VALUE_TENSORS], 7);
	return head;
}

/* z of one prompt, from the weights as they are. */
static double
z_of(Arena *arena, const ValueHead *head, const float *x, const float *keep)
{
	ValuePass *pass = value_pass_create(arena, head);
	float attention[HIDDEN * TOKENS];

	value_pass_begin(pass);
	return value_forward(pass, x, TOKENS, keep, attention);
}

static void
gradients_are_those_of_differences(void **state)
{
	Arena *arena = arena_create();
	ValueHead *head = random_head(arena, HIDDEN, 3);
	size_t count = head->offset[VALUE_TENSORS];
	float *grad = arena_alloc(arena, count * sizeof(float));
	ValuePass *pass = value_pass_create(arena, head);
	float x[TOKENS * HIDDEN], keep[HIDDEN], attention[3 * TOKENS];

	(void) state;
	fill(x, TOKENS * HIDDEN, 3);
	for (int i = 0; i < HIDDEN; i++)
		keep[i] = i % 4 == 0 ? 0 : 1.25f;
	value_pass_begin(pass);
	value_forward(pass, x, TOKENS, keep, attention);
	value_backward(pass, x, TOKENS, keep, attention, 0.5, grad);
	value_pass_end(pass, grad);
	for (size_t i = 0; i < count; i++)
	{
		const float step = 1.0f / 128;
		float kept = head->weights[i];
		double up, down;

		head->weights[i] = kept + step;
		up = z_of(arena, head, x, keep);
		head->weights[i] = kept - step;
		down = z_of(arena, head, x, keep);
		head->weights[i] = kept;
		/* fp32 noise of z over the step, and the third derivative */
		assert_near(grad[i], 0.5 * (up - down) / (2 * step), 1e-4);
	}
	arena_destroy(arena);
}

static void
attention_weights_sum_to_one_and_values_stay_in_range(void **state)
{
	Arena *arena = arena_create();
	ValueHead *head = random_head(arena, HIDDEN, 4);
	ValuePass *pass = value_pass_create(arena, head);
	float x[TOKENS * HIDDEN], attention[4 * TOKENS];
	double value;

	(void) state;
	fill(x, TOKENS * HIDDEN, 5);
	value_pass_begin(pass);
	value = value_of(head, value_forward(pass, x, TOKENS, NULL, attention));
	for (int h = 0; h < 4; h++)
	{
		double sum = 0;

		for (int t = 0; t < TOKENS; t++)
			sum += attention[h * TOKENS + t];
		assert_near(sum, 1, 1e-6);
	}
	assert_true(value > -1 && value < 2);
	arena_destroy(arena);
}

static void
a_new_head_says_the_mean_everywhere(void **state)
{
	Arena *arena = arena_create();
	float x[TOKENS * HIDDEN], attention[8 * TOKENS];
	Failure failure = {0};
	ValueHead *head;
	ValuePass *pass;

	(void) state;
	fill(x, TOKENS * HIDDEN, 9);
	assert_ok(value_head_create(arena, HIDDEN, 0, 2, 0.6, 1, &head, &failure),
	          failure);
	assert_int_equal(head->heads, 6); /* the largest divisor of 12 up to 8 */
	pass = value_pass_create(arena, head);
	value_pass_begin(pass);
	for (int tokens = 1; tokens <= TOKENS; tokens++)
		assert_near(
			value_of(head, value_forward(pass, x, tokens, NULL, attention)),
			0.6, 1e-6);
	arena_destroy(arena);
}

static void
a_saved_head_is_the_same_head(void **state)
{
	Arena *arena = arena_create();
	ValueHead *head = random_head(arena, HIDDEN, 3);
	char *directory = test_directory(arena);
	Failure failure = {0};
	ValueHead *read;

	(void) state;
	assert_ok(value_head_save(head, directory, &failure), failure);
	assert_ok(value_head_open(arena, directory, HIDDEN, &read, &failure),
	          failure);
	assert_int_equal(read->heads, 3);
	assert_near(read->low, -1, 0);
	assert_near(read->high, 2, 0);
	assert_memory_equal(read->weights, head->weights,
	                    head->offset[VALUE_TENSORS] * sizeof(float));
	assert_fails(value_head_open(arena, directory, 24, &read, &failure),
	             failure, FAILURE_BAD_FILE, "for a hidden size of 12");
	arena_destroy(arena);
}

/* -------------------------------------------------------------- fitting */

typedef struct Prompts
{
	int tokens;
	float *hidden; /* [prompts, tokens, HIDDEN] */
} Prompts;

static bool
hidden_of(void *argument, const int32_t *prompts, int count, float *hidden,
          Failure *failure)
{
	const Prompts *from = argument;
	size_t size = (size_t) from->tokens * HIDDEN;

	(void) failure;
	for (int i = 0; i < count; i++)
		memcpy(hidden + (size_t) i * size,
		       from->hidden + (size_t) prompts[i] * size, size * sizeof(float));
	return true;
}

/* Fits 100 prompts; learnable: the target follows from the hidden states. */
static ValueHead *
fit(Arena *arena, bool is_learnable, ValueFitResult *result)
{
	const ValueFitOptions options = {50, 16, 1e-2, 0.1, 3};
	int32_t tokens[100];
	double target[100];
	Prompts prompts = {
		LENGTH, arena_alloc(arena, 100 * LENGTH * HIDDEN * sizeof(float))};
	ValueData data = {100, tokens, target, hidden_of, NULL, &prompts};
	Failure failure = {0};
	ValueHead *head;

	fill(prompts.hidden, 100 * LENGTH * HIDDEN, 1);
	for (int i = 0; i < 100; i++)
	{
		float *x = prompts.hidden + i * LENGTH * HIDDEN;
		float noise;
		double sum = 0;

		fill(&noise, 1, (uint32_t) i * 2654435761u);
		tokens[i] = LENGTH;
		for (int t = 0; t < LENGTH; t++)
			sum += x[t * HIDDEN];
		target[i] = is_learnable ? 1 / (1 + exp(-sum)) : 0.5 + noise;
	}
	assert_ok(value_fit(arena, HIDDEN, 0, 1, &options, &data, &head, result,
	                    &failure),
	          failure);
	return head;
}

static void
what_can_be_learned_is_learned(void **state)
{
	Arena *arena = arena_create();
	ValueFitResult result;

	(void) state;
	fit(arena, true, &result);
	assert_int_equal(result.held_out, 20);
	assert_true(result.r2 > 0.8);
	assert_near(result.r2, 1 - result.mse / result.baseline_mse, 1e-12);
	arena_destroy(arena);
}

static void
noise_is_never_worse_than_the_mean(void **state)
{
	Arena *arena = arena_create();
	ValueFitResult result;

	(void) state;
	fit(arena, false, &result);
	assert_true(result.r2 >= 0 && result.r2 < 0.2);
	assert_true(result.mse <= result.baseline_mse);
	arena_destroy(arena);
}

static void
the_same_seed_gives_the_same_fit_cached_or_not(void **state)
{
	Arena *arena = arena_create();
	ValueFitResult one, two;
	ValueHead *a = fit(arena, true, &one);
	ValueHead *b;

	(void) state;
	/* Room for everything but the hidden states. */
	memory_limit_set(memory_used() + 250000);
	b = fit(arena, true, &two);
	memory_limit_set(0);
	assert_int_equal(one.epoch, two.epoch);
	assert_memory_equal(a->weights, b->weights,
	                    a->offset[VALUE_TENSORS] * sizeof(float));
	arena_destroy(arena);
}

/* --------------------------------------------------------------- golden */

static double
number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

typedef struct Golden
{
	Arena *arena;
	json_t *json;
	ValueHead *head;
	int prompts;
	float *hidden;
	int32_t *offset;
	double *reward;
} Golden;

static void
open_golden(Golden *golden, Arena *arena, const char *folder)
{
	StoredModel *file;
	Model *model;
	Failure failure = {0};
	json_t *range, *prompts;
	const int32_t *ids[64];
	int32_t tokens[64];

	golden->arena = arena;
	golden->json = test_read_json(arena, folder, "golden_value.json");
	range = json_object_get(golden->json, "range");
	prompts = json_object_get(golden->json, "prompts");
	golden->prompts = (int) json_array_size(prompts);
	golden->reward = arena_alloc(arena, 64 * sizeof(double));
	assert_true(golden->prompts <= 64);
	assert_ok(model_open(arena, device, folder, NULL, &model, &failure),
	          failure);
	for (int i = 0; i < golden->prompts; i++)
	{
		json_t *prompt = json_array_get(prompts, (size_t) i);
		json_t *list = json_object_get(prompt, "ids");
		int32_t *copy;

		tokens[i] = (int32_t) json_array_size(list);
		copy = arena_alloc(arena, (size_t) tokens[i] * sizeof(int32_t));
		for (int t = 0; t < tokens[i]; t++)
			copy[t] =
				(int32_t) json_integer_value(json_array_get(list, (size_t) t));
		ids[i] = copy;
		golden->reward[i] = number(prompt, "reward");
	}
	assert_ok(prompt_hidden(model, arena, golden->prompts, ids, tokens,
	                        &golden->hidden, &golden->offset, &failure),
	          failure);
	assert_ok(value_head_allocate(arena, model_config(model)->hidden,
	                              (int) json_integer_value(
									  json_object_get(golden->json, "heads")),
	                              json_number_value(json_array_get(range, 0)),
	                              json_number_value(json_array_get(range, 1)),
	                              &golden->head, &failure),
	          failure);
	assert_ok(stored_file_open(
				  arena,
				  arena_printf(arena, "%s/value_head.safetensors", folder),
				  &file, &failure),
	          failure);
	for (int i = 0; i < VALUE_TENSORS; i++)
	{
		const StoredTensor *stored =
			stored_model_find(file, value_tensor_name((ValueTensor) i));

		assert_non_null(stored);
		dtype_to_f32(golden->head->weights + golden->head->offset[i],
		             stored->data, stored->dtype, (size_t) stored->count);
	}
}

/* Loss and gradient over all prompts; the first time values and attention
 * are compared too. */
static double
golden_loss(Golden *golden, float *grad, bool is_first)
{
	const ValueHead *head = golden->head;
	ValuePass *pass = value_pass_create(golden->arena, head);
	json_t *prompts = json_object_get(golden->json, "prompts");
	double range = head->high - head->low;
	double loss = 0;

	value_pass_begin(pass);
	for (int i = 0; i < golden->prompts; i++)
	{
		json_t *prompt = json_array_get(prompts, (size_t) i);
		json_t *weights = json_object_get(prompt, "attention");
		int tokens = golden->offset[i + 1] - golden->offset[i];
		const float *x =
			golden->hidden + (size_t) golden->offset[i] * (size_t) head->hidden;
		float *attention =
			arena_alloc(golden->arena,
		                (size_t) tokens * (size_t) head->heads * sizeof(float));
		double z = value_forward(pass, x, tokens, NULL, attention);
		double s = 1 / (1 + exp(-z));
		double error = value_of(head, z) - golden->reward[i];

		loss += error * error / golden->prompts;
		value_backward(pass, x, tokens, NULL, attention,
		               2 * error * range * s * (1 - s) / golden->prompts, grad);
		if (!is_first)
			continue;
		assert_near(z, number(prompt, "logit"), 1e-4);
		assert_near(value_of(head, z), number(prompt, "value"), 1e-4);
		for (int t = 0; t < tokens; t++)
		{
			double mean = 0;

			for (int h = 0; h < head->heads; h++)
				mean += attention[h * tokens + t] / head->heads;
			assert_near(mean,
			            json_number_value(json_array_get(weights, (size_t) t)),
			            1e-5);
		}
	}
	value_pass_end(pass, grad);
	return loss;
}

static void
compare_gradient(const Golden *golden, const float *grad, const json_t *step)
{
	for (int i = 0; i < VALUE_TENSORS; i++)
	{
		double sum = 0;
		double expected = number(json_object_get(step, "grad_norms"),
		                         value_tensor_name((ValueTensor) i));

		for (size_t j = golden->head->offset[i];
		     j < golden->head->offset[i + 1]; j++)
			sum += (double) grad[j] * grad[j];
		assert_near(sqrt(sum), expected, 1e-4 * expected);
	}
}

static void
compare_parameters(const Golden *golden, const json_t *step)
{
	json_t *tensors = json_object_get(golden->json, "tensors");

	for (int i = 0; i < VALUE_TENSORS; i++)
	{
		const char *name = value_tensor_name((ValueTensor) i);
		json_t *places =
			json_object_get(json_object_get(tensors, name), "positions");
		json_t *values = json_object_get(
			json_object_get(json_object_get(step, "parameters"), name),
			"values");

		for (size_t j = 0; j < json_array_size(places); j++)
			assert_near(golden->head->weights[golden->head->offset[i] +
			                                  (size_t) json_integer_value(
												  json_array_get(places, j))],
			            json_number_value(json_array_get(values, j)), 1e-5);
	}
}

static void
check_golden(const char *folder)
{
	Arena *arena = arena_create();
	Golden golden;
	json_t *settings, *steps;
	size_t count;
	float *grad, *m, *v;

	open_golden(&golden, arena, folder);
	settings = json_object_get(golden.json, "settings");
	steps = json_object_get(golden.json, "steps");
	count = golden.head->offset[VALUE_TENSORS];
	m = arena_alloc(arena, count * sizeof(float));
	v = arena_alloc(arena, count * sizeof(float));
	grad = arena_alloc(arena, count * sizeof(float));
	for (size_t k = 0; k < json_array_size(steps); k++)
	{
		json_t *step = json_array_get(steps, k);
		double norm = 0, expected = number(step, "loss");

		memset(grad, 0, count * sizeof(float));
		assert_near(golden_loss(&golden, grad, k == 0), expected,
		            1e-5 * expected);
		compare_gradient(&golden, grad, step);
		for (size_t i = 0; i < count; i++)
			norm += (double) grad[i] * grad[i];
		norm = sqrt(norm);
		assert_near(norm, number(step, "grad_norm"), 1e-4 * norm);
		for (size_t i = 0; i < count; i++)
			grad[i] *= (float) fmin(1, number(settings, "max_grad_norm") /
			                               (norm + 1e-6));
		value_adamw(golden.head->weights, grad, m, v, count,
		            number(settings, "learning_rate"), number(settings, "eps"),
		            (int64_t) k + 1);
		compare_parameters(&golden, step);
	}
	memset(grad, 0, count * sizeof(float));
	assert_near(golden_loss(&golden, grad, false),
	            number(golden.json, "final_loss"), 1e-5);
	arena_destroy(arena);
}

static void
golden_values_gradients_and_three_steps(void **state)
{
	static const char *const models[] = {"gpt2", "llama"};
	Arena *arena = arena_create();

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		char *own = test_golden_path(
			arena, arena_printf(arena, "training/%s", models[i]));
		char *shared = test_shared_path(
			arena, arena_printf(arena, "golden/training/%s", models[i]));

		if (file_exists(arena_printf(arena, "%s/golden_value.json", own)))
			check_golden(own);
		if (shared != NULL)
			check_golden(shared);
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(attention_weights_sum_to_one_and_values_stay_in_range),
		cmocka_unit_test(a_new_head_says_the_mean_everywhere),
		cmocka_unit_test(a_saved_head_is_the_same_head),
		cmocka_unit_test(what_can_be_learned_is_learned),
		cmocka_unit_test(noise_is_never_worse_than_the_mean),
		cmocka_unit_test(the_same_seed_gives_the_same_fit_cached_or_not),
		cmocka_unit_test(golden_values_gradients_and_three_steps),
	};
	Failure failure = {0};
	int failed;

	if (!cpu_device_open(2, &device, &failure))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	device->close(device);
	return failed;
}
