/*
 * quantize_test.c
 *		Frozen weights in a few bits: smaller, close to what they were, and
 *		ready for adapters.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "base/quant.h"
#include "model/layers.h"

#define TARGETS_MAX 512

static const DType dtypes[] = {DTYPE_Q8_0, DTYPE_NF4, DTYPE_NF4_DOUBLE};

static void
logprobs_of(Model *model, float *logp)
{
	Arena *arena = arena_create();
	Batch batch = tiny_batch(arena, 6);
	Failure failure;

	memset(logp, 0, sizeof(float) * TARGETS_MAX);
	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	arena_destroy(arena);
}

static bool
is_linear(const Model *model, const Parameter *parameter)
{
	return parameter->dimensions == 2 && parameter != model->embedding &&
	       parameter != model->head && parameter != model->position_table;
}

static void
linear_weights_alone_are_quantized(void **state)
{
	static const char *const configs[] = {TINY_GPT2, TINY_LLAMA("")};

	(void) state;
	for (int i = 0; i < 6; i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i % 2], 3);
		Failure failure = {0};
		int quantized = 0;

		assert_ok(model_quantize(model, dtypes[i / 2], &failure), failure);
		for (int j = 0; j < model->parameter_count; j++)
		{
			const Parameter *parameter = &model->parameters[j];
			bool is_quantized = parameter->dtype == dtypes[i / 2];

			assert_int_equal(is_quantized, is_linear(model, parameter));
			quantized += is_quantized;
		}
		assert_int_equal(quantized, i % 2 == 0 ? 8 : 14);
		arena_destroy(arena);
	}
}

/* target[count] (device) = the numbers that a parameter's blocks stand for. */
static void
widen(Arena *arena, const Parameter *parameter, float *target)
{
	int64_t block = dtype_block(parameter->dtype);
	int64_t padded = (parameter->count + block - 1) / block * block;
	size_t bytes = dtype_bytes(parameter->dtype, padded);
	size_t count = (size_t) parameter->count;
	uint8_t *blocks = arena_alloc(arena, bytes);
	float *numbers = arena_alloc(arena, count * sizeof(float));

	device->download(device, blocks, parameter->value, bytes);
	dtype_to_f32(numbers, blocks, parameter->dtype, count);
	device->upload(device, target, numbers, count * sizeof(float));
}

/* The model computes with the very numbers that its blocks stand for. */
static void
products_use_the_numbers_of_the_blocks(void **state)
{
	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Arena *arena = arena_create();
		char *directory = tiny_directory(arena, TINY_LLAMA(""), 11);
		Model *model = tiny_open(arena, device, directory);
		Model *plain = tiny_open(arena, device, directory);
		float got[TARGETS_MAX], expected[TARGETS_MAX], before[TARGETS_MAX];
		Failure failure = {0};

		logprobs_of(model, before);
		assert_ok(model_quantize(model, dtypes[i], &failure), failure);
		logprobs_of(model, got);
		/* The same numbers in fp32 in the other model's training state. */
		assert_ok(model_make_trainable(plain, NULL, &failure), failure);
		for (int j = 0; j < model->parameter_count; j++)
		{
			const Parameter *parameter = &model->parameters[j];

			if (is_linear(model, parameter))
				widen(arena, parameter,
				      plain->weights + plain->parameters[j].offset);
		}
		logprobs_of(plain, expected);
		for (int t = 0; t < TARGETS_MAX; t++)
		{
			assert_near(got[t], expected[t], 2e-5);
			/* Eight bits change little, four more. */
			assert_near(got[t], before[t], i == 0 ? 0.3 : 3);
		}
		assert_memory_not_equal(got, before, sizeof(got));
		tiny_remove(directory);
		arena_destroy(arena);
	}
}

static void
weights_that_are_not_finite_are_named(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 12);
	Model *model = tiny_open(arena, device, directory);
	Model *broken;
	Failure failure = {0};
	char *path = arena_printf(arena, "%s/model.safetensors", directory);
	int64_t at;
	FILE *file;
	float number = NAN;

	(void) state;
	at = (const char *) model->layers[1].up.weight->stored->data -
	     (const char *) model->embedding->stored->data + 40;
	file = fopen(path, "r+b");
	fseek(file, 0, SEEK_END);
	at += ftell(file) - stored_model_bytes(model->stored);
	fseek(file, at, SEEK_SET);
	assert_int_equal(fwrite(&number, sizeof(number), 1, file), 1);
	fclose(file);
	broken = tiny_open(arena, device, directory);
	assert_fails(model_quantize(broken, DTYPE_NF4, &failure), failure,
	             FAILURE_BAD_FILE, "number 10 of \"model.layers.1.mlp.up_proj");
	tiny_remove(directory);
	arena_destroy(arena);
}

static void
other_types_are_refused(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 13);
	Failure failure;

	(void) state;
	assert_fails(model_quantize(model, DTYPE_Q4_K, &failure), failure,
	             FAILURE_BAD_INPUT, "cannot be quantized to q4_k");
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linear_weights_alone_are_quantized),
		cmocka_unit_test(products_use_the_numbers_of_the_blocks),
		cmocka_unit_test(weights_that_are_not_finite_are_named),
		cmocka_unit_test(other_types_are_refused),
	};

	return run_on_cpu(tests);
}
