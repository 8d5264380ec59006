/*
 * prompt_value_test.c
 *		Values come out of the pass that gives log-probabilities, and are what
 *		the hidden states of each prompt alone say.
 */
#include "on_cpu.h"
#include "recipes.h"

#include "base/random.h"
#include "model/lora/lora.h"
#include "model/pair.h"
#include "model/value/value_head.h"

#include <math.h>

#define HIDDEN 24
#define ATTENTION (8 * TINY_CONTEXT)

static const char *const configs[] = {
	TINY_GPT2,    TINY_LLAMA(", \"tie_word_embeddings\": false"),
	TINY_MISTRAL, TINY_QWEN2,
	TINY_QWEN3,   TINY_NEOX(""),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* A head that tells prompts apart. */
static ValueHead *
random_head(Arena *arena)
{
	Failure failure = {0};
	ValueHead *head;

	assert_ok(value_head_create(arena, HIDDEN, -1, 2, 0.5, 3, &head, &failure),
	          failure);
	for (size_t i = 0; i < head->offset[VALUE_TENSORS]; i++)
		head->weights[i] = (float) (0.3 * random_normal(5, 6, i));
	return head;
}

/* What the head says of a prompt whose hidden states are asked for alone. */
static double
value_apart(Model *model, const ValueHead *head, const int32_t *ids, int tokens)
{
	Arena *arena = arena_create();
	ValuePass *pass = value_pass_create(arena, head);
	float attention[ATTENTION];
	int32_t *offset;
	float *hidden;
	Failure failure = {0};
	double value;

	assert_ok(prompt_hidden(model, arena, 1, &ids, &tokens, &hidden, &offset,
	                        &failure),
	          failure);
	value_pass_begin(pass);
	value =
		value_of(head, value_forward(pass, hidden, tokens, NULL, attention));
	arena_destroy(arena);
	return value;
}

/* Values and log-probabilities of the batch; tolerances are for sums of
 * attention in another order, 0 where prompts share nothing. */
static void
check_batch(Arena *arena, Model *model, const Batch *batch, double tolerance)
{
	const ValueHead *head = random_head(arena);
	int targets = batch_targets(batch, 0, batch->sequences);
	float *both = arena_alloc(arena, sizeof(float) * (size_t) targets);
	float *alone = arena_alloc(arena, sizeof(float) * (size_t) targets);
	bool wanted[16];
	double value[16];
	Failure failure = {0};

	for (int s = 0; s < batch->sequences; s++)
	{
		wanted[s] = s != 1;
		value[s] = 77;
	}
	assert_ok(model_score(model, batch, &(PromptValues){head, wanted, value},
	                      both, &failure),
	          failure);
	assert_ok(model_logprobs(model, batch, alone, &failure), failure);
	assert_memory_equal(both, alone, sizeof(float) * (size_t) targets);
	for (int s = 0; s < batch->sequences; s++)
	{
		int start = batch->offset[s];

		assert_near(value[s],
		            wanted[s] ? value_apart(model, head, batch->ids + start,
		                                    batch->target[s] - start)
		                      : 77,
		            tolerance);
	}
}

static void
both_are_what_two_passes_give(void **state)
{
	static const Recipe apart[] = {
		{1, 0, 12, 9}, {1, 0, 25, 4}, {1, 0, 3, 20}, {1, 0, 31, 0}};

	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = cook(arena, 4, apart);

		check_batch(arena, model, &batch, 0);
		model_set_products(model, DTYPE_BF16);
		check_batch(arena, model, &batch, 0);
		arena_destroy(arena);
	}
}

static void
shared_prompts_have_the_values_of_prompts_alone(void **state)
{
	(void) state;
	for (size_t c = 0; c < CONFIGS; c++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[c], 3);
		Batch batch = cook(arena, MIXED, mixed);

		check_batch(arena, model, &batch, 1e-5);
		arena_destroy(arena);
	}
}

static void
equal_prompts_have_one_value(void **state)
{
	static const Recipe pair[] = {{1, 20, 20, 9}, {1, 20, 20, 5}};
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 3);
	Batch batch = cook(arena, 2, pair);
	const bool wanted[2] = {true, true};
	double value[2];
	float logp[14];
	Failure failure = {0};

	(void) state;
	assert_ok(model_score(model, &batch,
	                      &(PromptValues){random_head(arena), wanted, value},
	                      logp, &failure),
	          failure);
	assert_near(value[0], value[1], 0);
	arena_destroy(arena);
}

/* More tokens than fit into one micro-batch. */
static void
parts_give_what_the_whole_gives(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_LLAMA(""), 3);
	const ValueHead *head = random_head(arena);
	Batch batch = tiny_batch(arena, 60);
	float whole[1024], parts[1024];
	double value[60], again[60];
	bool wanted[60];
	Failure failure = {0};

	(void) state;
	for (int s = 0; s < 60; s++)
		wanted[s] = true;
	assert_ok(model_score(model, &batch, &(PromptValues){head, wanted, value},
	                      whole, &failure),
	          failure);
	memory_limit_set(memory_used() + (128 << 10));
	assert_in_range(model_token_budget(model, false), 1, 600);
	assert_ok(model_score(model, &batch, &(PromptValues){head, wanted, again},
	                      parts, &failure),
	          failure);
	memory_limit_set(0);
	for (int t = 0; t < batch_targets(&batch, 0, 60); t++)
		assert_near(parts[t], whole[t], 1e-5);
	for (int s = 0; s < 60; s++)
		assert_near(again[s], value[s], 1e-5);
	arena_destroy(arena);
}

/* Pairs: with a response, with none, with no prompt, and one not wanted. */
static void
a_value_of_another_policy_is_that_policys(void **state)
{
	static const int32_t ids[] = {5, 9, 7, 3, 8, 2, 4, 6};
	static const Pair pairs[] = {{PAIR_WHOLE, ids, 8, 5},
	                             {PAIR_EMPTY_RESPONSE, ids, 4, 4},
	                             {PAIR_EMPTY_PROMPT, NULL, 0, 0},
	                             {PAIR_WHOLE, ids, 6, 2}};
	static const bool wanted[] = {true, true, true, false};
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 3);
	Model *other = tiny_model(arena, device, TINY_GPT2, 4);
	const ValueHead *head = random_head(arena);
	Model *policies[] = {model, other};
	float *expected[4], *logp[4];
	Failure failure = {0};

	(void) state;
	assert_ok(pair_logprobs(model, arena, 4, pairs, expected, &failure),
	          failure);
	for (int p = 0; p < 2; p++)
	{
		double value[4];
		PairValues values = {policies[p], head, wanted, value};

		assert_ok(pair_score(model, arena, 4, pairs, &values, logp, &failure),
		          failure);
		assert_near(value[0], value_apart(policies[p], head, ids, 5), 1e-6);
		assert_near(value[1], value_apart(policies[p], head, ids, 4), 1e-6);
		assert_true(isnan(value[2]) && isnan(value[3]));
		assert_memory_equal(logp[0], expected[0], 3 * sizeof(float));
		assert_null(logp[1]);
		assert_memory_equal(logp[3], expected[3], 4 * sizeof(float));
	}
	arena_destroy(arena);
}

static void
models_of_the_same_files_are_alike_until_one_changes(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 3);
	Model *model = tiny_open(arena, device, directory);
	Model *same = tiny_open(arena, device, directory);
	Model *fewer_bits = tiny_open(arena, device, directory);
	Model *trained = tiny_open(arena, device, directory);
	Failure failure = {0};

	(void) state;
	assert_true(model_is_alike(model, model));
	assert_true(model_is_alike(model, same));
	assert_false(
		model_is_alike(model, tiny_model(arena, device, TINY_LLAMA(""), 3)));
	assert_ok(model_quantize(fewer_bits, DTYPE_NF4, &failure), failure);
	assert_false(model_is_alike(model, fewer_bits));
	assert_ok(model_make_trainable(trained, NULL, &failure), failure);
	assert_false(model_is_alike(model, trained));
	model_set_products(same, DTYPE_BF16);
	assert_false(model_is_alike(model, same));
	tiny_remove(directory);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_are_what_two_passes_give),
		cmocka_unit_test(shared_prompts_have_the_values_of_prompts_alone),
		cmocka_unit_test(equal_prompts_have_one_value),
		cmocka_unit_test(parts_give_what_the_whole_gives),
		cmocka_unit_test(a_value_of_another_policy_is_that_policys),
		cmocka_unit_test(models_of_the_same_files_are_alike_until_one_changes),
	};

	return run_on_cpu(tests);
}
