/*
 * models_test.c
 *		How Unigram, WordPiece and WordLevel cut pieces into tokens.
 */
#include "testing.h"

#include "text/tokenizer.h"

static Arena *arena;
static Failure failure;

/* A tokenizer of this "model" object alone. */
static Tokenizer *
open_model(const char *model)
{
	char *text = arena_printf(arena, "{\"model\":%s}", model);
	Tokenizer *tokenizer = NULL;
	json_t *json;

	assert_ok(json_open_text(arena, text, strlen(text), "the test's text",
	                         &json, &failure) &&
	              tokenizer_open_json(arena, json, NULL, &tokenizer, &failure),
	          failure);
	return tokenizer;
}

/* Encodes text twice, so that the second time it is remembered. */
static void
check(const Tokenizer *tokenizer, const char *text, int count,
      const int32_t *ids)
{
	for (int i = 0; i < 2; i++)
	{
		TokenList list = {0};

		assert_ok(tokenizer_encode(tokenizer, arena, text, strlen(text), true,
		                           &list, &failure),
		          failure);
		assert_int_equal(list.count, count);
		assert_memory_equal(list.ids, ids, (size_t) count * sizeof(int32_t));
	}
}

#define CHECK(tokenizer, text, ...)                                            \
	check(tokenizer, text,                                                     \
	      (int) (sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)),          \
	      (int32_t[]){__VA_ARGS__})

#define UNIGRAM(rest) "{\"type\":\"Unigram\",\"unk_id\":0," rest "}"

/* a + bc is -3, ab + c is -4, abc as three is -6. */
static void
unigram_prefers_the_better_path(void **state)
{
	Tokenizer *tokenizer = open_model(
		UNIGRAM("\"vocab\":[[\"?\",0],[\"a\",-2],[\"b\",-2],[\"c\",-2],"
	            "[\"bc\",-1],[\"ab\",-2]]"));

	(void) state;
	CHECK(tokenizer, "abc", 1, 4);
	CHECK(tokenizer, "abab", 5, 5);
}

static void
unknown_neighbours_are_one_token(void **state)
{
	Tokenizer *tokenizer =
		open_model(UNIGRAM("\"vocab\":[[\"?\",0],[\"a\",-2]]"));

	(void) state;
	CHECK(tokenizer, "xyaz", 0, 1, 0);
	CHECK(tokenizer, "?x", 0);
}

/* Even where they are a token that costs more than being unknown. */
static void
unknown_neighbours_may_be_a_token(void **state)
{
	Tokenizer *tokenizer =
		open_model(UNIGRAM("\"vocab\":[[\"?\",0],[\"a\",-1],[\"xy\",-100]]"));

	(void) state;
	CHECK(tokenizer, "xya", 2, 1);
}

/* All bytes of the stretch must be there. */
static void
unknown_characters_fall_back_to_bytes(void **state)
{
	Tokenizer *tokenizer = open_model(
		UNIGRAM("\"byte_fallback\":true,\"vocab\":[[\"?\",0],[\"a\",-1],"
	            "[\"<0xC3>\",-9],[\"<0xA9>\",-9]]"));

	(void) state;
	CHECK(tokenizer, "a\xc3\xa9", 1, 2, 3);
	CHECK(tokenizer, "a\xc3\xa8", 1, 0);
}

/* Of seven letters the one that stays alone; the values are those of the
 * library, which reads a score of 17 digits with an error. */
static void
ties_hang_on_the_last_bit_of_a_score(void **state)
{
	Tokenizer *tokenizer =
		open_model(UNIGRAM("\"vocab\":[[\"u\",-20],[\"aa\",-6.712735421625182],"
	                       "[\"a\",-10.630996219710697]]"));

	(void) state;
	CHECK(tokenizer, "aaaaaaa", 1, 1, 1, 2);
}

static void
without_an_unknown_token_a_text_is_refused(void **state)
{
	Tokenizer *tokenizer =
		open_model("{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]]}");
	TokenList list = {0};

	(void) state;
	CHECK(tokenizer, "aa", 0, 0);
	assert_fails(
		tokenizer_encode(tokenizer, arena, "ab", 2, true, &list, &failure),
		failure, FAILURE_BAD_INPUT, "\"b\" is in no token");
}

#define WORDPIECE(rest)                                                        \
	"{\"type\":\"WordPiece\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,"          \
	"\"ab\":1,\"##c\":2,\"a\":3,\"##bcd\":4,\"##b\":5,\"abx\":6}" rest "}"

static void
wordpiece_takes_the_longest_token_that_fits(void **state)
{
	Tokenizer *tokenizer = open_model(WORDPIECE(""));

	(void) state;
	CHECK(tokenizer, "abc", 1, 2);
	CHECK(tokenizer, "abbcd", 1, 4);
}

/* a + ##bcd would do, but ab was taken and no ##d is there. */
static void
a_word_that_cannot_be_spelled_is_unknown(void **state)
{
	Tokenizer *tokenizer = open_model(WORDPIECE(""));

	(void) state;
	CHECK(tokenizer, "abcd", 0);
	CHECK(tokenizer, "cab", 0);
}

static void
a_long_word_is_unknown(void **state)
{
	Tokenizer *tokenizer =
		open_model(WORDPIECE(",\"max_input_chars_per_word\":3"));

	(void) state;
	CHECK(tokenizer, "abc", 1, 2);
	CHECK(tokenizer, "abcc", 0);
}

static void
old_files_do_not_name_their_model(void **state)
{
	(void) state;
	CHECK(open_model("{\"vocab\":[[\"a\",-1]],\"unk_id\":0}"), "a", 0);
	CHECK(open_model("{\"vocab\":{\"a\":0,\"##b\":1,\"?\":2},\"unk_token\":"
	                 "\"?\",\"continuing_subword_prefix\":\"##\"}"),
	      "ab", 0, 1);
	CHECK(open_model("{\"vocab\":{\"a\":0,\"?\":1},\"unk_token\":\"?\"}"), "ab",
	      1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unigram_prefers_the_better_path),
		cmocka_unit_test(unknown_neighbours_are_one_token),
		cmocka_unit_test(unknown_neighbours_may_be_a_token),
		cmocka_unit_test(unknown_characters_fall_back_to_bytes),
		cmocka_unit_test(ties_hang_on_the_last_bit_of_a_score),
		cmocka_unit_test(without_an_unknown_token_a_text_is_refused),
		cmocka_unit_test(wordpiece_takes_the_longest_token_that_fits),
		cmocka_unit_test(a_word_that_cannot_be_spelled_is_unknown),
		cmocka_unit_test(a_long_word_is_unknown),
		cmocka_unit_test(old_files_do_not_name_their_model),
	};
	int failed;

	arena = arena_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
