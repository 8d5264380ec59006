/*
 * config_test.c
 *		config.json of every golden model means the same in the spellings of
 *		transformers 4 and 5; and what its members mean.
 */
#include "near.h"

#include "model/files/config.h"

#include <dirent.h>

static ModelConfig
parsed(Arena *arena, const char *text)
{
	ModelConfig config;
	Failure failure = {0};

	assert_ok(config_parse(arena, text, strlen(text), &config, &failure),
	          failure);
	return config;
}

static const char *
read_text(Arena *arena, const char *path)
{
	Failure failure = {0};
	size_t size;
	char *text = file_read(arena, path, JSON_CONFIG_SIZE, &size, &failure);

	assert_ok(text != NULL, failure);
	return text;
}

/* Compares config.json with another spelling in every directory below. */
static int
check_spellings(Arena *arena, const char *folder, const char *other)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;
	int compared = 0;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
	{
		char *path =
			arena_printf(arena, "%s/%s/%s", folder, entry->d_name, other);
		ModelConfig a, b;

		if (!file_exists(path))
			continue;
		a = parsed(arena, read_text(arena, path));
		b = parsed(arena,
		           read_text(arena, arena_printf(arena, "%s/%s/config.json",
		                                         folder, entry->d_name)));
		if (memcmp(&a, &b, sizeof(a)) != 0)
			fail_msg("%s differs from config.json", path);
		compared++;
	}
	if (directory != NULL)
		closedir(directory);
	return compared;
}

static void
own_spellings_agree(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	assert_int_equal(check_spellings(arena, test_golden_path(arena, "decoders"),
	                                 "config.v5.json"),
	                 5);
	arena_destroy(arena);
}

static void
shared_spellings_agree(void **state)
{
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden");

	(void) state;
	if (root != NULL)
	{
		assert_true(check_spellings(arena,
		                            arena_printf(arena, "%s/decoders", root),
		                            "config.v4.json") > 5);
		assert_true(check_spellings(arena,
		                            arena_printf(arena, "%s/classifiers", root),
		                            "config.v4.json") > 3);
	}
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

#define SIZES                                                                  \
	"\"hidden_size\": 32, \"intermediate_size\": 40, "                         \
	"\"num_hidden_layers\": 3, \"num_attention_heads\": 8, "                   \
	"\"vocab_size\": 257"

/* The windows of the three layers. */
static void
check_windows(const char *type, const char *more, int first, int second,
              int third)
{
	Arena *arena = arena_create();
	ModelConfig config =
		parsed(arena, arena_printf(arena,
	                               "{\"model_type\": \"%s\", " SIZES ", "
	                               "\"num_key_value_heads\": 2%s}",
	                               type, more));

	assert_int_equal(config_window(&config, 0), first);
	assert_int_equal(config_window(&config, 1), second);
	assert_int_equal(config_window(&config, 2), third);
	arena_destroy(arena);
}

static void
windows_are_those_of_transformers(void **state)
{
	(void) state;
	check_windows("llama", ", \"sliding_window\": 9", 0, 0, 0);
	check_windows("mistral", "", 4096, 4096, 4096);
	check_windows("mistral", ", \"sliding_window\": null", 0, 0, 0);
	check_windows("mistral", ", \"sliding_window\": 9", 9, 9, 9);
	check_windows("qwen2", ", \"sliding_window\": 9", 0, 0, 0);
	check_windows("qwen2", ", \"use_sliding_window\": true", 0, 0, 0);
	check_windows("qwen2",
	              ", \"use_sliding_window\": true, \"sliding_window\": 9, "
	              "\"max_window_layers\": 1",
	              0, 9, 9);
	check_windows("qwen3",
	              ", \"use_sliding_window\": true, \"max_window_layers\": 2", 0,
	              0, 4096);
	check_windows("qwen3",
	              ", \"use_sliding_window\": true, \"sliding_window\": 9, "
	              "\"layer_types\": [\"sliding_attention\", "
	              "\"full_attention\", \"sliding_attention\"]",
	              9, 0, 9);
}

static ModelKind
kind_of(const char *type, const char *more)
{
	Arena *arena = arena_create();
	ModelConfig config = parsed(
		arena, arena_printf(arena, "{\"model_type\": \"%s\", " SIZES ", %s}",
	                        type, more));

	arena_destroy(arena);
	return config.kind;
}

static void
architectures_say_the_kind(void **state)
{
	(void) state;
	assert_int_equal(
		kind_of("llama", "\"architectures\": [\"LlamaForCausalLM\"]"),
		MODEL_LANGUAGE);
	assert_int_equal(
		kind_of("bert", "\"architectures\": [\"BertForMaskedLM\"]"),
		MODEL_ENCODER);
	assert_int_equal(kind_of("roberta",
	                         "\"architectures\": "
	                         "[\"RobertaForSequenceClassification\"]"),
	                 MODEL_CLASSIFIER);
	assert_int_equal(kind_of("llama", "\"architectures\": [\"LlamaModel\"]"),
	                 MODEL_UNKNOWN);
	assert_int_equal(kind_of("bert", "\"architectures\": null"), MODEL_UNKNOWN);
}

static int
labels_of(const char *more)
{
	Arena *arena = arena_create();
	ModelConfig config = parsed(
		arena,
		arena_printf(arena, "{\"model_type\": \"bert\", " SIZES "%s}", more));

	arena_destroy(arena);
	return config.labels;
}

static void
labels_are_counted_by_name(void **state)
{
	(void) state;
	assert_int_equal(labels_of(""), 2);
	assert_int_equal(labels_of(", \"num_labels\": 7"), 7);
	assert_int_equal(labels_of(", \"id2label\": {\"0\": \"good\"}"), 1);
}

static void
an_unknown_type_is_told_which_are_known(void **state)
{
	Arena *arena = arena_create();
	ModelConfig config;
	Failure failure = {0};

	(void) state;
	assert_false(
		config_parse(arena, "{\"model_type\": \"t5\"}", 20, &config, &failure));
	assert_string_equal(failure.message, "model_type \"t5\" is not supported");
	for (int i = 0; architecture_name(i) != NULL; i++)
		assert_non_null(strstr(failure.hint, architecture_name(i)));
	arena_destroy(arena);
}

/* Configurations keep the ids of a larger vocabulary: they never come. */
static void
ids_outside_the_vocabulary_are_none(void **state)
{
	Arena *arena = arena_create();
	ModelConfig config = parsed(
		arena, "{\"model_type\": \"gpt2\", \"n_embd\": 8, \"n_layer\": 1, "
			   "\"n_head\": 2, \"vocab_size\": 300, "
			   "\"bos_token_id\": 50256, \"eos_token_id\": [50256, 7, -1]}");

	(void) state;
	assert_int_equal(config.bos, -1);
	assert_int_equal(config.stops, 1);
	assert_int_equal(config.eos, 7);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_spellings_agree),
		cmocka_unit_test(shared_spellings_agree),
		cmocka_unit_test(windows_are_those_of_transformers),
		cmocka_unit_test(architectures_say_the_kind),
		cmocka_unit_test(ids_outside_the_vocabulary_are_none),
		cmocka_unit_test(labels_are_counted_by_name),
		cmocka_unit_test(an_unknown_type_is_told_which_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
