/*
 * classifier_gradient_test.c
 *		The gradient of classifiers as a whole, encoders and decoders, by
 *		finite differences; and what kinds of models are good for.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "differences.h"
#include "weighted_sum.h"

#define SEQUENCES 6
#define LABELS 3
#define PROBES 4 /* weights of each tensor that are moved */

static const char *const configs[] = {
	TINY_ENCODER("bert", TINY_CLASSES("Bert")),
	TINY_ENCODER("roberta", TINY_CLASSES("Roberta") ", \"type_vocab_size\": 1, "
                                                    "\"pad_token_id\": 5"),
	TINY_ENCODER("deberta-v2",
                 TINY_CLASSES("DebertaV2") TINY_DISTANCES("true")),
	TINY_ENCODER("deberta-v2",
                 TINY_CLASSES("DebertaV2") TINY_DISTANCES("false")),
	TINY_DISTILBERT(TINY_CLASSES("DistilBert")),
	TINY_LLAMA(TINY_CLASSES("Llama") ", \"pad_token_id\": 256"),
	TINY_NEOX(TINY_CLASSES("GPTNeoX")),
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* Sequences of several lengths, some of which hold token 5 (RoBERTa's padding
 * here), with types of both kinds. */
static Batch
batch_of(Arena *arena, const Model *model)
{
	Batch batch = tiny_batch(arena, SEQUENCES);
	int tokens = batch.offset[SEQUENCES];
	int32_t *types = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));

	for (int t = 0; t < tokens; t++)
		types[t] = model_config(model)->types > 1 ? t % 3 == 0 : 0;
	batch.types = types;
	((int32_t *) (uintptr_t) batch.ids)[tokens / 2] = 5;
	return batch;
}

/* ModelLoss of a batch. */
static double
sum_of(Model *model, const void *batch)
{
	float logits[SEQUENCES * LABELS];
	double sum = 0;
	Failure failure = {0};

	assert_ok(model_classify(model, batch, logits, &failure), failure);
	for (int i = 0; i < SEQUENCES * LABELS; i++)
		sum += (double) coefficient(i) * (double) logits[i];
	return sum;
}

/* fp32 outputs of about 5: 1e-6 over twice the step; and the third
 * derivative. */
static double
check_weight(Model *model, const Batch *batch, const char *name, int64_t at)
{
	return check_difference(model, sum_of, batch, name, at, 2e-3, 5e-3);
}

/* A place in the tensor that the batch reaches. */
static int64_t
place_of(const ParameterView *view, const Batch *batch, uint64_t bits)
{
	int64_t at = (int64_t) (bits % (uint64_t) view->count);
	int64_t width = view->shape[1];

	if (strstr(view->name, "word_embeddings") ||
	    strstr(view->name, "embed_tokens") || strstr(view->name, "embed_in"))
		return batch->ids[bits % 20] * width + at % width;
	if (strstr(view->name, "position_embeddings"))
		return at % (8 * width);
	return at;
}

static void
check_model(const char *config, uint64_t seed)
{
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, config, seed);
	Batch batch = batch_of(arena, model);
	Failure failure = {0};

	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	model_zero_gradients(model);
	assert_ok(model_classify_accumulate(model, &batch, NULL, weighted_outputs,
	                                    &(int){LABELS}, &failure),
	          failure);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		double largest = 0;

		for (uint64_t probe = 0; probe < PROBES; probe++)
			largest =
				fmax(largest,
			         check_weight(
						 model, &batch, view.name,
						 view.offset +
							 place_of(&view, &batch,
			                          random_bits(seed, (uint64_t) i, probe))));
		/* Softmax does not see what is added to all keys. */
		if (strstr(view.name, "key.bias") == NULL &&
		    strstr(view.name, "k_lin.bias") == NULL &&
		    strstr(view.name, "position_embeddings") == NULL)
			assert_true(largest > 0);
	}
	arena_destroy(arena);
}

static void
gradients_are_those_of_differences(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
		check_model(configs[i], 31 + i);
}

/* As the configuration names them: save, open, the same outputs. */
static void
classifiers_save_as_they_are(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
	{
		Arena *arena = arena_create();
		Model *model = tiny_model(arena, device, configs[i], 7);
		Batch batch = batch_of(arena, model);
		char *directory = test_directory(arena);
		float before[SEQUENCES * LABELS], after[SEQUENCES * LABELS];
		Failure failure = {0};

		assert_ok(model_classify(model, &batch, before, &failure), failure);
		model = tiny_open(arena, device, tiny_directory(arena, configs[i], 7));
		assert_ok(model_save(model, NULL, directory, &failure), failure);
		tiny_remove(model_directory(model));
		model = tiny_open(arena, device, directory);
		assert_int_equal(model_kind(model), MODEL_CLASSIFIER);
		assert_ok(model_classify(model, &batch, after, &failure), failure);
		assert_memory_equal(before, after, sizeof(before));
		tiny_remove(directory);
		arena_destroy(arena);
	}
}

/* A text of nothing but padding counts by its first token, another by the
 * last that is none. */
static void
decoders_look_at_the_last_token_that_is_no_padding(void **state)
{
	static const int32_t ids[] = {7, 8, 256, 256, 7, 8, 256, 256};
	static const int32_t offset[] = {0, 4, 6, 7, 8};
	const Batch batch = {4, offset, NULL, ids, NULL};
	Arena *arena = arena_create();
	Model *model = tiny_model(arena, device, configs[5], 5);
	float logits[4 * LABELS];
	Failure failure = {0};

	(void) state;
	assert_ok(model_classify(model, &batch, logits, &failure), failure);
	for (int i = 0; i < LABELS; i++)
	{
		assert_near(logits[i], logits[LABELS + i], 1e-5);
		assert_near(logits[2 * LABELS + i], logits[3 * LABELS + i], 1e-5);
	}
	arena_destroy(arena);
}

static void
a_model_is_asked_only_what_its_kind_answers(void **state)
{
	Arena *arena = arena_create();
	Model *classifier = tiny_model(arena, device, configs[0], 6);
	Model *language = tiny_model(arena, device, TINY_GPT2, 6);
	Model *encoder = tiny_model(arena, device, TINY_ENCODER("bert", ""), 6);
	Batch batch = tiny_batch(arena, 2);
	float numbers[64 * 24];
	Failure failure;

	(void) state;
	assert_int_equal(model_labels(classifier), LABELS);
	assert_int_equal(model_labels(language), 0);
	assert_fails(model_logprobs(classifier, &batch, numbers, &failure), failure,
	             FAILURE_BAD_INPUT, "a classifier, not a language model");
	assert_fails(model_classify(language, &batch, numbers, &failure), failure,
	             FAILURE_BAD_INPUT, "a language model, not a classifier");
	assert_fails(model_last_logits(encoder, &batch, numbers, &failure), failure,
	             FAILURE_BAD_INPUT, "an encoder without a head");
	assert_ok(model_hidden(encoder, &batch, numbers, &failure), failure);
	arena_destroy(arena);
}

/* The kind of a model whose configuration no longer names a class. */
static ModelKind
kind_without_class(const char *config)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, config, 8);
	json_t *json = test_read_json(arena, directory, "config.json");
	ModelKind kind;
	char *text;

	json_object_del(json, "architectures");
	text = json_dumps(json, 0);
	test_write(arena, directory, "config.json", text, strlen(text));
	free(text);
	kind = model_kind(tiny_open(arena, device, directory));
	tiny_remove(directory);
	arena_destroy(arena);
	return kind;
}

static void
weights_say_the_kind_where_the_configuration_does_not(void **state)
{
	(void) state;
	for (size_t i = 0; i < CONFIGS; i++)
		assert_int_equal(kind_without_class(configs[i]), MODEL_CLASSIFIER);
	assert_int_equal(kind_without_class(TINY_LLAMA("")), MODEL_LANGUAGE);
	assert_int_equal(
		kind_without_class(TINY_LLAMA(", \"tie_word_embeddings\": true")),
		MODEL_LANGUAGE);
	assert_int_equal(kind_without_class(TINY_ENCODER("roberta", "")),
	                 MODEL_ENCODER);
	assert_int_equal(kind_without_class(TINY_DISTILBERT("")), MODEL_ENCODER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(classifiers_save_as_they_are),
		cmocka_unit_test(decoders_look_at_the_last_token_that_is_no_padding),
		cmocka_unit_test(weights_say_the_kind_where_the_configuration_does_not),
		cmocka_unit_test(a_model_is_asked_only_what_its_kind_answers),
	};

	return run_on_cpu(tests);
}
