/*
 * precision_test.c
 *		Products of 16 bits stay near those of fp32, response by response, and
 *		training begins where its reference is.
 *
 * ALOL_SMOLLM2 may name SmolLM2-135M-Instruct, a directory or a GGUF file, on
 * which responses of HHA are compared, too; the numbers are printed.
 */
#include "on_cpu.h"
#include "recipes.h"
#include "responses.h"
#include "weighted_sum.h"

#include "model/layers.h"
#include "model/lora/lora.h"
#include "model/pair.h"

#define HHA_ROWS 64

/* logp summed by sequence. */
static void
sum_responses(Model *model, const Batch *batch, DType products, double *sum)
{
	int targets = batch_targets(batch, 0, batch->sequences);
	float *logp = malloc(sizeof(float) * (size_t) (targets + 1));
	const float *at = logp;
	Failure failure = {0};

	model_set_products(model, products);
	assert_ok(model_logprobs(model, batch, logp, &failure), failure);
	for (int s = 0; s < batch->sequences; s++)
	{
		sum[s] = 0;
		for (int t = 0; t < batch_targets(batch, s, 1); t++)
			sum[s] += (double) *at++;
	}
	free(logp);
}

/* Every response within `most` of fp32, and not the same. */
static void
check_responses(const char *name, Model *model, const Batch *batch, double most)
{
	double exact[HHA_ROWS], rough[HHA_ROWS];
	double furthest = 0, squares = 0;

	assert_true(batch->sequences <= HHA_ROWS);
	sum_responses(model, batch, DTYPE_F32, exact);
	sum_responses(model, batch, DTYPE_BF16, rough);
	for (int s = 0; s < batch->sequences; s++)
	{
		furthest = fmax(furthest, fabs(rough[s] - exact[s]));
		squares += pow(rough[s] - exact[s], 2);
	}
	printf("%s: %d responses of %d tokens differ by %.4f (root mean square), "
	       "at most by %.4f\n",
	       name, batch->sequences,
	       batch_targets(batch, 0, batch->sequences) / batch->sequences,
	       sqrt(squares / batch->sequences), furthest);
	assert_true(furthest > 0 && furthest <= most);
}

/* Room for so many sequences; without any. */
static Batch
empty_batch(Arena *arena)
{
	return (Batch){0, arena_alloc(arena, sizeof(int32_t) * (HHA_ROWS + 1)),
	               arena_alloc(arena, sizeof(int32_t) * HHA_ROWS),
	               arena_alloc(arena, sizeof(int32_t) * HHA_ROWS * 400), NULL};
}

static void
add_ids(Batch *batch, int prompt, int tokens, const int32_t *ids)
{
	int32_t *offset = (int32_t *) (uintptr_t) batch->offset;
	int32_t *target = (int32_t *) (uintptr_t) batch->target;
	int32_t *to = (int32_t *) (uintptr_t) batch->ids;
	int s = batch->sequences++;

	target[s] = offset[s] + prompt;
	offset[s + 1] = offset[s] + tokens;
	memcpy(to + offset[s], ids, sizeof(int32_t) * (size_t) tokens);
}

/* ------------------------------------------------------------ golden models */

/* A prompt's ids and a response's, one after the other. */
static void
add_golden(Arena *arena, json_t *pair, Batch *batch)
{
	TokenList prompt = token_list(arena, json_object_get(pair, "prompt_ids"));
	TokenList response =
		token_list(arena, json_object_get(pair, "response_ids"));
	int tokens = prompt.count + response.count;
	int32_t *ids = arena_alloc(arena, sizeof(int32_t) * (size_t) tokens);

	memcpy(ids, prompt.ids, sizeof(int32_t) * (size_t) prompt.count);
	memcpy(ids + prompt.count, response.ids,
	       sizeof(int32_t) * (size_t) response.count);
	add_ids(batch, prompt.count, tokens, ids);
}

static void
golden_models_stay_near_fp32(void **state)
{
	static const char *const names[] = {"gpt2",  "llama", "llama3",  "mistral",
	                                    "qwen2", "qwen3", "gpt_neox"};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Arena *arena = arena_create();
		char *directory = test_golden_path(
			arena, arena_printf(arena, "decoders/%s", names[i]));
		json_t *golden = test_read_json(arena, directory, "golden.json");
		json_t *pairs = json_object_get(golden, "pairs");
		Batch batch = empty_batch(arena);

		for (size_t p = 0; p < json_array_size(pairs); p++)
			add_golden(arena, json_array_get(pairs, p), &batch);
		check_responses(names[i], tiny_open(arena, device, directory), &batch,
		                0.02);
		arena_destroy(arena);
	}
}

/* ---------------------------------------------------------------- real text */

/* "Human: ...\n\nAssistant: ...\n\nAssistant:", in arena. */
static const char *
prompt_of(Arena *arena, json_t *messages)
{
	char *text = arena_strdup(arena, "");
	size_t i;
	json_t *message;

	json_array_foreach(messages, i, message)
	{
		bool is_human =
			strcmp(json_string_value(json_object_get(message, "role")),
		           "user") == 0;

		text = arena_printf(
			arena, "%s%s: %s\n\n", text, is_human ? "Human" : "Assistant",
			json_string_value(json_object_get(message, "content")));
	}
	return arena_printf(arena, "%sAssistant:", text);
}

static void
add_pair(Arena *arena, Model *model, const char *prompt, const char *response,
         Batch *batch)
{
	PairLimits limits = pair_limits(model, 300, 100);
	Failure failure = {0};
	Pair pair;

	assert_ok(pair_encode(model, arena, &limits, prompt, strlen(prompt),
	                      response, strlen(response), &pair, &failure),
	          failure);
	add_ids(batch, pair.prompt, pair.tokens, pair.ids);
}

/* The first rows of HHA's development set, both responses of each; false if
 * it is not there. */
static bool
read_hha(Arena *arena, Model *model, int rows, Batch *batch)
{
	char *path = test_shared_path(arena, "data/hha_dev.jsonl.gz");
	char *line = NULL;
	size_t size = 0;
	FILE *lines;

	if (path == NULL)
		return false;
	*batch = empty_batch(arena);
	lines = popen(arena_printf(arena, "gzip -dc '%s'", path), "r");
	assert_non_null(lines);
	while (batch->sequences + 2 <= rows && getline(&line, &size, lines) > 0)
	{
		json_t *row = json_loads(line, 0, NULL);
		json_t *responses = json_object_get(row, "responses");
		const char *prompt = prompt_of(arena, json_object_get(row, "messages"));

		for (size_t i = 0; i < 2; i++)
			add_pair(
				arena, model, prompt,
				arena_printf(arena, " %s",
			                 json_string_value(json_array_get(responses, i))),
				batch);
		json_decref(row);
	}
	free(line);
	pclose(lines);
	assert_int_equal(batch->sequences, rows);
	return true;
}

/* False if the model or the data is not there. */
static bool
check_hha(Arena *arena, const char *name, const char *path, double most)
{
	Model *model;
	Batch batch;

	if (path == NULL)
		return false;
	model = tiny_open(arena, device, path);
	if (!read_hha(arena, model, HHA_ROWS, &batch))
		return false;
	check_responses(name, model, &batch, most);
	return true;
}

static void
stories260k_stays_near_fp32(void **state)
{
	Arena *arena = arena_create();
	bool is_there =
		check_hha(arena, "stories260K",
	              test_shared_path(arena, "models/stories260K"), 0.05);

	(void) state;
	arena_destroy(arena);
	if (!is_there)
		skip();
}

static void
smollm2_stays_within_a_tenth_of_fp32(void **state)
{
	Arena *arena = arena_create();
	bool is_there = check_hha(arena, "SmolLM2",
	                          test_environment("ALOL_SMOLLM2", NULL), 0.1);

	(void) state;
	arena_destroy(arena);
	if (!is_there)
	{
		printf("skipped: ALOL_SMOLLM2 names no model\n");
		skip();
	}
}

/* ----------------------------------------------------- the reference, again */

/* |sum(l - r)| of each response, l as training computes it in micro-batches of
 * so many sequences. */
static void
check_start(Arena *arena, Model *model, const Batch *batch, const double *r,
            int each)
{
	for (int first = 0; first < batch->sequences; first += each)
	{
		int left = batch->sequences - first;
		Batch part =
			batch_range(arena, batch, first, each < left ? each : left);
		Seen *seen = arena_alloc(arena, sizeof(Seen));
		int t = 0;

		accumulate(model, &part, NULL, seen);
		for (int s = 0; s < part.sequences; s++)
		{
			double l = 0;

			for (int i = batch_targets(&part, s, 1); i > 0; i--)
				l += (double) seen->logp[t++];
			assert_near(l, r[first + s], 1e-3);
		}
	}
}

static void
check_starts(Arena *arena, Model *(*open)(Arena *arena, const char *argument),
             const char *argument, const Batch *batch)
{
	static const LoraOptions adapter = {.rank = 5, .alpha = 10};
	static const DType products[] = {DTYPE_F32, DTYPE_BF16};

	for (int p = 0; p < 2; p++)
		for (int has_adapter = 0; has_adapter < 2; has_adapter++)
		{
			Model *model = open(arena, argument);
			double r[HHA_ROWS];
			Failure failure = {0};

			sum_responses(model, batch, products[p], r);
			assert_ok(model_make_trainable(model, has_adapter ? &adapter : NULL,
			                               &failure),
			          failure);
			check_start(arena, model, batch, r, batch->sequences);
			check_start(arena, model, batch, r, 3);
			check_start(arena, model, batch, r, 1);
		}
}

static Model *
open_tiny(Arena *arena, const char *config)
{
	return tiny_model(arena, device, config, 3);
}

static Model *
open_directory(Arena *arena, const char *directory)
{
	return tiny_open(arena, device, directory);
}

static void
policies_start_at_their_reference(void **state)
{
	static const char *const configs[] = {TINY_GPT2, TINY_LLAMA(""), TINY_QWEN3,
	                                      TINY_NEOX("")};

	(void) state;
	for (size_t c = 0; c < sizeof(configs) / sizeof(configs[0]); c++)
	{
		Arena *arena = arena_create();
		Batch batch = cook(arena, MIXED - 1, mixed);

		check_starts(arena, open_tiny, configs[c], &batch);
		arena_destroy(arena);
	}
}

static void
stories260k_starts_at_its_reference(void **state)
{
	Arena *arena = arena_create();
	char *directory = test_shared_path(arena, "models/stories260K");
	Batch batch;
	bool is_there =
		directory != NULL &&
		read_hha(arena, tiny_open(arena, device, directory), 8, &batch);

	(void) state;
	if (is_there)
		check_starts(arena, open_directory, directory, &batch);
	arena_destroy(arena);
	if (!is_there)
		skip();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_models_stay_near_fp32),
		cmocka_unit_test(stories260k_stays_near_fp32),
		cmocka_unit_test(smollm2_stays_within_a_tenth_of_fp32),
		cmocka_unit_test(policies_start_at_their_reference),
		cmocka_unit_test(stories260k_starts_at_its_reference),
	};

	return run_on_cpu(tests);
}
