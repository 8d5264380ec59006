/*
 * pair_test.c
 *		How prompts and responses become tokens: the joint, the cuts, the
 *		refusals.
 */
#include "near.h"

#include "device/device.h"
#include "model/pair.h"

static Device *device;
static Arena *arena;
static Model *model; /* NULL where the golden set is not there */

/* The tiny LLaMA of the golden set: it has a BOS, and a context that both
 * limits and no limits can be tried on. */
static int
open_model(void **state)
{
	char *path = test_golden_path(arena, "training/llama");
	Failure failure = {0};

	(void) state;
	if (!file_exists(path))
		path = test_shared_path(arena, "golden/training/llama");
	if (path == NULL)
		return 0;
	if (model_open(arena, device, path, NULL, &model, &failure))
		return 0;
	printf("%s\n", failure.message);
	return 1;
}

static Pair
encode(const PairLimits *limits, const char *prompt, const char *response)
{
	Pair pair;
	Failure failure = {0};

	assert_ok(pair_encode(model, arena, limits, prompt, strlen(prompt),
	                      response, strlen(response), &pair, &failure),
	          failure);
	return pair;
}

/* count letters, each a token of its own or nearly so. */
static char *
letters(int count)
{
	char *text = arena_alloc(arena, (size_t) count + 1);

	for (int i = 0; i < count; i++)
		text[i] = "zqxjvkwy"[i % 8];
	return text;
}

static void
prompt_response_and_eos(void **state)
{
	const PairLimits limits = pair_no_limits();
	Pair pair;

	(void) state;
	if (model == NULL)
		return;
	pair = encode(&limits, "Hello", " there");
	assert_int_equal(pair.status, PAIR_WHOLE);
	assert_int_equal(pair.ids[0], tokenizer_bos(model_tokenizer(model)));
	assert_int_equal(pair.ids[pair.tokens - 1], model_config(model)->eos);
	assert_true(pair.prompt > 1 && pair.prompt < pair.tokens - 1);
}

static void
an_empty_prompt_is_bos(void **state)
{
	const PairLimits limits = pair_no_limits();
	Pair pair;

	(void) state;
	if (model == NULL)
		return;
	pair = encode(&limits, "", "there");
	assert_int_equal(pair.prompt, 1);
	assert_int_equal(pair.ids[0], model_config(model)->bos);
}

static void
an_empty_response_is_eos_and_says_so(void **state)
{
	const PairLimits limits = pair_no_limits();
	Pair pair;

	(void) state;
	if (model == NULL)
		return;
	pair = encode(&limits, "Hello", "");
	assert_int_equal(pair.status, PAIR_EMPTY_RESPONSE);
	assert_int_equal(pair.tokens, pair.prompt + 1);
}

static void
beyond_the_context_is_refused_with_both_numbers(void **state)
{
	int context;
	const PairLimits limits = pair_no_limits();
	Failure failure;
	char *text;
	Pair pair;

	(void) state;
	if (model == NULL)
		return;
	context = model_config(model)->context;
	text = letters(2 * context);
	assert_fails(pair_encode(model, arena, &limits, text, strlen(text), "x", 1,
	                         &pair, &failure),
	             failure, FAILURE_TOO_LONG, "is longer than");
	assert_non_null(
		strstr(failure.message, arena_printf(arena, "than %d", context)));
}

static void
a_long_prompt_keeps_bos_and_its_end(void **state)
{
	PairLimits limits = {true, 8, 8};
	const PairLimits none = pair_no_limits();
	Pair cut, whole;

	(void) state;
	if (model == NULL)
		return;
	cut = encode(&limits, letters(20), "x");
	whole = encode(&none, letters(20), "x");
	assert_int_equal(cut.prompt, 8);
	assert_int_equal(cut.ids[0], whole.ids[0]);
	assert_memory_equal(cut.ids + 1, whole.ids + whole.prompt - 7,
	                    7 * sizeof(int32_t));
}

static void
a_long_response_keeps_its_beginning_without_eos(void **state)
{
	const PairLimits none = pair_no_limits();
	Pair whole, cut, fits;
	PairLimits limits = {true, 8, 8};

	(void) state;
	if (model == NULL)
		return;
	cut = encode(&limits, "a", letters(20));
	whole = encode(&none, "a", letters(20));
	assert_int_equal(cut.tokens - cut.prompt, 8);
	assert_memory_equal(cut.ids, whole.ids,
	                    (size_t) cut.tokens * sizeof(int32_t));
	assert_true(cut.ids[cut.tokens - 1] != model_config(model)->eos);

	/* With room for EOS and no more it is whole; with one less it is cut. */
	limits.response = whole.tokens - whole.prompt;
	fits = encode(&limits, "a", letters(20));
	assert_int_equal(fits.ids[fits.tokens - 1], model_config(model)->eos);
	limits.response--;
	fits = encode(&limits, "a", letters(20));
	assert_int_equal(fits.tokens, whole.tokens - 1);
	assert_true(fits.ids[fits.tokens - 1] != model_config(model)->eos);
}

static void
limits_share_a_short_context(void **state)
{
	PairLimits limits;
	int context;

	(void) state;
	if (model == NULL)
		return;
	context = model_config(model)->context;
	limits = pair_limits(model, context, context);
	assert_int_equal(limits.response, context / 2);
	assert_int_equal(limits.prompt, context - context / 2);
	limits = pair_limits(model, 10, 20);
	assert_int_equal(limits.prompt, 10);
	assert_int_equal(limits.response, 20);
	limits = pair_limits(model, 2 * context, 10);
	assert_int_equal(limits.response, 10);
	assert_int_equal(limits.prompt, context - 10);
	limits = pair_limits(model, 10, INT32_MAX);
	assert_int_equal(limits.response, context - 10);
}

static void
log_probabilities_are_those_of_each_alone(void **state)
{
	const PairLimits limits = pair_no_limits();
	Failure failure = {0};
	Pair pairs[3];
	float *logp[3];
	float *alone;

	(void) state;
	if (model == NULL)
		return;
	pairs[0] = encode(&limits, "Hello", " there, you");
	pairs[1] = (Pair){.status = PAIR_EMPTY_PROMPT};
	pairs[2] = encode(&limits, "A somewhat longer prompt", " yes");
	assert_ok(pair_logprobs(model, arena, 3, pairs, logp, &failure), failure);
	assert_null(logp[1]);
	for (int i = 0; i < 3; i += 2)
	{
		assert_ok(pair_logprobs(model, arena, 1, &pairs[i], &alone, &failure),
		          failure);
		for (int t = 0; t < pairs[i].tokens - pairs[i].prompt; t++)
			assert_near(logp[i][t], alone[t], 1e-4);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prompt_response_and_eos),
		cmocka_unit_test(an_empty_prompt_is_bos),
		cmocka_unit_test(an_empty_response_is_eos_and_says_so),
		cmocka_unit_test(beyond_the_context_is_refused_with_both_numbers),
		cmocka_unit_test(a_long_prompt_keeps_bos_and_its_end),
		cmocka_unit_test(a_long_response_keeps_its_beginning_without_eos),
		cmocka_unit_test(limits_share_a_short_context),
		cmocka_unit_test(log_probabilities_are_those_of_each_alone),
	};
	Failure failure = {0};
	int failed;

	if (!cpu_device_open(2, &device, &failure))
		return 1;
	arena = arena_create();
	failed = cmocka_run_group_tests(tests, open_model, NULL);
	arena_destroy(arena);
	device->close(device);
	return failed;
}
