/*
 * gguf_test.c
 *		Models from GGUF files: logits and tokens of the golden sets, in every
 *		type of weights.
 */
#include "on_cpu.h"

#include "model/lora/lora.h"
#include "weighted_sum.h"
#include "responses.h"

/* fp32 noise of either side, see the golden set's README. */
#define TOLERANCE 1e-4

static void
check_ids(Arena *arena, Model *model, json_t *text, TokenList expected)
{
	json_t *content = json_object_get(text, "text");
	TokenList got = {0};
	Failure failure;

	assert_ok(tokenizer_encode(
				  model_tokenizer(model), arena, json_string_value(content),
				  json_string_length(content), true, &got, &failure),
	          failure);
	assert_int_equal(got.count, expected.count);
	for (int i = 0; i < got.count; i++)
		assert_int_equal(got.ids[i], expected.ids[i]);
}

/* The largest difference of the logits after the last token. */
static double
logits_error(Arena *arena, Model *model, TokenList ids, json_t *expected)
{
	int vocabulary = model_config(model)->vocabulary;
	float *logits = arena_alloc(arena, sizeof(float) * (size_t) vocabulary);
	int32_t offset[2] = {0, ids.count};
	int32_t target[1] = {ids.count};
	Batch batch = {
		.sequences = 1, .offset = offset, .target = target, .ids = ids.ids};
	Failure failure;
	double error = 0;

	assert_int_equal(json_array_size(expected), vocabulary);
	assert_ok(model_last_logits(model, &batch, logits, &failure), failure);
	for (int i = 0; i < vocabulary; i++)
		error = fmax(error, fabs(logits[i] - json_number_value(json_array_get(
												 expected, (size_t) i))));
	return error;
}

/* One file of a case: name, and what golden.json says of it. */
static void
check_file(const char *directory, const char *name, json_t *golden,
           json_t *file)
{
	Arena *arena = arena_create();
	char *path = arena_printf(arena, "%s/%s", directory, name);
	json_t *texts = json_object_get(golden, "texts");
	json_t *logits = json_object_get(file, "last_logits");
	Failure failure;
	Model *model;
	double error = 0;

	assert_ok(model_open(arena, device, path, NULL, &model, &failure), failure);
	for (size_t i = 0; i < json_array_size(texts); i++)
	{
		json_t *text = json_array_get(texts, i);
		TokenList ids = token_list(arena, json_object_get(text, "ids"));

		check_ids(arena, model, text, ids);
		error = fmax(
			error, logits_error(arena, model, ids, json_array_get(logits, i)));
	}
	print_message("%s/%s: %s, %.2g\n", directory, name,
	              dtype_name(model_stored_dtype(model)), error);
	assert_true(error <= TOLERANCE);
	arena_destroy(arena);
}

static void
check_set(const char *root)
{
	static const char *const cases[] = {"llama", "llama_k", "gpt2",   "qwen2",
	                                    "qwen3", "gptneox", "llama3", "q5"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Arena *arena = arena_create();
		char *directory = arena_printf(arena, "%s/gguf/%s", root, cases[i]);
		json_t *golden, *file;
		const char *name;

		if (file_exists(directory))
		{
			golden = test_read_json(arena, directory, "golden.json");
			json_object_foreach(json_object_get(golden, "files"), name, file)
				check_file(directory, name, golden, file);
		}
		arena_destroy(arena);
	}
}

/* The model at path, opened, has the same logits and tokens as this one. */
static void
compare_models(Arena *arena, Model *model, const char *path, double tolerance)
{
	/* Without special tokens: behind them GGUF always has a "▁", while
	 * tokenizer.json may put one only at the start. */
	static const char text[] = "Human: what's  this?\n\nA 123 \xc3\xa9";
	int32_t ids[] = {5, 17, 200, 3, 44, 9, 9, 120};
	TokenList list = {ids, 8, 8};
	TokenList before = {0};
	TokenList after = {0};
	json_t *logits = json_array();
	int vocabulary = model_config(model)->vocabulary;
	float *numbers = arena_alloc(arena, sizeof(float) * (size_t) vocabulary);
	int32_t offset[2] = {0, 8};
	int32_t target[1] = {8};
	Batch batch = {
		.sequences = 1, .offset = offset, .target = target, .ids = ids};
	Failure failure;
	Model *again;
	double error;

	assert_ok(model_open(arena, device, path, NULL, &again, &failure), failure);
	assert_ok(model_last_logits(model, &batch, numbers, &failure), failure);
	for (int i = 0; i < vocabulary; i++)
		json_array_append_new(logits, json_real((double) numbers[i]));
	error = logits_error(arena, again, list, logits);
	if (!(error <= tolerance))
		fail_msg("%s: logits differ by %g", path, error);
	json_decref(logits);
	assert_ok(tokenizer_encode(model_tokenizer(model), arena, text,
	                           sizeof(text) - 1, true, &before, &failure),
	          failure);
	assert_ok(tokenizer_encode(model_tokenizer(again), arena, text,
	                           sizeof(text) - 1, true, &after, &failure),
	          failure);
	assert_int_equal(before.count, after.count);
	assert_memory_equal(before.ids, after.ids,
	                    sizeof(int32_t) * (size_t) before.count);
	assert_int_equal(model_config(model)->eos, model_config(again)->eos);
}

/* Other readers of tokenizer.json want all members of a ByteLevel. */
static void
check_decoder(Arena *arena, const char *directory)
{
	json_t *decoder = json_object_get(
		test_read_json(arena, directory, "tokenizer.json"), "decoder");

	if (strcmp(json_string_value(json_object_get(decoder, "type")),
	           "ByteLevel") == 0)
		assert_int_equal(json_object_size(decoder), 4);
}

/* They also number an added token anew that is not in the vocabulary. */
static void
check_added(Arena *arena, const char *directory)
{
	json_t *json = test_read_json(arena, directory, "tokenizer.json");
	json_t *vocabulary =
		json_object_get(json_object_get(json, "model"), "vocab");
	size_t i;
	json_t *token;

	json_array_foreach(json_object_get(json, "added_tokens"), i, token)
	{
		const char *content =
			json_string_value(json_object_get(token, "content"));

		assert_true(json_equal(json_object_get(vocabulary, content),
		                       json_object_get(token, "id")));
	}
}

/* Files as a directory has them; the same model again, in fp32. */
static void
check_saved(const char *path)
{
	Arena *arena = arena_create();
	char *copy = test_directory(arena);
	Failure failure;
	Model *model;

	assert_ok(model_open(arena, device, path, NULL, &model, &failure), failure);
	assert_ok(model_save(model, NULL, copy, &failure), failure);
	compare_models(arena, model, copy, 2e-5);
	check_decoder(arena, copy);
	check_added(arena, copy);
	tiny_remove(copy);
	arena_destroy(arena);
}

static void
saved_models_are_the_same_as_directories(void **state)
{
	static const char *const names[] = {"q5", "gpt2", "llama3", "qwen3",
	                                    "gptneox"};
	Arena *arena = arena_create();
	char *root = test_golden_path(arena, "gguf");

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_saved(arena_printf(arena, "%s/%s/model.gguf", root, names[i]));
	arena_destroy(arena);
}

/* Writes the model at path as GGUF and compares what is read back. */
static void
check_written(const char *path, DType dtype, double tolerance)
{
	Arena *arena = arena_create();
	char *directory = test_directory(arena);
	char *copy = arena_printf(arena, "%s/model.gguf", directory);
	Failure failure = {0};
	Model *model;

	assert_ok(model_open(arena, device, path, NULL, &model, &failure), failure);
	assert_ok(model_save_gguf(model, dtype, "copy", copy, &failure), failure);
	compare_models(arena, model, copy, tolerance);
	unlink(copy);
	rmdir(directory);
	arena_destroy(arena);
}

static void
written_files_hold_the_same_model(void **state)
{
	static const char *const names[] = {"gpt2",    "gpt2_hub",   "llama",
	                                    "llama3",  "llama_bf16", "qwen3",
	                                    "gpt_neox"};
	Arena *arena = arena_create();
	char *root = test_golden_path(arena, "decoders");

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char *path = arena_printf(arena, "%s/%s", root, names[i]);

		print_message("%s\n", names[i]);
		check_written(path, DTYPE_F32, 2e-5);
		check_written(path, DTYPE_OTHER, 2e-5);
	}
	arena_destroy(arena);
}

static void
files_take_the_chat_template_with_them(void **state)
{
	const char *template = "{{ messages[0].content }}!";
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 43);
	char *copy = arena_printf(arena, "%s/model.gguf", directory);
	Failure failure = {0};
	const char *read;
	size_t length;
	Model *model;

	(void) state;
	test_write(arena, directory, "chat_template.jinja", template,
	           strlen(template));
	model = tiny_open(arena, device, directory);
	assert_ok(model_save_gguf(model, DTYPE_F32, "chat", copy, &failure),
	          failure);
	read = chat_template(
		tokenizer_chat(model_tokenizer(tiny_open(arena, device, copy))),
		&length);
	assert_non_null(read);
	assert_string_equal(read, template);
	assert_int_equal(length, strlen(template));
	unlink(copy);
	unlink(arena_printf(arena, "%s/chat_template.jinja", directory));
	tiny_remove(directory);
	arena_destroy(arena);
}

/* Sums of some ten weights with 8 to 11 bits, in two layers. */
static void
what_gguf_cannot_say_is_an_error(void **state)
{
	static const struct
	{
		const char *name;
		const char *message;
	} cases[] = {
		{"gpt_neox_serial", "cannot have this activation"},
		{"qwen2", "cannot have a sliding window"},
	};
	Arena *arena = arena_create();
	char *root = test_golden_path(arena, "decoders");

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Failure failure;
		Model *model;

		assert_ok(model_open(arena, device,
		                     arena_printf(arena, "%s/%s", root, cases[i].name),
		                     NULL, &model, &failure),
		          failure);
		assert_fails(
			model_save_gguf(model, DTYPE_F32, "x", "/nowhere/x.gguf", &failure),
			failure, FAILURE_UNSUPPORTED, cases[i].message);
	}
	arena_destroy(arena);
}

static void
written_files_may_be_shorter(void **state)
{
	Arena *arena = arena_create();
	char *root = test_golden_path(arena, "gguf");

	(void) state;
	check_written(arena_printf(arena, "%s/q5/model.gguf", root), DTYPE_F16,
	              0.05);
	check_written(arena_printf(arena, "%s/q5/model.gguf", root), DTYPE_BF16,
	              0.3);
	check_written(arena_printf(arena, "%s/q5/model.gguf", root), DTYPE_Q8_0,
	              0.3);
	check_written(arena_printf(arena, "%s/gpt2/model.gguf", root), DTYPE_Q8_0,
	              0.3);
	arena_destroy(arena);
}

/*
 * An adapter that has learned a step over blocks of a file, merged into a
 * directory and into another file: both compute what base and adapter do.
 */
static void
check_adapter(const char *path)
{
	static const LoraOptions lora = {.rank = 3, .alpha = 6, .seed = 1};
	static const AdamW adamw = {.learning_rate = 0.1f,
	                            .beta1 = 0.9f,
	                            .beta2 = 0.999f,
	                            .eps = 1e-6f,
	                            .correction1 = 0.1f,
	                            .correction2 = 0.001f,
	                            .gradient_scale = 1};
	Arena *arena = arena_create();
	Batch batch = tiny_batch(arena, 3);
	int32_t groups[4] = {0, 1, 2, 3};
	Seen seen = {.batch = &batch};
	char *directory = test_directory(arena);
	char *file = arena_printf(arena, "%s/model.gguf", directory);
	Failure failure = {0};
	Model *model;
	double norm;

	assert_ok(model_open(arena, device, path, NULL, &model, &failure), failure);
	assert_ok(model_make_trainable(model, &lora, &failure), failure);
	model_zero_gradients(model);
	assert_ok(model_accumulate(model, &batch, 3, groups, NULL, weighted_sum,
	                           &seen, &failure),
	          failure);
	assert_ok(model_gradient_norm(model, &norm, &failure), failure);
	assert_true(isfinite(norm) && norm > 0);
	assert_ok(model_update(model, &adamw, &failure), failure);
	assert_ok(model_save_gguf(model, DTYPE_F32, "merged", file, &failure),
	          failure);
	compare_models(arena, model, file, 5e-5);
	unlink(file);
	assert_ok(model_save(model, NULL, directory, &failure), failure);
	compare_models(arena, model, directory, 5e-5);
	tiny_remove(directory);
	arena_destroy(arena);
}

static void
adapters_over_files_are_merged(void **state)
{
	static const char *const names[] = {"q5", "gpt2", "qwen3", "gptneox"};
	Arena *arena = arena_create();
	char *root = test_golden_path(arena, "gguf");

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check_adapter(arena_printf(arena, "%s/%s/model.gguf", root, names[i]));
	arena_destroy(arena);
}

static void
own_files_give_the_golden_numbers(void **state)
{
	(void) state;
	test_own_set(check_set);
}

static void
shared_files_give_the_golden_numbers(void **state)
{
	(void) state;
	test_shared_set(check_set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_files_give_the_golden_numbers),
		cmocka_unit_test(shared_files_give_the_golden_numbers),
		cmocka_unit_test(saved_models_are_the_same_as_directories),
		cmocka_unit_test(written_files_hold_the_same_model),
		cmocka_unit_test(files_take_the_chat_template_with_them),
		cmocka_unit_test(written_files_may_be_shorter),
		cmocka_unit_test(what_gguf_cannot_say_is_an_error),
		cmocka_unit_test(adapters_over_files_are_merged),
	};

	return run_on_cpu(tests);
}
