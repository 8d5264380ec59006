/*
 * share_test.c
 *		Prompts that sequences share are computed once, and nothing changes.
 */
#include "recipes.h"
#include "on_cpu.h"

#include "weighted_sum.h"

#include "model/lora/lora.h"
#include "model/share.h"

static const char *const configs[] = {
	TINY_GPT2,    TINY_LLAMA(", \"tie_word_embeddings\": false"),
	TINY_MISTRAL, TINY_QWEN2,
	TINY_QWEN3,   TINY_NEOX(""),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* What a pass over the batch computes. */
static int
tokens_of(Arena *arena, const Batch *batch)
{
	SharedBatch shared = batch_share(arena, batch, false);

	return shared.batch.offset[shared.batch.sequences];
}

static void
equal_prompts_are_computed_once(void **state)
{
	static const Recipe pair[] = {{1, 20, 20, 9}, {1, 20, 20, 5}};
	Arena *arena = arena_create();
	Batch batch = cook(arena, 2, pair);
	SharedBatch shared = batch_share(arena, &batch, false);

	(void) state;
	/* All but the last token of the prompt, and each one's own. */
	assert_int_equal(shared.batch.sequences, 3);
	assert_int_equal(shared.batch.offset[1], 19);
	assert_int_equal(shared.batch.offset[2] - shared.batch.offset[1], 10);
	assert_int_equal(shared.batch.offset[3] - shared.batch.offset[2], 6);
	assert_int_equal(shared.prefix[0], -1);
	assert_int_equal(shared.prefix[1], 0);
	assert_int_equal(shared.prefix[2], 0);
	assert_memory_equal(shared.batch.ids, batch.ids, 29 * sizeof(int32_t));
	arena_destroy(arena);
}

static void
a_common_beginning_is_shared_where_that_saves(void **state)
{
	static const Recipe some[] = {
		{1, 12, 20, 9}, {1, 12, 30, 5}, {1, 12, 14, 2}};
	static const Recipe few[] = {{1, 5, 20, 9}, {1, 5, 30, 5}};
	/* A pair that shares 30 is not broken up for one that shares 12. */
	static const Recipe better[] = {
		{1, 12, 40, 9}, {1, 31, 31, 5}, {1, 31, 31, 2}};
	Arena *arena = arena_create();
	Batch batch = cook(arena, 3, some);

	(void) state;
	assert_int_equal(tokens_of(arena, &batch), 80 - 2 * 12);
	batch = cook(arena, 2, few);
	assert_int_equal(tokens_of(arena, &batch), 64);
	batch = cook(arena, 3, better);
	assert_int_equal(tokens_of(arena, &batch), 118 - 30);
	arena_destroy(arena);
}

static void
orders_give_the_costs_of_parts(void **state)
{
	Arena *arena = arena_create();
	Batch batch = cook(arena, MIXED, mixed);
	int32_t order[MIXED], cost[MIXED];
	int seen = 0, total = 0;

	(void) state;
	batch_order(arena, &batch, order, cost);
	for (int i = 0; i < MIXED; i++)
	{
		seen |= 1 << order[i];
		total += cost[i];
	}
	assert_int_equal(seen, (1 << MIXED) - 1);
	assert_int_equal(total, tokens_of(arena, &batch));
	assert_true(total < batch.offset[MIXED] - 3 * 19);
	arena_destroy(arena);
}

static void
sharing_changes_no_probability(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = cook(arena, MIXED, mixed);
		float all[1024], one[64];
		int at = 0;
		Failure failure = {0};

		assert_ok(model_logprobs(model, &batch, all, &failure), failure);
		for (int s = 0; s < MIXED; s++)
		{
			Batch part = tiny_part(arena, &batch, s);

			assert_ok(model_logprobs(model, &part, one, &failure), failure);
			for (int t = 0; t < batch_targets(&part, 0, 1); t++)
				assert_near(one[t], all[at++], 1e-5);
		}
		arena_destroy(arena);
	}
}

static float *
gradient_of(Arena *arena, Model *model)
{
	int64_t size = model_state_size(model);
	float *grad = arena_alloc(arena, sizeof(float) * (size_t) size);

	model_state_download(model, MODEL_GRADIENTS, 0, size, grad);
	return grad;
}

/* The batch together and one by one, by log-probability and gradient. */
static void
check_gradient(Arena *arena, Model *model, const Batch *batch)
{
	uint64_t key[MIXED] = {11, 22, 33, 44, 55, 66, 77, 88};
	int targets = batch_targets(batch, 0, MIXED);
	int64_t size = model_state_size(model);
	float *shared, *alone;
	int at = 0;
	Seen all, one;

	model_zero_gradients(model);
	accumulate(model, batch, key, &all);
	shared = gradient_of(arena, model);
	model_zero_gradients(model);
	for (int s = 0; s < MIXED; s++)
	{
		Batch part = tiny_part(arena, batch, s);

		if (batch_targets(&part, 0, 1) == 0)
			continue;
		accumulate_from(model, &part, key + s, at, &one);
		at += batch_targets(&part, 0, 1);
	}
	assert_int_equal(at, targets);
	for (int t = 0; t < targets; t++)
		assert_near(all.logp[t], one.logp[t], 2e-5);
	alone = gradient_of(arena, model);
	for (int64_t i = 0; i < size; i++)
		assert_near(shared[i], alone[i], 1e-4 * (1 + fabs((double) alone[i])));
}

static void
sharing_changes_no_gradient(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = cook(arena, MIXED, mixed);
		Failure failure = {0};

		assert_ok(model_make_trainable(model, NULL, &failure), failure);
		check_gradient(arena, model, &batch);
		arena_destroy(arena);
	}
}

/* Equal prompts lose the same numbers, so that it does not matter which of
 * them are in one micro-batch. */
static void
sharing_changes_no_dropout(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		const LoraOptions lora = {.rank = 4, .alpha = 8, .dropout = 0.3};
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = cook(arena, MIXED, mixed);
		float *weights;
		int64_t size;
		Failure failure = {0};

		assert_ok(model_make_trainable(model, &lora, &failure), failure);
		size = model_state_size(model);
		weights = arena_alloc(arena, sizeof(float) * (size_t) size);
		for (int64_t i = 0; i < size; i++)
			weights[i] = (float) (0.2 * random_normal(5, 0, (uint64_t) i));
		model_state_upload(model, MODEL_WEIGHTS, 0, size, weights);
		check_gradient(arena, model, &batch);
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_prompts_are_computed_once),
		cmocka_unit_test(a_common_beginning_is_shared_where_that_saves),
		cmocka_unit_test(orders_give_the_costs_of_parts),
		cmocka_unit_test(sharing_changes_no_probability),
		cmocka_unit_test(sharing_changes_no_gradient),
		cmocka_unit_test(sharing_changes_no_dropout),
	};

	return run_on_cpu(tests);
}
