/*
 * broken_tokenizer_test.c
 *		A broken or hostile tokenizer is refused in words, in bounded time and
 *		memory.
 */
#include "testing.h"

#include "text/tokenizer.h"

#include <sys/stat.h>
#include <time.h>

static Arena *arena;
static Failure failure;
static char *directory;

static void
refuse(const char *text, FailureCode code, const char *part)
{
	Tokenizer *tokenizer;

	test_write(arena, directory, "tokenizer.json", text, strlen(text));
	assert_fails(tokenizer_open(arena, directory, &tokenizer, &failure),
	             failure, code, part);
	assert_non_null(strstr(failure.context, "reading the tokenizer in"));
}

#define MODEL(vocab, merges)                                                   \
	"{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"

static void
broken_files_are_refused(void **state)
{
	const FailureCode bad = FAILURE_BAD_FILE;

	(void) state;
	refuse("{", bad, "not valid JSON");
	refuse("[]", bad, "is an array, not an object");
	refuse("{}", bad, "nothing for a model");
	refuse("{\"model\":[]}", bad, "an array for a model");
	refuse("{\"model\":{}}", bad, "has no type");
	refuse("{\"model\":{\"type\":\"Oracle\"}}", FAILURE_UNSUPPORTED,
	       "type \"Oracle\"");
	refuse(MODEL("[\"a\"]", "[]") "}", bad, "\"vocab\" must be an object");
	refuse(MODEL("{\"a\":0}", "{}") "}", bad, "\"merges\" must be an array");
	refuse(MODEL("{\"a\":\"0\"}", "[]") "}", bad,
	       "is a string, not an integer");
	refuse(MODEL("{\"a\":-1}", "[]") "}", bad, "id -1 of token \"a\"");
	refuse(MODEL("{\"a\":0,\"b\":9999}", "[]") "}", bad,
	       "id 9999 of token \"b\"");
	refuse(MODEL("{\"a\":0,\"b\":4294967296}", "[]") "}", bad,
	       "id 4294967296 of token \"b\"");
	refuse(MODEL("{\"a\":0,\"b\":0}", "[]") "}", bad, "have the same id 0");
	refuse(MODEL("{\"a\":0,\"b\":1}", "[\"a b\"]") "}", bad,
	       "joins \"a\" and \"b\" to a token that is not");
	refuse(MODEL("{\"a\":0}", "[\"a c\"]") "}", bad, "token \"c\" of merge 0");
	refuse(MODEL("{\"a\":0}", "[\"abc\"]") "}", bad, "merge 0 is not a pair");
	refuse(MODEL("{\"a\":0}", "[[\"a\",1]]") "}", bad, "merge 0 is not a pair");
	refuse(MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[{\"id\":9999,"
	                                "\"content\":\"x\"}]}",
	       bad, "id 9999 of added token \"x\" is not below");
	refuse(MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[{\"id\":0,"
	                                "\"content\":\"x\"}]}",
	       bad, "\"a\" and \"x\" have the same id 0");
	refuse(MODEL("{\"a\":0,\"b\":1}", "[]") ",\"added_tokens\":[{\"id\":0,"
	                                        "\"content\":\"b\"}]}",
	       bad, "added token \"b\" has id 0, but 1");
	refuse(MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[5]}", bad,
	       "has nothing for a content");
	refuse(MODEL("{\"a\":0}", "[]") ",\"normalizer\":{\"type\":\"Magic\"}}",
	       FAILURE_UNSUPPORTED, "normalizers of type \"Magic\"");
	refuse(MODEL("{\"a\":0}", "[]") ",\"pre_tokenizer\":{\"type\":\"Split\","
	                                "\"pattern\":{\"Regex\":\"(\"}}}",
	       bad, "is not a regular expression");
	refuse(MODEL("{\"a\":0}", "[]") ",\"decoder\":{\"type\":\"Magic\"}}",
	       FAILURE_UNSUPPORTED, "decoders of type \"Magic\"");
	refuse(MODEL("{\"a\":0}", "[]") ",\"post_processor\":{\"type\":"
	                                "\"RobertaProcessing\",\"cls\":[\"a\",9],"
	                                "\"sep\":[\"a\",0]}}",
	       bad, "id 9 of the post-processor");
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	{
		Tokenizer *tokenizer;

		assert_fails(tokenizer_open(arena, directory, &tokenizer, &failure),
		             failure, FAILURE_NOT_FOUND, "has neither tokenizer.json");
	}
}

/* Cut anywhere, a real file is refused, and nothing worse happens. */
static void
a_truncated_file_is_refused(void **state)
{
	char *folder = test_golden_path(arena, "tokenizers/sentence_piece");
	char *text;
	size_t size;

	(void) state;
	text = file_read(arena, arena_printf(arena, "%s/tokenizer.json", folder),
	                 (size_t) 1 << 24, &size, &failure);
	for (size_t length = 0; length < size; length += 97)
	{
		Arena *own = arena_create();
		Tokenizer *tokenizer;

		test_write(arena, directory, "tokenizer.json", text, length);
		assert_false(tokenizer_open(own, directory, &tokenizer, &failure));
		arena_destroy(own);
	}
}

#define PART(part) MODEL("{\"a\":0}", "[]") "," part "}"
#define OTHER(type, rest) "{\"model\":{\"type\":\"" type "\"," rest "}}"

static void
broken_models_are_refused(void **state)
{
	const FailureCode bad = FAILURE_BAD_FILE;

	(void) state;
	refuse(OTHER("Unigram", "\"vocab\":{}"), bad, "\"vocab\" must be an array");
	refuse(OTHER("Unigram", "\"x\":1"), bad, "\"vocab\" must be an array");
	refuse(OTHER("Unigram", "\"vocab\":[5]"), bad,
	       "token 0 of the vocabulary is nothing");
	refuse(OTHER("Unigram", "\"vocab\":[[\"a\"]]"), bad,
	       "score of token \"a\" is nothing");
	refuse(OTHER("Unigram", "\"vocab\":[[\"a\",\"NaN\"]]"), bad,
	       "score of token \"a\" is a string");
	refuse(OTHER("Unigram", "\"vocab\":[[\"a\",NaN]]"), bad,
	       "is not valid JSON");
	refuse(OTHER("Unigram", "\"vocab\":[[\"a\",1e999]]"), bad,
	       "is not valid JSON");
	refuse(OTHER("Unigram", "\"vocab\":[[\"a\",0]],\"unk_id\":1"), bad,
	       "\"unk_id\" must be between 0 and 0, not 1");
	refuse(OTHER("WordPiece", "\"vocab\":[]"), bad,
	       "\"vocab\" must be an object");
	refuse(OTHER("WordPiece",
	             "\"vocab\":{\"a\":0},\"max_input_chars_per_word\":-1"),
	       bad, "\"max_input_chars_per_word\" must be between");
	refuse(OTHER("WordLevel", "\"vocab\":{\"a\":0.5}"), bad,
	       "id of token \"a\"");
	refuse(PART("\"added_tokens\":[{\"id\":1,\"content\":\"x\"},"
	            "{\"id\":2,\"content\":\"x\"}]"),
	       bad, "added token \"x\" has the ids 1 and 2");
}

static void
broken_steps_are_refused(void **state)
{
	const FailureCode bad = FAILURE_BAD_FILE;

	(void) state;
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\"}"), bad,
	       "\"precompiled_charsmap\" must be a string");
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\","
	            "\"precompiled_charsmap\":\"AAAA*AAA\"}"),
	       bad, "is not base64");
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\","
	            "\"precompiled_charsmap\":\"AAA\"}"),
	       bad, "is not base64");
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\","
	            "\"precompiled_charsmap\":\"\"}"),
	       bad, "has 0 bytes");
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\","
	            "\"precompiled_charsmap\":\"/////wAAAAA=\"}"),
	       bad, "has 8 bytes and says that its trie has 4294967295");
	refuse(PART("\"normalizer\":{\"type\":\"Precompiled\","
	            "\"precompiled_charsmap\":\"BAAAAAAAAAD//w==\"}"),
	       bad, "not valid UTF-8");
	refuse(PART("\"normalizer\":{\"type\":\"BertNormalizer\","
	            "\"lowercase\":\"yes\"}"),
	       bad, "\"lowercase\" must be true or false");
	refuse(PART("\"pre_tokenizer\":{\"type\":\"FixedLength\","
	            "\"length\":0}"),
	       bad, "\"length\" must be between 1");
	refuse(PART("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
	            "{\"Regex\":\"[^a-z&&[^b]]\"}}"),
	       FAILURE_UNSUPPORTED, "has an intersection in a negated");
	refuse(PART("\"pre_tokenizer\":{\"type\":\"Metaspace\","
	            "\"replacement\":\"\"}"),
	       bad, "\"replacement\" must be one character");
	refuse(PART("\"decoder\":{\"type\":\"Strip\",\"content\":\"\"}"), bad,
	       "\"content\" of decoder Strip is empty");
	refuse(PART("\"post_processor\":{\"type\":\"TemplateProcessing\","
	            "\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
	            "\"pair\":[],\"special_tokens\":{}}"),
	       bad, "special token \"x\" of the template is not described");
}

/* A Sequence of Sequences, as deep or as long as the reader lets it. */
static void
endless_sequences_are_refused(void **state)
{
	static const char open[] = "{\"type\":\"Sequence\",\"normalizers\":[";
	static const char step[] = "{\"type\":\"NFC\"},";
	char *text = arena_alloc(arena, 1 << 16);

	(void) state;
	strcpy(text, MODEL("{\"a\":0}", "[]") ",\"normalizer\":");
	for (int i = 0; i < 200; i++)
		strcat(text, open);
	for (int i = 0; i < 200; i++)
		strcat(text, "]}");
	strcat(text, "}");
	refuse(text, FAILURE_UNSUPPORTED, "more than 32 normalizers");
	strcpy(text, MODEL("{\"a\":0}", "[]") ",\"normalizer\":");
	strcat(text, open);
	for (int i = 0; i < 2000; i++)
		strcat(text, step);
	strcat(text, "{\"type\":\"NFC\"}]}}");
	refuse(text, FAILURE_UNSUPPORTED, "more than 32 normalizers");
}

static Tokenizer *
open_text(const char *text)
{
	Tokenizer *tokenizer;

	test_write(arena, directory, "tokenizer.json", text, strlen(text));
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	return tokenizer;
}

/* Patterns that try all ways to cut a text end in an error. */
static void
explosive_patterns_are_stopped(void **state)
{
	Tokenizer *tokenizer = open_text(
		PART("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
	         "{\"Regex\":\"(a|aa)*[bc]\"},\"behavior\":\"Isolated\"}"));
	char text[4000];
	TokenList list = {0};
	clock_t start = clock();

	(void) state;
	memset(text, 'a', sizeof(text));
	assert_fails(tokenizer_encode(tokenizer, arena, text, sizeof(text), true,
	                              &list, &failure),
	             failure, FAILURE_UNSUPPORTED, "matching the tokenizer's");
	assert_true((clock() - start) / CLOCKS_PER_SEC < 10);
}

/* A map whose trie points anywhere: no crash, and the text is still UTF-8. */
static void
a_lying_map_changes_texts_at_most(void **state)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t random = 7;

	(void) state;
	for (int round = 0; round < 300; round++)
	{
		char map[200] = "gAAA"; /* 128 bytes of trie */
		TokenList list = {0};
		Tokenizer *tokenizer;

		for (int i = 4; i < 192; i++)
		{
			random = random * 1664525 + 1013904223;
			map[i] = i < 176 ? letters[random >> 26] : 'Q';
		}
		map[4] = 'A';
		map[5] = 'A';
		tokenizer = open_text(
			arena_printf(arena,
		                 PART("\"normalizer\":{\"type\":\"Precompiled\","
		                      "\"precompiled_charsmap\":\"%s\"}"),
		                 map));
		assert_ok(tokenizer_encode(tokenizer, arena,
		                           "a\xc3\xa9z e\xcc\x81\r\n\x7f", 12, true,
		                           &list, &failure),
		          failure);
	}
}

/* As many as fit into a file: read and found in seconds. */
static void
a_million_added_tokens_are_found(void **state)
{
	enum
	{
		COUNT = 1000000,
		ROOM = 64
	};
	char *text = malloc((size_t) COUNT * ROOM);
	size_t used = 0;
	Arena *own = arena_create();
	Tokenizer *tokenizer;
	TokenList list = {0};
	char *aaa = malloc(100000);

	(void) state;
	used +=
		(size_t) sprintf(text, MODEL("{\"a\":0}", "[]") ",\"added_tokens\":[");
	for (int i = 0; i < COUNT; i++)
		used += (size_t) sprintf(
			text + used, "%s{\"id\":%d,\"content\":\"a%d\",\"special\":true}",
			i == 0 ? "" : ",", i + 1, i);
	used += (size_t) sprintf(text + used, "]}");
	test_write(arena, directory, "tokenizer.json", text, used);
	assert_ok(tokenizer_open(own, directory, &tokenizer, &failure), failure);
	memset(aaa, 'a', 100000);
	memcpy(aaa + 99993, "a999999", 7);
	assert_ok(
		tokenizer_encode(tokenizer, own, aaa, 100000, true, &list, &failure),
		failure);
	assert_int_equal(list.ids[list.count - 1], COUNT);
	arena_destroy(own);
	free(text);
	free(aaa);
}

static void
too_long_tokens_are_refused(void **state)
{
	char *token = arena_alloc(arena, 5001);

	(void) state;
	memset(token, 'a', 5000);
	refuse(
		arena_printf(arena, OTHER("Unigram", "\"vocab\":[[\"%s\",0]]"), token),
		FAILURE_UNSUPPORTED, "a token has 5000 bytes, more than 4096");
	refuse(arena_printf(
			   arena, PART("\"added_tokens\":[{\"id\":1,\"content\":\"%s\"}]"),
			   token),
	       FAILURE_UNSUPPORTED, "a token has 5000 bytes, more than 4096");
}

static void
refuse_list(const char *text, size_t length, FailureCode code, const char *part)
{
	Tokenizer *tokenizer;

	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	test_write(arena, directory, "vocab.txt", text, length);
	assert_fails(tokenizer_open(arena, directory, &tokenizer, &failure),
	             failure, code, part);
	unlink(arena_printf(arena, "%s/vocab.txt", directory));
}

static void
broken_lists_of_tokens_are_refused(void **state)
{
	static const char good[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n";

	(void) state;
	refuse_list("", 0, FAILURE_BAD_FILE, "has no token \"[UNK]\"");
	refuse_list(good, 12, FAILURE_BAD_FILE, "has no token \"[CLS]\"");
	refuse_list("a\nb\na\n", 6, FAILURE_BAD_FILE,
	            "token \"a\" is on line 1 and on line 3");
	refuse_list("a\0b\n", 4, FAILURE_BAD_FILE, "has a zero byte");
	refuse_list("a\n\xff\n", 4, FAILURE_BAD_FILE, "line 2 of");
}

/* What is only a SentencePiece model is refused with what to do. */
static void
a_bare_sentencepiece_model_is_refused(void **state)
{
	Tokenizer *tokenizer;

	(void) state;
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	test_write(arena, directory, "spiece.model", "x", 1);
	assert_fails(tokenizer_open(arena, directory, &tokenizer, &failure),
	             failure, FAILURE_UNSUPPORTED,
	             "has only spiece.model: tokenizer.json");
	unlink(arena_printf(arena, "%s/spiece.model", directory));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_files_are_refused),
		cmocka_unit_test(a_truncated_file_is_refused),
		cmocka_unit_test(broken_models_are_refused),
		cmocka_unit_test(broken_steps_are_refused),
		cmocka_unit_test(endless_sequences_are_refused),
		cmocka_unit_test(explosive_patterns_are_stopped),
		cmocka_unit_test(a_lying_map_changes_texts_at_most),
		cmocka_unit_test(a_million_added_tokens_are_found),
		cmocka_unit_test(too_long_tokens_are_refused),
		cmocka_unit_test(broken_lists_of_tokens_are_refused),
		cmocka_unit_test(a_bare_sentencepiece_model_is_refused),
	};
	int failed;

	arena = arena_create();
	directory = test_directory(arena);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	rmdir(directory);
	arena_destroy(arena);
	return failed;
}
