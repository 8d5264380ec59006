/*
 * states_test.c
 *		What layers leave for their backward pass in 16 bits gives the gradient
 *		that it gives in 32, in half the memory.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "weighted_sum.h"

#include "base/arena.h"
#include "model/lora/lora.h"

#include <math.h>

#define SEQUENCES 12 /* enough for two slices */
#define LABELS 3

/* Sequences of 24 to 32 tokens. */
static Batch
batch_of(Arena *arena)
{
	int32_t *offset = arena_alloc(arena, (SEQUENCES + 1) * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, SEQUENCES * sizeof(int32_t));
	int32_t *ids = arena_alloc(arena, SEQUENCES * 32 * sizeof(int32_t));

	for (int s = 0; s < SEQUENCES; s++)
	{
		offset[s + 1] = offset[s] + 24 + s % 9;
		target[s] = offset[s] + 9 + s % 5;
	}
	for (int t = 0; t < offset[SEQUENCES]; t++)
		ids[t] = t * 31 % TINY_VOCABULARY;
	return (Batch){SEQUENCES, offset, target, ids, NULL};
}

/* The gradient in bf16 with states as asked for, and the memory it took. */
static float *
gradient(Arena *arena, const char *directory, const LoraOptions *lora,
         bool is_short, int64_t *count, uint64_t *bytes)
{
	uint64_t before = memory_used();
	Model *model = tiny_open(arena, device, directory);
	Batch batch = batch_of(arena);
	bool keeps = device->keeps_fixed;
	Failure failure = {0};
	float *gradient;

	device->keeps_fixed = is_short;
	model_set_products(model, DTYPE_BF16);
	assert_ok(model_make_trainable(model, lora, &failure), failure);
	if (model_kind(model) == MODEL_CLASSIFIER)
		assert_ok(model_classify_accumulate(model, &batch, NULL,
		                                    weighted_outputs, &(int){LABELS},
		                                    &failure),
		          failure);
	else
		accumulate(model, &batch, NULL, arena_alloc(arena, sizeof(Seen)));
	device->keeps_fixed = keeps;
	*bytes = memory_used() - before;
	*count = model_state_size(model);
	gradient = arena_alloc(arena, (size_t) *count * sizeof(float));
	model_state_download(model, MODEL_GRADIENTS, 0, *count, gradient);
	return gradient;
}

static void
check(const char *config, const LoraOptions *lora)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, config, 3);
	int64_t count;
	uint64_t bytes;
	float *exact = gradient(arena, directory, lora, false, &count, &bytes);
	float *rounded = gradient(arena, directory, lora, true, &count, &bytes);
	double distance = 0;
	double length = 0;

	for (int64_t i = 0; i < count; i++)
	{
		distance += pow((double) exact[i] - (double) rounded[i], 2);
		length += pow((double) exact[i], 2);
	}
	/* Each number is off by 1e-5, and one of a hundred that products read is
	 * rounded the other way for it, by 2^-8; those of fp32 are ten times as
	 * far. */
	distance = sqrt(distance / length);
	assert_true(distance > 1e-8 && distance < 2e-3);
	arena_destroy(arena);
}

static void
gradients_are_those_of_whole_states(void **state)
{
	static const LoraOptions lora = {.rank = 5, .alpha = 10};

	(void) state;
	check(TINY_GPT2, NULL);
	check(TINY_LLAMA(""), NULL);
	check(TINY_LLAMA(""), &lora);
	check(TINY_QWEN3, NULL);
	check(TINY_QWEN3, &lora);
	check(TINY_NEOX(""), NULL);
	check(TINY_NEOX(", \"use_parallel_residual\": false"), NULL);
	check(TINY_NEOX(""), &lora);
}

static void
so_are_those_of_classifiers(void **state)
{
	(void) state;
	check(TINY_ENCODER("bert", TINY_CLASSES("Bert")), NULL);
	check(TINY_ENCODER("deberta-v2",
	                   TINY_CLASSES("DebertaV2") TINY_DISTANCES("true")),
	      NULL);
	check(TINY_DISTILBERT(TINY_CLASSES("DistilBert")), NULL);
	check(TINY_LLAMA(TINY_CLASSES("Llama") ", \"pad_token_id\": 256"), NULL);
}

static void
they_take_half_the_memory(void **state)
{
	Arena *arena = arena_create();
	/* Layers enough for their states to be most of it. */
	char *directory = tiny_directory(
		arena,
		"{\"model_type\": \"llama\", \"hidden_size\": 64, "
		"\"intermediate_size\": 128, \"num_hidden_layers\": 40, "
		"\"num_attention_heads\": 1, \"max_position_embeddings\": 64, "
		"\"vocab_size\": 257, \"initializer_range\": 0.1}",
		3);
	uint64_t whole, half;
	int64_t count;
	uint64_t trained;

	(void) state;
	gradient(arena, directory, NULL, false, &count, &whole);
	gradient(arena, directory, NULL, true, &count, &half);
	trained = 4 * sizeof(float) * (uint64_t) count;
	assert_true((half - trained) * 10 < (whole - trained) * 6);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_whole_states),
		cmocka_unit_test(so_are_those_of_classifiers),
		cmocka_unit_test(they_take_half_the_memory),
	};

	return run_on_cpu(tests);
}
