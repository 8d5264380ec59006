/*
 * room_test.c
 *		Where memory is short, training goes by parts and comes to the same; and
 *		says what it lacks where there is no room for one sequence.
 */
#include "recipes.h"
#include "on_cpu.h"

#include "weighted_sum.h"

#include "model/lora/lora.h"

/* What is trained: a model of this configuration. */
typedef struct Case
{
	const char *config;
	double dropout; /* of an adapter's; -1: all weights */
	bool is_valued;
	bool is_classifier;
} Case;

static const Case cases[] = {
	{TINY_GPT2, -1, false, false},
	{TINY_MISTRAL, 0.3, false, false},
	{TINY_LLAMA(""), -1, true, false},
	{TINY_ENCODER("bert", TINY_CLASSES("Bert")), -1, false, true},
	{TINY_LLAMA(TINY_CLASSES("Llama")), 0.3, false, true},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static Model *
open_case(Arena *arena, const Case *c)
{
	const LoraOptions lora = {.rank = 4, .alpha = 8, .dropout = c->dropout};
	Model *model = tiny_model(arena, device, c->config, 3);
	Failure failure = {0};

	if (c->is_valued)
		model_add_values(model);
	assert_ok(
		model_make_trainable(model, c->dropout < 0 ? NULL : &lora, &failure),
		failure);
	return model;
}

/* Of a classifier, as TINY_CLASSES() names them. */
#define LABELS 3

/* Sequences of a group. */
#define GROUP 4

/* What came of a batch. */
typedef struct Result
{
	double loss;
	float *grad; /* of the model */
} Result;

/* The square of a weighted sum: every gradient hangs on every output. */
static void
square(Result *result, const float *x, float *grad, int count)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += (double) coefficient(i) * (double) x[i] / 16;
	for (int i = 0; i < count; i++)
		grad[i] = (float) (coefficient(i) * sum / 8);
	result->loss += sum * sum;
}

static int
targets_of(int first, int count)
{
	int targets = 0;

	for (int s = first; s < first + count; s++)
		targets += mixed[s].response;
	return targets;
}

/* Groups come whole, some or one at a time. */
static bool
of_logprobs(void *argument, int first, int count, const float *logp,
            float *grad, Failure *failure)
{
	int at = 0;

	(void) failure;
	assert_true(first % GROUP == 0 && count % GROUP == 0);
	for (int s = first; s < first + count; s += GROUP)
	{
		square(argument, logp + at, grad + at, targets_of(s, GROUP));
		at += targets_of(s, GROUP);
	}
	return true;
}

static bool
of_values(void *argument, int first, int count, const float *logp,
          const float *value, float *dlogp, float *dvalue, Failure *failure)
{
	return of_logprobs(argument, first, count, logp, dlogp, failure) &&
	       of_logprobs(argument, first, count, value, dvalue, failure);
}

static bool
of_logits(void *argument, int sequences, const float *logits, float *grad,
          Failure *failure)
{
	(void) failure;
	assert_int_equal(sequences, 2 * GROUP);
	square(argument, logits, grad, LABELS * sequences);
	return true;
}

/* The gradient of two groups of four sequences, in passes of at most so many
 * bytes. */
static bool
run(Arena *arena, Model *model, const Case *c, uint64_t bytes, Result *result,
    Failure *failure)
{
	static const int32_t groups[] = {0, GROUP, 2 * GROUP};
	static const uint64_t key[MIXED] = {1, 2, 3, 4, 5, 6, 7, 8};
	const DropoutKeys keys = {9, key};
	Batch batch = cook(arena, MIXED, mixed);
	int64_t size = model_state_size(model);
	bool done;

	*result =
		(Result){.grad = arena_alloc(arena, sizeof(float) * (size_t) size)};
	model_limit_passes(model, bytes);
	model_zero_gradients(model);
	if (c->is_classifier)
		done = model_classify_accumulate(model, &batch, &keys, of_logits,
		                                 result, failure);
	else if (c->is_valued)
		done = model_accumulate_valued(model, &batch, 2, groups, &keys,
		                               of_values, result, failure);
	else
		done = model_accumulate(model, &batch, 2, groups, &keys, of_logprobs,
		                        result, failure);
	model_state_download(model, MODEL_GRADIENTS, 0, size, result->grad);
	return done;
}

static void
parts_come_to_the_same(void **state)
{
	(void) state;
	for (size_t i = 0; i < CASES; i++)
	{
		const Case *c = &cases[i];
		Arena *arena = arena_create();
		Model *model = open_case(arena, c);
		Failure failure = {0};
		Result whole, parts;
		int done = 0;

		assert_ok(run(arena, model, c, 0, &whole, &failure), failure);
		/* From room for everything down to room for hardly a sequence. */
		for (uint64_t bytes = 8 << 20;
		     run(arena, model, c, bytes, &parts, &failure);
		     bytes = bytes / 8 * 7)
		{
			assert_near(parts.loss, whole.loss, 1e-4 * (1 + whole.loss));
			for (int64_t j = 0; j < model_state_size(model); j++)
				assert_near(parts.grad[j], whole.grad[j],
				            1e-4 * (1 + fabs((double) whole.grad[j])));
			done++;
		}
		assert_int_equal(failure.code, FAILURE_OUT_OF_MEMORY);
		assert_true(done > 10);
		arena_destroy(arena);
	}
}

/* How much memory a limit allows, and not how much there happens to be. */
static void
a_step_keeps_to_its_limit(void **state)
{
	const Case *c = &cases[0];
	Arena *arena = arena_create();
	Model *model = open_case(arena, c);
	Failure failure = {0};
	Result whole, parts;
	uint64_t used, most;

	(void) state;
	used = memory_used();
	assert_ok(run(arena, model, c, 0, &whole, &failure), failure);
	most = memory_used() - used;
	model_rest(model);
	arena_destroy(arena);
	arena = arena_create();
	model = open_case(arena, c);
	used = memory_used();
	assert_ok(run(arena, model, c, most / 3, &parts, &failure), failure);
	assert_true(memory_used() - used < most / 2);
	arena_destroy(arena);
}

static void
a_sequence_without_room_is_refused_with_both_numbers(void **state)
{
	(void) state;
	for (size_t i = 0; i < CASES; i++)
	{
		Arena *arena = arena_create();
		Model *model = open_case(arena, &cases[i]);
		Failure failure = {0};
		Result result;
		int tokens, needed, there;

		assert_false(run(arena, model, &cases[i], 1, &result, &failure));
		assert_int_equal(failure.code, FAILURE_OUT_OF_MEMORY);
		assert_int_equal(
			sscanf(failure.message,
		           "training on a text of %d tokens needs %d MiB besides the "
		           "model, there are %d MiB",
		           &tokens, &needed, &there),
			3);
		assert_true(tokens > 0 && needed > 0);
		assert_int_equal(there, 0);
		assert_non_null(strstr(failure.hint, "alol.memory_limit"));
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_come_to_the_same),
		cmocka_unit_test(a_step_keeps_to_its_limit),
		cmocka_unit_test(a_sequence_without_room_is_refused_with_both_numbers),
	};

	return run_on_cpu(tests);
}
