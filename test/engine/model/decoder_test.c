/*
 * decoder_test.c
 *		Every decoder of the golden sets, opened from its files: logits,
 *		log-probabilities, hidden states, generations, sampling.
 */
#include "on_cpu.h"
#include "responses.h"

/* fp32 noise of either side, see the golden set's README. */
#define TOLERANCE 1e-4

static const char *const cases[] = {
	"gpt2",       "gpt2_hub", "llama",        "llama3",
	"llama_bf16", "smollm2",  "mistral",      "qwen2",
	"qwen3",      "gpt_neox", "gpt_neox_hub", "gpt_neox_serial"};

/* The largest error of a case, by kind, is what a release note quotes. */
typedef struct Errors
{
	double logprob;
	double logits;
	double hidden;
} Errors;

/* The pair as a batch of one sequence. */
static Batch
batch_of(Arena *arena, json_t *pair)
{
	TokenList prompt = token_list(arena, json_object_get(pair, "prompt_ids"));
	TokenList response =
		token_list(arena, json_object_get(pair, "response_ids"));
	int tokens = prompt.count + response.count;
	int32_t *ids = arena_alloc(arena, sizeof(int32_t) * (size_t) tokens);
	int32_t *offset = arena_alloc(arena, 2 * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, sizeof(int32_t));

	memcpy(ids, prompt.ids, sizeof(int32_t) * (size_t) prompt.count);
	memcpy(ids + prompt.count, response.ids,
	       sizeof(int32_t) * (size_t) response.count);
	offset[1] = tokens;
	target[0] = prompt.count;
	return (Batch){1, offset, target, ids, NULL};
}

static void
compare_array(const char *what, const float *got, json_t *expected,
              double *largest)
{
	for (size_t i = 0; i < json_array_size(expected); i++)
	{
		double number = json_number_value(json_array_get(expected, i));

		if (!(fabs(got[i] - number) <= TOLERANCE))
			fail_msg("%s[%zu] is %.9g, not %.9g", what, i, got[i], number);
		*largest = fmax(*largest, fabs(got[i] - number));
	}
}

/* Texts to ids, with the model's own tokenizer. */
static void
check_encoding(Arena *arena, Model *model, json_t *pair)
{
	TokenList expected =
		token_list(arena, json_object_get(pair, "response_ids"));
	TokenList got = {0};
	Failure failure;
	json_t *response = json_object_get(pair, "response");

	assert_ok(tokenizer_continue(model_tokenizer(model), arena,
	                             json_string_value(response),
	                             json_string_length(response), &got, &failure),
	          failure);
	assert_int_equal(got.count + 1, expected.count);
	for (int i = 0; i < got.count; i++)
		assert_int_equal(got.ids[i], expected.ids[i]);
	assert_int_equal(model_config(model)->eos, expected.ids[got.count]);
}

static void
check_pair(Arena *arena, Model *model, json_t *pair, Errors *errors)
{
	Batch batch = batch_of(arena, pair);
	Batch prompt = batch;
	int32_t ends[2] = {0, batch.target[0]};
	const ModelConfig *config = model_config(model);
	float *logp = arena_alloc(arena, sizeof(float) * (size_t) batch.offset[1]);
	float *logits =
		arena_alloc(arena, sizeof(float) * (size_t) config->vocabulary);
	float *hidden = arena_alloc(arena, sizeof(float) * (size_t) ends[1] *
	                                       (size_t) config->hidden);
	Failure failure;

	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	compare_array("logprobs", logp, json_object_get(pair, "logprobs"),
	              &errors->logprob);
	prompt.offset = ends;
	assert_ok(model_last_logits(model, &prompt, logits, &failure), failure);
	compare_array("logits", logits, json_object_get(pair, "last_prompt_logits"),
	              &errors->logits);
	assert_ok(model_hidden(model, &prompt, hidden, &failure), failure);
	compare_array("hidden", hidden + (ends[1] - 1) * config->hidden,
	              json_object_get(pair, "last_prompt_hidden"), &errors->hidden);
}

/* After temperature 0.7, top_k 20, top_p 0.9. */
static void
check_sampling(Arena *arena, Model *model, json_t *pair)
{
	json_t *sampling = json_object_get(pair, "sampling");
	GenerateOptions options = {.temperature = 0.7, .top_k = 20, .top_p = 0.9};
	size_t vocabulary = (size_t) model_config(model)->vocabulary;
	Batch batch = batch_of(arena, pair);
	int32_t ends[2] = {0, batch.target[0]};
	float *logits = arena_alloc(arena, sizeof(float) * vocabulary);
	int32_t *ids = arena_alloc(arena, sizeof(int32_t) * vocabulary);
	double *probabilities = arena_alloc(arena, sizeof(double) * vocabulary);
	Failure failure;
	TokenList expected;
	int count;

	if (!json_is_object(sampling))
		return;
	expected = token_list(arena, json_object_get(sampling, "ids"));
	batch.offset = ends;
	assert_ok(model_last_logits(model, &batch, logits, &failure), failure);
	count = sample_candidates(logits, (int) vocabulary, &options, ids,
	                          probabilities);
	assert_int_equal(count, expected.count);
	for (int i = 0; i < count; i++)
	{
		assert_int_equal(ids[i], expected.ids[i]);
		assert_near(
			probabilities[i],
			json_number_value(json_array_get(
				json_object_get(sampling, "probabilities"), (size_t) i)),
			TOLERANCE);
	}
}

/* How the golden generations were made. */
typedef struct Mode
{
	const char *name;
	double penalty;
	int beams;
	BeamEnd end;
} Mode;

static const Mode modes[] = {
	{"greedy", 1, 1, BEAM_END_PATIENT},
	{"greedy_penalty", 2.5, 1, BEAM_END_PATIENT},
	{"beam2", 1, 2, BEAM_END_EARLY},
	{"beam2_penalty", 2.5, 2, BEAM_END_EARLY},
	{"beam3_patient", 1, 3, BEAM_END_PATIENT},
};

/* The reference is decoded as a text of its own, which some tokenizers begin
 * without the space that a continuation has. */
static void
assert_continues(const char *got, const char *expected)
{
	assert_string_equal(got + (got[0] == ' ' && expected[0] != ' '), expected);
}

static void
check_generation(Arena *arena, Model *model, json_t *prompts, const Mode *mode)
{
	int count = (int) json_array_size(prompts);
	GenerateOptions options = {.max_tokens = 24,
	                           .top_p = 1,
	                           .repetition_penalty = mode->penalty,
	                           .num_beams = mode->beams,
	                           .beam_end = mode->end,
	                           .length_penalty = 1};
	TokenList *lists =
		arena_alloc(arena, sizeof(TokenList) * (size_t) count + 1);
	Generation *results =
		arena_alloc(arena, sizeof(Generation) * (size_t) count + 1);
	Failure failure;

	for (int i = 0; i < count; i++)
		lists[i] = token_list(
			arena,
			json_object_get(json_array_get(prompts, (size_t) i), "prompt_ids"));
	assert_ok(generate(model, arena, &options, count, lists, results, NULL,
	                   NULL, &failure),
	          failure);
	for (int i = 0; i < count; i++)
	{
		json_t *expected = json_object_get(
			json_object_get(json_array_get(prompts, (size_t) i), "results"),
			mode->name);
		TokenList ids = token_list(arena, json_object_get(expected, "ids"));
		json_t *score = json_object_get(expected, "score");
		json_t *text = json_object_get(expected, "text");

		if (expected == NULL)
			continue;
		/* A zero byte comes out as U+FFFD. */
		if (text != NULL &&
		    strlen(json_string_value(text)) == json_string_length(text))
			assert_continues(results[i].text, json_string_value(text));
		if (score != NULL)
			assert_near(results[i].score, json_number_value(score), TOLERANCE);
		assert_int_equal(results[i].count, ids.count);
		for (int t = 0; t < ids.count; t++)
			assert_int_equal(results[i].ids[t], ids.ids[t]);
		assert_int_equal(results[i].ended,
		                 json_is_true(json_object_get(expected, "ended")));
	}
}

static void
check_case(Arena *arena, const char *directory)
{
	json_t *golden = test_read_json(arena, directory, "golden.json");
	json_t *pairs = json_object_get(golden, "pairs");
	json_t *prompts = json_object_get(golden, "generation");
	Errors errors = {0};
	Failure failure;
	Model *model;

	assert_ok(model_open(arena, device, directory, NULL, &model, &failure),
	          failure);
	for (size_t i = 0; i < json_array_size(pairs); i++)
	{
		check_pair(arena, model, json_array_get(pairs, i), &errors);
		check_encoding(arena, model, json_array_get(pairs, i));
		check_sampling(arena, model, json_array_get(pairs, i));
	}
	print_message("largest errors: logprob %.1e, logits %.1e, hidden %.1e\n",
	              errors.logprob, errors.logits, errors.hidden);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		check_generation(arena, model, prompts, &modes[i]);
}

static void
check_set(const char *root)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Arena *arena = arena_create();
		char *directory = arena_printf(arena, "%s/decoders/%s", root, cases[i]);

		if (file_exists(directory))
		{
			print_message("%s\n", cases[i]);
			check_case(arena, directory);
		}
		arena_destroy(arena);
	}
}

static void
own_models_give_the_golden_numbers(void **state)
{
	(void) state;
	test_own_set(check_set);
}

static void
shared_models_give_the_golden_numbers(void **state)
{
	(void) state;
	test_shared_set(check_set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_models_give_the_golden_numbers),
		cmocka_unit_test(shared_models_give_the_golden_numbers),
	};

	return run_on_cpu(tests);
}
