/*
 * classifier_test.c
 *		Every classifier of the golden sets, opened from its files: the tokens
 *		of its texts, and their logits, alone and all in one batch.
 */
#include "near.h"
#include "on_cpu.h"

#include "model/classify.h"

/* fp32 noise of either side, see the golden set's README. */
#define TOLERANCE 1e-4

static const char *const cases[] = {"bert",       "distilbert", "roberta",
                                    "deberta_v2", "gpt_neox",   "llama",
                                    "gpt2",       "qwen2"};

/* All texts of a case as one batch. */
static Batch
batch_of(Arena *arena, json_t *texts)
{
	size_t count = json_array_size(texts);
	int32_t *offset = arena_alloc(arena, (count + 1) * sizeof(int32_t));
	int32_t *ids;
	int32_t *types;
	int tokens = 0;

	for (size_t i = 0; i < count; i++)
		offset[i + 1] = offset[i] + (int32_t) json_array_size(json_object_get(
										json_array_get(texts, i), "ids"));
	ids = arena_alloc(arena, (size_t) offset[count] * sizeof(int32_t));
	types = arena_alloc(arena, (size_t) offset[count] * sizeof(int32_t));
	for (size_t i = 0; i < count; i++)
	{
		json_t *text = json_array_get(texts, i);
		json_t *numbers = json_object_get(text, "ids");
		json_t *kinds = json_object_get(text, "type_ids");

		for (size_t t = 0; t < json_array_size(numbers); t++, tokens++)
		{
			ids[tokens] =
				(int32_t) json_integer_value(json_array_get(numbers, t));
			types[tokens] =
				(int32_t) json_integer_value(json_array_get(kinds, t));
		}
	}
	return (Batch){(int) count, offset, NULL, ids, types};
}

static Batch
part_of(Arena *arena, const Batch *batch, int s)
{
	int32_t *offset = arena_alloc(arena, 2 * sizeof(int32_t));
	int32_t first = batch->offset[s];

	offset[1] = batch->offset[s + 1] - first;
	return (Batch){1, offset, NULL, batch->ids + first, batch->types + first};
}

static double
compare(const float *got, json_t *text)
{
	json_t *expected = json_object_get(text, "logits");
	double largest = 0;

	for (size_t i = 0; i < json_array_size(expected); i++)
	{
		double number = json_number_value(json_array_get(expected, i));

		assert_near(got[i], number, TOLERANCE);
		largest = fmax(largest, fabs(got[i] - number));
	}
	return largest;
}

/* Texts to tokens and types, with the model's own tokenizer. */
static void
check_encoding(Arena *arena, const Model *model, const TextPair *pair,
               json_t *text)
{
	json_t *ids = json_object_get(text, "ids");
	json_t *kinds = json_object_get(text, "type_ids");
	TokenList got = {0};
	TokenList types = {0};
	Failure failure = {0};

	assert_ok(classify_encode(model, arena, pair, &got, &types, &failure),
	          failure);
	assert_int_equal(got.count, json_array_size(ids));
	assert_int_equal(types.count, got.count);
	for (int t = 0; t < got.count; t++)
	{
		assert_int_equal(got.ids[t],
		                 json_integer_value(json_array_get(ids, (size_t) t)));
		if (kinds != NULL)
			assert_int_equal(types.ids[t], json_integer_value(json_array_get(
											   kinds, (size_t) t)));
	}
}

static TextPair
pair_of(json_t *text)
{
	json_t *first = json_object_get(text, "first");
	json_t *second = json_object_get(text, "second");

	/* A single text may come as either: the last of two, or the first. */
	if (!json_is_string(second))
		return (TextPair){.response = json_string_value(first),
		                  .response_length = json_string_length(first)};
	return (TextPair){json_string_value(first), json_string_length(first),
	                  json_string_value(second), json_string_length(second)};
}

static void
check_texts(Arena *arena, Model *model, json_t *texts)
{
	size_t count = json_array_size(texts);
	TextPair *pairs = arena_alloc(arena, count * sizeof(TextPair));
	float **logits = arena_alloc(arena, count * sizeof(float *));
	Failure failure = {0};

	for (size_t i = 0; i < count; i++)
	{
		pairs[i] = pair_of(json_array_get(texts, i));
		check_encoding(arena, model, &pairs[i], json_array_get(texts, i));
	}
	assert_ok(
		classify_pairs(model, arena, (int) count, pairs, logits, &failure),
		failure);
	for (size_t i = 0; i < count; i++)
		compare(logits[i], json_array_get(texts, i));
}

static void
check_case(Arena *arena, const char *directory)
{
	json_t *golden = test_read_json(arena, directory, "golden.json");
	json_t *texts = json_object_get(golden, "texts");
	int labels =
		(int) json_integer_value(json_object_get(golden, "num_labels"));
	Batch batch = batch_of(arena, texts);
	float *all = arena_alloc(arena, (size_t) batch.sequences * (size_t) labels *
	                                    sizeof(float));
	float *one = arena_alloc(arena, (size_t) labels * sizeof(float));
	double largest = 0;
	Failure failure = {0};
	Model *model;

	assert_ok(model_open(arena, device, directory, NULL, &model, &failure),
	          failure);
	assert_int_equal(model_kind(model), MODEL_CLASSIFIER);
	assert_int_equal(model_labels(model), labels);
	assert_ok(model_classify(model, &batch, all, &failure), failure);
	for (int s = 0; s < batch.sequences; s++)
	{
		json_t *text = json_array_get(texts, (size_t) s);
		Batch part = part_of(arena, &batch, s);

		assert_ok(model_classify(model, &part, one, &failure), failure);
		largest = fmax(largest, compare(one, text));
		largest = fmax(largest, compare(all + s * labels, text));
	}
	check_texts(arena, model, texts);
	print_message("largest error: %.1e\n", largest);
}

static void
check_set(const char *root)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Arena *arena = arena_create();
		char *directory =
			arena_printf(arena, "%s/classifiers/%s", root, cases[i]);

		if (file_exists(directory))
		{
			print_message("%s\n", cases[i]);
			check_case(arena, directory);
		}
		arena_destroy(arena);
	}
}

/* The oldest layout: no prefix, norms that call their weights gamma. */
static void
a_body_without_a_head_gives_hidden_states(void **state)
{
	Arena *arena = arena_create();
	char *directory = test_golden_path(arena, "encoders/bert_body");
	json_t *golden = test_read_json(arena, directory, "golden.json");
	json_t *texts = json_object_get(golden, "texts");
	Batch batch = batch_of(arena, texts);
	Failure failure = {0};
	Model *model;
	float *hidden;

	(void) state;
	assert_ok(model_open(arena, device, directory, NULL, &model, &failure),
	          failure);
	assert_int_equal(model_kind(model), MODEL_ENCODER);
	hidden = arena_alloc(arena, (size_t) batch.offset[batch.sequences] *
	                                (size_t) model_config(model)->hidden *
	                                sizeof(float));
	assert_ok(model_hidden(model, &batch, hidden, &failure), failure);
	for (int s = 0; s < batch.sequences; s++)
	{
		json_t *expected =
			json_object_get(json_array_get(texts, (size_t) s), "hidden");
		const float *got =
			hidden + batch.offset[s] * model_config(model)->hidden;

		for (size_t i = 0; i < json_array_size(expected); i++)
			assert_near(got[i], json_number_value(json_array_get(expected, i)),
			            TOLERANCE);
	}
	arena_destroy(arena);
}

static void
own_classifiers_give_the_golden_logits(void **state)
{
	(void) state;
	test_own_set(check_set);
}

static void
shared_classifiers_give_the_golden_logits(void **state)
{
	(void) state;
	test_shared_set(check_set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_without_a_head_gives_hidden_states),
		cmocka_unit_test(own_classifiers_give_the_golden_logits),
		cmocka_unit_test(shared_classifiers_give_the_golden_logits),
	};

	return run_on_cpu(tests);
}
