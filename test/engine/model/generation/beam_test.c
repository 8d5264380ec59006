/*
 * beam_test.c
 *		Beam search beside what transformers gives: ends, penalties, stop
 *		texts; and company, memory and limits.
 */
#include "on_cpu.h"
#include "responses.h"

#define PROMPTS 30

/* fp32 noise of either side. */
#define TOLERANCE 1e-4

static BeamEnd
end_of(json_t *early_stopping)
{
	if (json_is_string(early_stopping))
		return BEAM_END_NEVER;
	return json_is_true(early_stopping) ? BEAM_END_EARLY : BEAM_END_PATIENT;
}

static GenerateOptions
options_of(Arena *arena, json_t *run)
{
	json_t *stop = json_object_get(run, "stop");
	size_t stops = json_array_size(stop);
	const char **texts = arena_alloc(arena, (stops + 1) * sizeof(char *));

	for (size_t i = 0; i < stops; i++)
		texts[i] = json_string_value(json_array_get(stop, i));
	return (GenerateOptions){
		.max_tokens =
			(int) json_integer_value(json_object_get(run, "max_tokens")),
		.top_p = 1,
		.repetition_penalty =
			json_number_value(json_object_get(run, "repetition_penalty")),
		.num_beams = (int) json_integer_value(json_object_get(run, "beams")),
		.beam_end = end_of(json_object_get(run, "early_stopping")),
		.length_penalty =
			json_number_value(json_object_get(run, "length_penalty")),
		.stops = (int) stops,
		.stop = texts};
}

static void
assert_golden(Arena *arena, const Generation *got, json_t *expected)
{
	TokenList ids = token_list(arena, json_object_get(expected, "ids"));

	assert_int_equal(got->count, ids.count);
	for (int t = 0; t < ids.count; t++)
		assert_int_equal(got->ids[t], ids.ids[t]);
	assert_near(got->score,
	            json_number_value(json_object_get(expected, "score")),
	            TOLERANCE);
	assert_int_equal(got->ended,
	                 json_is_true(json_object_get(expected, "ended")));
}

/* All prompts of each run together. */
static void
check_case(const char *name)
{
	Arena *arena = arena_create();
	char *folder = test_golden_path(arena, "generation");
	json_t *golden =
		test_read_json(arena, folder, arena_printf(arena, "%s.json", name));
	json_t *prompts = json_object_get(golden, "prompts");
	json_t *runs = json_object_get(golden, "runs");
	int count = (int) json_array_size(prompts);
	TokenList *lists = arena_alloc(arena, (size_t) count * sizeof(TokenList));
	Model *model = tiny_open(
		arena, device,
		test_golden_path(arena, arena_printf(arena, "decoders/%s", name)));

	for (int i = 0; i < count; i++)
		lists[i] = token_list(arena, json_array_get(prompts, (size_t) i));
	assert_true(json_array_size(runs) > 0);
	for (size_t r = 0; r < json_array_size(runs); r++)
	{
		json_t *run = json_array_get(runs, r);
		json_t *expected = json_object_get(run, "results");
		GenerateOptions options = options_of(arena, run);
		Generation *results = responses(arena, model, &options, lists, count);

		for (int i = 0; i < count; i++)
			if (!json_is_null(json_array_get(expected, (size_t) i)))
				assert_golden(arena, &results[i],
				              json_array_get(expected, (size_t) i));
	}
	arena_destroy(arena);
}

static void
beams_are_those_of_transformers(void **state)
{
	(void) state;
	check_case("gpt2");
	check_case("llama");
	check_case("llama3");
}

#define PROMPTS 30

static GenerateOptions
five_beams(void)
{
	return (GenerateOptions){.max_tokens = 20,
	                         .top_p = 1,
	                         .repetition_penalty = 1.2,
	                         .num_beams = 5,
	                         .length_penalty = 1};
}

static void
company_and_memory_do_not_change_beams(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_LLAMA(""), 31);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = five_beams();
	Generation *all = responses(arena, model, &options, prompts, PROMPTS);
	Generation *tight;

	(void) state;
	for (int i = 0; i < PROMPTS; i++)
		assert_same_response(responses(arena, model, &options, prompts + i, 1),
		                     &all[i]);
	memory_limit_set(memory_used() + ((uint64_t) 3 << 20));
	tight = responses(arena, model, &options, prompts, PROMPTS);
	memory_limit_set(0);
	for (int i = 0; i < PROMPTS; i++)
		assert_same_response(&tight[i], &all[i]);
	arena_destroy(arena);
}

/* Sum of log-probabilities of the response after the prompt. */
static double
sum_of(Arena *arena, Model *model, const TokenList *prompt,
       const Generation *response)
{
	int tokens = prompt->count + response->count;
	int32_t *ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
	int32_t offset[] = {0, tokens}, target[] = {prompt->count};
	float logp[TINY_CONTEXT];
	Failure failure = {0};
	double sum = 0;

	memcpy(ids, prompt->ids, (size_t) prompt->count * sizeof(int32_t));
	memcpy(ids + prompt->count, response->ids,
	       (size_t) response->count * sizeof(int32_t));
	assert_ok(model_logprobs(model, &(Batch){1, offset, target, ids, NULL},
	                         logp, &failure),
	          failure);
	for (int t = 0; t < response->count; t++)
		sum += logp[t];
	return sum;
}

static void
the_score_is_what_the_model_gives_the_response(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 32);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = five_beams();
	Generation *results;

	(void) state;
	options.repetition_penalty = 1;
	results = responses(arena, model, &options, prompts, PROMPTS);
	for (int i = 0; i < PROMPTS; i++)
		assert_near(sum_of(arena, model, &prompts[i], &results[i]),
		            (double) results[i].score * results[i].count, 1e-3);
	arena_destroy(arena);
}

static void
beams_end_at_the_context(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_LLAMA(""), 33);
	int32_t ids[TINY_CONTEXT] = {0};
	TokenList prompts[] = {{ids, TINY_CONTEXT - 2, TINY_CONTEXT},
	                       {ids, TINY_CONTEXT - 1, TINY_CONTEXT}};
	GenerateOptions options = five_beams();
	Generation *results = responses(arena, model, &options, prompts, 2);

	(void) state;
	assert_true(results[0].ended || results[0].count == 2);
	assert_int_equal(results[1].count, 1);
	arena_destroy(arena);
}

static void
more_beams_than_tokens_are_searched(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 34);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = five_beams();
	Generation *results;

	(void) state;
	options.num_beams = BEAMS_MAX;
	options.max_tokens = 3;
	results = responses(arena, model, &options, prompts, 2);
	assert_true(results[0].count > 0 && results[1].count > 0);
	arena_destroy(arena);
}

static void
a_response_ends_before_a_stop_text(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 35);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	const char *const stops[] = {"a", "e", "1"};
	GenerateOptions options = five_beams();
	Generation *results;
	int ended = 0;

	(void) state;
	options.stops = 3;
	options.stop = stops;
	results = responses(arena, model, &options, prompts, PROMPTS);
	for (int i = 0; i < PROMPTS; i++)
	{
		assert_null(strpbrk(results[i].text, "ae1"));
		ended += results[i].ended;
	}
	assert_true(ended > 0);
	arena_destroy(arena);
}

static void
beams_do_not_go_with_temperature(void **state)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, TINY_GPT2, 36);
	TokenList *prompts = tiny_prompts(arena, PROMPTS);
	GenerateOptions options = five_beams();
	Generation result;
	Failure failure;

	(void) state;
	options.temperature = 0.5;
	assert_fails(generate(model, arena, &options, 1, prompts, &result, NULL,
	                      NULL, &failure),
	             failure, FAILURE_BAD_INPUT,
	             "num_beams 5 does not go with temperature 0.5");
	options.temperature = 0;
	options.num_beams = BEAMS_MAX + 1;
	assert_fails(generate(model, arena, &options, 1, prompts, &result, NULL,
	                      NULL, &failure),
	             failure, FAILURE_BAD_INPUT, "at most 128, not 129");
	arena_destroy(arena);
}

static void
the_files_say_when_a_search_ends(void **state)
{
	static const struct
	{
		const char *file;
		BeamEnd end;
		double penalty;
	} cases[] = {
		{"{}", BEAM_END_PATIENT, 1},
		{"{\"early_stopping\": true}", BEAM_END_EARLY, 1},
		{"{\"early_stopping\": null, \"length_penalty\": 0.5}",
	     BEAM_END_PATIENT, 0.5},
		{"{\"early_stopping\": \"never\", \"length_penalty\": -1}",
	     BEAM_END_NEVER, -1},
	};
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_GPT2, 37);

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		GenerateOptions options = {0};

		test_write(arena, directory, "generation_config.json", cases[i].file,
		           strlen(cases[i].file));
		generate_set_beams(&options, tiny_open(arena, device, directory), 4);
		assert_int_equal(options.num_beams, 4);
		assert_int_equal(options.beam_end, cases[i].end);
		assert_true(options.length_penalty == cases[i].penalty);
	}
	tiny_remove(directory);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beams_are_those_of_transformers),
		cmocka_unit_test(company_and_memory_do_not_change_beams),
		cmocka_unit_test(the_score_is_what_the_model_gives_the_response),
		cmocka_unit_test(beams_end_at_the_context),
		cmocka_unit_test(more_beams_than_tokens_are_searched),
		cmocka_unit_test(a_response_ends_before_a_stop_text),
		cmocka_unit_test(beams_do_not_go_with_temperature),
		cmocka_unit_test(the_files_say_when_a_search_ends),
	};

	return run_on_cpu(tests);
}
