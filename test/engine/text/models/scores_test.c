/*
 * scores_test.c
 *		A vocabulary with scores is encoded like one with merges.
 */
#include "testing.h"

#include "text/models/scores.h"
#include "text/tokenizer.h"

static Arena *arena;
static Failure failure;

static json_t *
parse(const char *text)
{
	json_t *json;

	assert_ok(json_open_text(arena, text, strlen(text), "the test's text",
	                         &json, &failure),
	          failure);
	return json;
}

static void
check_merges(const char *vocab, const char *scores, const char *want)
{
	json_t *merges;

	assert_ok(bpe_merges_from_scores(arena, parse(vocab), parse(scores),
	                                 &merges, &failure),
	          failure);
	if (!json_equal(merges, parse(want)))
		fail_msg("merges are %s, not %s", json_dumps(merges, JSON_COMPACT),
		         want);
}

/* Values of generate_merges() of `transformers` 5. */
static void
merges_are_those_of_the_converter(void **state)
{
	(void) state;
	check_merges("{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3,\"ba\":4}",
	             "[0,0,-1,-2.5,-0.5]",
	             "[[\"b\",\"a\"],[\"a\",\"b\"],[\"ab\",\"a\"],[\"a\",\"ba\"]]");
	check_merges("{\"\xc3\xa9\":1,\"a\":0,\"a\xc3\xa9\":2,\"\xc3\xa9"
	             "a\":3,\"aa\":4}",
	             "[0,0,-1,-1,-1]",
	             "[[\"a\",\"\xc3\xa9\"],[\"\xc3\xa9\",\"a\"],[\"a\",\"a\"]]");
	check_merges("{\"a\":0,\"b\":1}", "[0,0]", "[]");
	check_merges("{}", "[]", "[]");
}

static void
check_ids(const Tokenizer *tokenizer, const char *text, size_t length,
          bool add_special, const json_t *want)
{
	TokenList list = {0};

	assert_ok(tokenizer_encode(tokenizer, arena, text, length, add_special,
	                           &list, &failure),
	          failure);
	assert_int_equal(list.count, json_array_size(want));
	for (int i = 0; i < list.count; i++)
		assert_int_equal(list.ids[i],
		                 json_integer_value(json_array_get(want, (size_t) i)));
}

static void
equal_scores_merge_from_the_left(void **state)
{
	Tokenizer *tokenizer;
	json_t *json = parse("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
	                     "\"aa\":1,\"ab\":2,\"b\":3},\"scores\":[0,-1,-1,0]}}");

	(void) state;
	assert_ok(tokenizer_open_json(arena, json, NULL, &tokenizer, &failure),
	          failure);
	check_ids(tokenizer, "aab", 3, false, parse("[1,3]"));
	check_ids(tokenizer, "aaab", 4, false, parse("[1,2]"));
	check_ids(tokenizer, "baaaab", 6, false, parse("[3,1,1,3]"));
}

/* What a GGUF file holds of a tokenizer whose tokens lie in merge order. */
static void
scores_give_the_ids_of_the_reference(void **state)
{
	char *folder = test_shared_path(arena, "golden/tokenizers/llama2");
	json_t *json;
	json_t *model;
	json_t *scores;
	Tokenizer *tokenizer;
	size_t i;
	json_t *row;

	(void) state;
	if (folder == NULL)
		skip();
	scores = json_array();
	json = test_read_json(arena, folder, "tokenizer.json");
	model = json_object_get(json, "model");
	json_object_del(model, "merges");
	for (i = 0; i < json_object_size(json_object_get(model, "vocab")); i++)
		json_array_append_new(scores, json_real(i < 259 ? 0.0 : 259.0 - i));
	json_object_set_new(model, "scores", scores);
	assert_ok(tokenizer_open_json(arena, json, NULL, &tokenizer, &failure),
	          failure);
	json_array_foreach(
		json_object_get(test_read_json(arena, folder, "golden.json"),
	                    "strings"),
		i, row)
	{
		const json_t *text = json_object_get(row, "text");

		check_ids(tokenizer, json_string_value(text), json_string_length(text),
		          true, json_object_get(row, "ids"));
	}
}

static void
refuse(const char *vocab, const char *scores, const char *part)
{
	json_t *merges;

	assert_fails(bpe_merges_from_scores(arena, parse(vocab), parse(scores),
	                                    &merges, &failure),
	             failure, FAILURE_BAD_FILE, part);
}

static void
broken_scores_are_refused(void **state)
{
	(void) state;
	refuse("{}", "{}", "\"scores\" must be an array");
	refuse("{\"a\":0,\"b\":1}", "[0]", "id 1 of token \"b\"");
	refuse("{\"a\":0}", "[null]", "score of token 0 is null");
	refuse("[]", "[1]", "\"vocab\" must be an object");
}

/* A vocabulary that would take hours or gigabytes ends in an error. */
static void
the_search_for_pairs_is_bounded(void **state)
{
	json_t *vocab = json_object();
	json_t *scores = json_array();
	char name[8001];
	json_t *merges;

	(void) state;
	memset(name, 'a', sizeof(name));
	for (int i = 0; i < 8000; i++)
	{
		name[i + 1] = '\0';
		json_object_set_new(vocab, name, json_integer(i));
		name[i + 1] = 'a';
		json_array_append_new(scores, json_integer(-i));
	}
	assert_fails(
		bpe_merges_from_scores(arena, vocab, scores, &merges, &failure),
		failure, FAILURE_UNSUPPORTED, "tokens are too long");
	json_decref(vocab);
	json_decref(scores);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merges_are_those_of_the_converter),
		cmocka_unit_test(equal_scores_merge_from_the_left),
		cmocka_unit_test(scores_give_the_ids_of_the_reference),
		cmocka_unit_test(broken_scores_are_refused),
		cmocka_unit_test(the_search_for_pairs_is_bounded),
	};
	int failed;

	arena = arena_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
