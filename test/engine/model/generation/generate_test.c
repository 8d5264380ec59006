/*
 * generate_test.c
 *		What generation promises beside the golden values: company, limits,
 *		stop texts, penalties and chance.
 */
#include "on_cpu.h"
#include "responses.h"

#include "base/random.h"
#include "model/generation/sample.h"

#define PROMPTS 40
#define DRAWS 20000

/* Together, and each alone with the random numbers of its place. */
static void
check_company(Model *model, GenerateOptions options)
{
	Arena *arena = arena_create();
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	Generation *all = responses(arena, model, &options, prompts, PROMPTS);

	for (int i = 0; i < PROMPTS; i++)
	{
		options.first_stream = (uint64_t) i;
		assert_same_response(responses(arena, model, &options, prompts + i, 1),
		                     &all[i]);
	}
	arena_destroy(arena);
}

static void
company_does_not_change_responses(void **state)
{
	static const char *const configs[] = {TINY_GPT2,    TINY_LLAMA(""),
	                                      TINY_MISTRAL, TINY_QWEN2,
	                                      TINY_QWEN3,   TINY_NEOX("")};
	GenerateOptions greedy = {
		.max_tokens = 24, .top_p = 1, .repetition_penalty = 1};
	GenerateOptions drawn = {.max_tokens = 24,
	                         .temperature = 0.9,
	                         .top_p = 0.95,
	                         .top_k = 30,
	                         .repetition_penalty = 1.1,
	                         .seed = 77};

	(void) state;
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i], 21);

		check_company(model, greedy);
		check_company(model, drawn);
		arena_destroy(arena);
	}
}

/* The directory's model with weights of Q8_0, as a file has them. */
static Model *
quantised(Arena *arena, const char *directory)
{
	char *path = arena_printf(arena, "%s/model.gguf", directory);
	Failure failure = {0};
	Model *model;

	assert_ok(model_save_gguf(tiny_open(arena, device, directory), DTYPE_Q8_0,
	                          "q8_0", path, &failure),
	          failure);
	model = tiny_open(arena, device, path);
	unlink(path);
	return model;
}

/* In 16 bits, too, by weights of either kind. */
static void
roundings_do_not_depend_on_company(void **state)
{
	GenerateOptions greedy = {
		.max_tokens = 24, .top_p = 1, .repetition_penalty = 1};
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_WIDE, 21);
	Model *plain = tiny_open(arena, device, directory);
	Model *small = quantised(arena, directory);

	(void) state;
	tiny_remove(directory);
	model_set_products(plain, DTYPE_BF16);
	check_company(plain, greedy);
	model_set_products(small, DTYPE_BF16);
	check_company(small, greedy);
	arena_destroy(arena);
}

static void
memory_for_one_slot_gives_the_same_responses(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 21);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = {.max_tokens = 24,
	                           .temperature = 1,
	                           .top_p = 1,
	                           .repetition_penalty = 1,
	                           .seed = 3};
	Generation *roomy = responses(arena, model, &options, prompts, PROMPTS);
	Generation *tight;

	(void) state;
	memory_limit_set(memory_used() + ((uint64_t) 2 << 20));
	tight = responses(arena, model, &options, prompts, PROMPTS);
	memory_limit_set(0);
	for (int i = 0; i < PROMPTS; i++)
		assert_same_response(&roomy[i], &tight[i]);
	arena_destroy(arena);
}

static void
responses_end_at_the_limit_and_at_the_context(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_LLAMA(""), 22);
	int32_t ids[TINY_CONTEXT] = {0};
	TokenList prompts[] = {{ids, 3, 3},
	                       {ids, TINY_CONTEXT - 2, TINY_CONTEXT},
	                       {ids, TINY_CONTEXT - 1, TINY_CONTEXT}};
	TokenList full = {ids, TINY_CONTEXT, TINY_CONTEXT};
	GenerateOptions options = {
		.max_tokens = 5, .top_p = 1, .repetition_penalty = 1};
	Failure failure = {0};
	Generation *results;

	(void) state;
	for (int t = 0; t < TINY_CONTEXT; t++)
		ids[t] = t * 3;
	results = responses(arena, model, &options, prompts, 3);
	assert_int_equal(results[0].count, 5);
	assert_int_equal(results[1].count, 2);
	assert_int_equal(results[2].count, 1);
	for (int i = 0; i < 3; i++)
		assert_false(results[i].ended);
	options.max_tokens = INT32_MAX;
	results = responses(arena, model, &options, prompts, 1);
	assert_true(results[0].ended || results[0].count == TINY_CONTEXT - 3);
	assert_fails(generate(model, arena, &options, 1, &full, results, NULL, NULL,
	                      &failure),
	             failure, FAILURE_TOO_LONG, "prompt of 64 tokens");
	assert_true(generate(model, arena, &options, 0, NULL, results, NULL, NULL,
	                     &failure));
	arena_destroy(arena);
}

/* Two neighbours in text that are plain ASCII, from `from` on; or NULL. */
static const char *
two_letters(const char *text, size_t length, size_t from)
{
	for (size_t i = from; i + 1 < length; i++)
		if (text[i] > ' ' && text[i] < 127 && text[i + 1] > ' ' &&
		    text[i + 1] < 127)
			return text + i;
	return NULL;
}

static void
responses_end_before_the_first_stop_text(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 23);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = {.max_tokens = 40,
	                           .temperature = 1,
	                           .top_p = 1,
	                           .repetition_penalty = 1,
	                           .seed = 9};
	Generation *whole = responses(arena, model, &options, prompts, PROMPTS);
	int checked = 0;

	(void) state;
	for (int i = 0; i < PROMPTS; i++)
	{
		const char *at = two_letters(whole[i].text, whole[i].length, 3);
		char stop[3] = "";
		/* The longer one never comes, and must not hide the other. */
		const char *const stops[] = {"\x01 no such text \x02", stop};
		GenerateOptions stopping = options;
		Generation *cut;

		if (at == NULL)
			continue;
		memcpy(stop, at, 2);
		at = memmem(whole[i].text, whole[i].length, stop, 2);
		stopping.stops = 2;
		stopping.stop = stops;
		stopping.first_stream = (uint64_t) i;
		cut = responses(arena, model, &stopping, prompts + i, 1);
		assert_true(cut->ended);
		assert_int_equal(cut->length, at - whole[i].text);
		assert_memory_equal(cut->text, whole[i].text, cut->length);
		assert_true(cut->count <= whole[i].count);
		checked++;
	}
	assert_true(checked > 5);
	arena_destroy(arena);
}

static void
a_stop_text_that_never_comes_changes_nothing(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 23);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	const char *const stops[] = {"\x01 no such text \x02"};
	GenerateOptions options = {.max_tokens = 40,
	                           .temperature = 1,
	                           .top_p = 1,
	                           .repetition_penalty = 1,
	                           .seed = 9};
	Generation *plain = responses(arena, model, &options, prompts, PROMPTS);
	Generation *stopping;

	(void) state;
	options.stops = 1;
	options.stop = stops;
	stopping = responses(arena, model, &options, prompts, PROMPTS);
	for (int i = 0; i < PROMPTS; i++)
		assert_same_response(&plain[i], &stopping[i]);
	arena_destroy(arena);
}

static void
a_large_penalty_never_repeats_a_token(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_LLAMA(""), 24);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = {
		.max_tokens = 30, .top_p = 1, .repetition_penalty = 1e6};
	Generation *results = responses(arena, model, &options, prompts, PROMPTS);

	(void) state;
	for (int i = 0; i < PROMPTS; i++)
	{
		bool seen[TINY_VOCABULARY] = {false};

		for (int t = 0; t < prompts[i].count; t++)
			seen[prompts[i].ids[t]] = true;
		for (int t = 0; t < results[i].count; t++)
		{
			assert_false(seen[results[i].ids[t]]);
			seen[results[i].ids[t]] = true;
		}
	}
	arena_destroy(arena);
}

static int
compare_falling(const void *a, const void *b)
{
	float x = *(const float *) a, y = *(const float *) b;

	return (x < y) - (x > y);
}

static void
top_k_keeps_the_largest_and_their_equals(void **state)
{
	enum
	{
		COUNT = 997
	};
	static const int cuts[] = {1, 2, 7, 50, 500, COUNT - 1, COUNT, 5000};
	float logits[COUNT], sorted[COUNT];
	int32_t ids[COUNT];
	double probability[COUNT];

	(void) state;
	/* A third of them has an equal. */
	for (int i = 0; i < COUNT; i++)
		logits[i] = (float) (random_bits(8, 0, (uint64_t) i) % 1500) / 300;
	memcpy(sorted, logits, sizeof(logits));
	qsort(sorted, COUNT, sizeof(float), compare_falling);
	for (size_t c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++)
	{
		GenerateOptions options = {
			.temperature = 1, .top_p = 1, .top_k = cuts[c]};
		int k = cuts[c] < COUNT ? cuts[c] : COUNT;
		int count =
			sample_candidates(logits, COUNT, &options, ids, probability);
		double sum = 0;
		int expected = k;

		while (expected < COUNT && sorted[expected] == sorted[k - 1])
			expected++;
		assert_int_equal(count, expected);
		for (int i = 0; i < count; i++)
		{
			assert_true(logits[ids[i]] == sorted[i]);
			sum += probability[i];
		}
		assert_near(sum, 1, 1e-12);
	}
}

/* sum (observed - expected)^2 / expected */
static double
chi_square(const int *observed, const double *probability, int count, int draws)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
	{
		double expected = probability[i] * draws;

		sum += (observed[i] - expected) * (observed[i] - expected) / expected;
	}
	return sum;
}

static void
tokens_are_as_frequent_as_they_are_probable(void **state)
{
	const float logits[] = {1.5f, -0.5f, 0, 2, 0.3f, -1, 0.9f, 0.1f};
	const GenerateOptions cuts[] = {
		{.temperature = 1, .top_p = 1},
		{.temperature = 0.7, .top_p = 1, .top_k = 5},
		{.temperature = 1.3, .top_p = 0.8},
	};

	(void) state;
	for (uint64_t c = 0; c < 3; c++)
	{
		int32_t ids[8], drawn_ids[8];
		double probability[8], drawn[8], by_id[8] = {0};
		SampleScratch scratch = {drawn_ids, drawn};
		int seen[8] = {0}, observed[8] = {0};
		int count = sample_candidates(logits, 8, &cuts[c], ids, probability);

		assert_int_equal(count, c == 0 ? 8 : 5);
		for (uint64_t i = 0; i < DRAWS; i++)
			seen[sample_token(logits, 8, &cuts[c], random_uniform(31, c, i),
			                  &scratch)]++;
		for (int i = 0; i < count; i++)
		{
			observed[i] = seen[ids[i]];
			by_id[ids[i]] = probability[i];
		}
		for (int i = 0; i < 8; i++)
			assert_true(by_id[i] > 0 || seen[i] == 0);
		/* One seed in a thousand fails with 7 degrees of freedom. */
		assert_true(chi_square(observed, probability, count, DRAWS) < 24.3);
	}
}

static void
prompts_of_a_batch_draw_from_streams_of_their_own(void **state)
{
	enum
	{
		COPIES = 3000
	};
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 25);
	int32_t ids[] = {5, 6, 7};
	TokenList *prompts = arena_alloc(arena, COPIES * sizeof(TokenList));
	GenerateOptions options = {.max_tokens = 1,
	                           .temperature = 1,
	                           .top_p = 1,
	                           .top_k = 6,
	                           .repetition_penalty = 1,
	                           .seed = 4};
	int32_t offset[] = {0, 3}, target[] = {3};
	Batch batch = {1, offset, target, ids, NULL};
	float logits[TINY_VOCABULARY];
	int32_t likely[TINY_VOCABULARY];
	double probability[TINY_VOCABULARY];
	int observed[6] = {0};
	Failure failure = {0};
	Generation *results;

	(void) state;
	for (int i = 0; i < COPIES; i++)
		prompts[i] = (TokenList){ids, 3, 3};
	results = responses(arena, model, &options, prompts, COPIES);
	assert_ok(model_last_logits(model, &batch, logits, &failure), failure);
	assert_int_equal(sample_candidates(logits, TINY_VOCABULARY, &options,
	                                   likely, probability),
	                 6);
	for (int i = 0; i < COPIES; i++)
		for (int k = 0; k < 6; k++)
			observed[k] += results[i].ids[0] == likely[k];
	/* One seed in a thousand fails with 5 degrees of freedom. */
	assert_true(chi_square(observed, probability, 6, COPIES) < 20.5);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(company_does_not_change_responses),
		cmocka_unit_test(roundings_do_not_depend_on_company),
		cmocka_unit_test(memory_for_one_slot_gives_the_same_responses),
		cmocka_unit_test(responses_end_at_the_limit_and_at_the_context),
		cmocka_unit_test(responses_end_before_the_first_stop_text),
		cmocka_unit_test(a_stop_text_that_never_comes_changes_nothing),
		cmocka_unit_test(a_large_penalty_never_repeats_a_token),
		cmocka_unit_test(top_k_keeps_the_largest_and_their_equals),
		cmocka_unit_test(tokens_are_as_frequent_as_they_are_probable),
		cmocka_unit_test(prompts_of_a_batch_draw_from_streams_of_their_own),
	};

	return run_on_cpu(tests);
}
