/*
 * tokenizer_test.c
 *		Ids and texts are those of the library `tokenizers`.
 */
#include "testing.h"

#include "text/tokenizer.h"

#include <dirent.h>
#include <sys/stat.h>

static Arena *arena;
static Failure failure;
static char *directory;

/* ------------------------------------------------------- golden values */

/* The ids of a JSON array against a list. */
static void
check_ids(const char *what, const char *text, const json_t *want,
          const TokenList *list)
{
	size_t count = json_array_size(want);
	bool same = count == (size_t) list->count;

	for (size_t i = 0; i < count && same; i++)
		same = json_integer_value(json_array_get(want, i)) == list->ids[i];
	if (same)
		return;
	printf("have:");
	for (int i = 0; i < list->count; i++)
		printf(" %d", list->ids[i]);
	printf("\nwant: %s\n", json_dumps(want, JSON_COMPACT));
	fail_msg("%s of \"%s\" differ", what, text);
}

static void
check_text(const json_t *want, const char *text, size_t length)
{
	if (length == json_string_length(want) &&
	    memcmp(text, json_string_value(want), length) == 0)
		return;
	fail_msg("decoded \"%s\", not \"%s\"", text, json_string_value(want));
}

static void
check_decode(const Tokenizer *tokenizer, const json_t *ids, const json_t *want,
             bool skip_special)
{
	DecodeOptions options = {.skip_special = skip_special};
	size_t count = json_array_size(ids);
	int32_t *list = arena_alloc(arena, (count + 1) * sizeof(int32_t));
	char *text;
	size_t length;

	for (size_t i = 0; i < count; i++)
		list[i] = (int32_t) json_integer_value(json_array_get(ids, i));
	assert_ok(tokenizer_decode(tokenizer, arena, list, (int) count, &options,
	                           &text, &length, &failure),
	          failure);
	check_text(want, text, length);
}

static const json_t *
member_or(const json_t *row, const char *key, const char *otherwise)
{
	const json_t *value = json_object_get(row, key);

	return value == NULL ? json_object_get(row, otherwise) : value;
}

static void
check_string(const Tokenizer *tokenizer, const json_t *row)
{
	const json_t *text = json_object_get(row, "text");
	const json_t *ids = json_object_get(row, "ids");
	const json_t *plain = member_or(row, "ids_plain", "ids");

	for (int special = 0; special < 2; special++)
	{
		TokenList list = {0};

		assert_ok(tokenizer_encode(tokenizer, arena, json_string_value(text),
		                           json_string_length(text), special == 1,
		                           &list, &failure),
		          failure);
		check_ids(special ? "ids" : "plain ids", json_string_value(text),
		          special ? ids : plain, &list);
	}
	check_decode(tokenizer, ids, json_object_get(row, "decoded"), false);
	check_decode(tokenizer, plain, member_or(row, "decoded_plain", "decoded"),
	             false);
	check_decode(tokenizer, ids, member_or(row, "decoded_skip", "decoded"),
	             true);
}

static void
check_pair(const Tokenizer *tokenizer, const json_t *row)
{
	const json_t *first = json_object_get(row, "first");
	const json_t *second = json_object_get(row, "second");
	TokenList list = {0};
	TokenList types = {0};

	assert_ok(tokenizer_encode_pair(
				  tokenizer, arena, json_string_value(first),
				  json_string_length(first), json_string_value(second),
				  json_string_length(second), &list, &types, &failure),
	          failure);
	check_ids("ids", json_string_value(first), json_object_get(row, "ids"),
	          &list);
	check_ids("types", json_string_value(first),
	          json_object_get(row, "type_ids"), &types);
}

/* Chats are encoded without special tokens: the text brings its own. */
static void
check_chats(const Tokenizer *tokenizer, const char *folder)
{
	const json_t *chats;
	size_t i;
	json_t *row;

	if (!file_exists(arena_printf(arena, "%s/golden_chat.json", folder)))
		return;
	chats = json_object_get(test_read_json(arena, folder, "golden_chat.json"),
	                        "conversations");
	json_array_foreach((json_t *) chats, i, row)
	{
		const json_t *text = json_object_get(row, "text");
		TokenList list = {0};

		if (!json_is_string(text))
			continue;
		assert_ok(tokenizer_encode(tokenizer, arena, json_string_value(text),
		                           json_string_length(text), false, &list,
		                           &failure),
		          failure);
		check_ids("chat ids", json_string_value(text),
		          json_object_get(row, "ids"), &list);
	}
}

static void
check_tokenizer(const char *folder)
{
	json_t *golden = test_read_json(arena, folder, "golden.json");
	Tokenizer *tokenizer;
	size_t i;
	json_t *row;

	print_message("%s\n", folder);
	assert_ok(tokenizer_open(arena, folder, &tokenizer, &failure), failure);
	assert_int_equal(tokenizer_size(tokenizer),
	                 json_integer_value(json_object_get(golden, "vocab_size")));
	json_array_foreach(json_object_get(golden, "strings"), i, row)
		check_string(tokenizer, row);
	json_array_foreach(json_object_get(golden, "decode"), i, row)
	{
		check_decode(tokenizer, json_object_get(row, "ids"),
		             json_object_get(row, "text"), false);
		check_decode(tokenizer, json_object_get(row, "ids"),
		             json_object_get(row, "text_skip"), true);
	}
	json_array_foreach(json_object_get(golden, "pairs"), i, row)
		check_pair(tokenizer, row);
	check_chats(tokenizer, folder);
}

/* Prompt with template, response as a continuation, then EOS. */
static void
check_joining(const char *folder)
{
	json_t *golden = test_read_json(arena, folder, "golden.json");
	Tokenizer *tokenizer;
	size_t i;
	json_t *row;

	print_message("%s\n", folder);
	assert_ok(tokenizer_open(arena, folder, &tokenizer, &failure), failure);
	assert_int_equal(
		tokenizer_eos(tokenizer),
		json_integer_value(json_object_get(golden, "eos_token_id")));
	json_array_foreach(json_object_get(golden, "pairs"), i, row)
	{
		const json_t *prompt = json_object_get(row, "prompt");
		const json_t *response = json_object_get(row, "response");
		TokenList first = {0};
		TokenList second = {0};
		int32_t eos = tokenizer_eos(tokenizer);
		const json_t *ids = json_object_get(row, "response_ids");

		assert_ok(tokenizer_encode(tokenizer, arena, json_string_value(prompt),
		                           json_string_length(prompt), true, &first,
		                           &failure) &&
		              tokenizer_continue(
						  tokenizer, arena, json_string_value(response),
						  json_string_length(response), &second, &failure),
		          failure);
		/* An empty prompt is the BOS of config.json, not ours to know. */
		if (first.count > 0)
			check_ids("prompt ids", json_string_value(prompt),
			          json_object_get(row, "prompt_ids"), &first);
		assert_int_equal(json_array_size(ids), second.count + 1);
		assert_int_equal(
			json_integer_value(json_array_get(ids, (size_t) second.count)),
			eos);
		json_array_remove((json_t *) ids, (size_t) second.count);
		check_ids("response ids", json_string_value(response), ids, &second);
	}
}

/* Encoders read one text or two (an empty second is none), decoders both in
 * one. */
static void
check_classifier(const char *folder)
{
	json_t *golden = test_read_json(arena, folder, "golden.json");
	bool is_pair = strcmp(json_string_value(json_object_get(golden, "input")),
	                      "text pair") == 0;
	Tokenizer *tokenizer;
	size_t i;
	json_t *row;

	print_message("%s\n", folder);
	assert_ok(tokenizer_open(arena, folder, &tokenizer, &failure), failure);
	json_array_foreach(json_object_get(golden, "texts"), i, row)
	{
		const char *first = json_string_value(json_object_get(row, "first"));
		const char *second = json_string_value(json_object_get(row, "second"));
		const json_t *type_ids = json_object_get(row, "type_ids");
		TokenList list = {0};
		TokenList types = {0};
		char *text = arena_printf(arena, "%s%s", first,
		                          second == NULL || is_pair ? "" : second);
		bool done = is_pair && second != NULL && second[0] != '\0'
		                ? tokenizer_encode_pair(
							  tokenizer, arena, first, strlen(first), second,
							  strlen(second), &list, &types, &failure)
		                : tokenizer_encode(tokenizer, arena, text, strlen(text),
		                                   true, &list, &failure);

		assert_ok(done, failure);
		check_ids("ids", text, json_object_get(row, "ids"), &list);
		if (json_is_array(type_ids) && types.count > 0)
			check_ids("types", text, type_ids, &types);
	}
}

/* Calls check for every folder of path that has a golden.json. */
static void
for_each_folder(const char *path, void (*check)(const char *folder))
{
	DIR *folders = path == NULL ? NULL : opendir(path);
	struct dirent *entry;

	while (folders != NULL && (entry = readdir(folders)) != NULL)
	{
		char *folder = arena_printf(arena, "%s/%s", path, entry->d_name);

		if (entry->d_name[0] != '.' &&
		    file_exists(arena_printf(arena, "%s/golden.json", folder)))
			check(folder);
	}
	if (folders != NULL)
		closedir(folders);
}

static void
ids_and_texts_are_those_of_the_reference(void **state)
{
	(void) state;
	for_each_folder(test_golden_path(arena, "tokenizers"), check_tokenizer);
	for_each_folder(test_shared_path(arena, "golden/tokenizers"),
	                check_tokenizer);
}

static void
prompts_and_responses_join_like_the_reference(void **state)
{
	(void) state;
	for_each_folder(test_golden_path(arena, "decoders"), check_joining);
	for_each_folder(test_shared_path(arena, "golden/decoders"), check_joining);
}

static void
classifiers_read_what_the_reference_reads(void **state)
{
	(void) state;
	for_each_folder(test_shared_path(arena, "golden/classifiers"),
	                check_classifier);
}

/* ------------------------------------------------- tokenizers made here */

static void
write_text(const char *name, const char *text)
{
	test_write(arena, directory, name, text, strlen(text));
}

static Tokenizer *
open_text(const char *text)
{
	Tokenizer *tokenizer;

	write_text("tokenizer.json", text);
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	return tokenizer;
}

#define MODEL(vocab, merges)                                                   \
	"{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}"

/* The directory's files as they are, but for tokenizer.json. */
static void
copy_old_files(const char *folder, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
	{
		size_t size;
		char *content =
			file_read(arena, arena_printf(arena, "%s/%s", folder, names[i]),
		              (size_t) 1 << 24, &size, &failure);

		test_write(arena, directory, names[i], content, size);
	}
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
}

static void
older_directories_have_two_files(void **state)
{
	char *folder = test_shared_path(arena, "golden/tokenizers/gpt2");
	static const char *const names[] = {"vocab.json", "merges.txt"};
	const char *text = "Hello there,  world's 123 \xc3\xa9<|endoftext|>";
	TokenList lists[2] = {{0}, {0}};
	Tokenizer *tokenizers[2];

	(void) state;
	if (folder == NULL)
		return;
	copy_old_files(folder, names, 2);
	for (int i = 0; i < 2; i++)
	{
		assert_ok(tokenizer_open(arena, i == 0 ? folder : directory,
		                         &tokenizers[i], &failure),
		          failure);
		assert_ok(tokenizer_encode(tokenizers[i], arena, text, strlen(text),
		                           true, &lists[i], &failure),
		          failure);
	}
	assert_int_equal(tokenizer_eos(tokenizers[1]),
	                 tokenizer_eos(tokenizers[0]));
	assert_int_equal(lists[0].count, lists[1].count);
	assert_memory_equal(lists[0].ids, lists[1].ids,
	                    (size_t) lists[0].count * sizeof(int32_t));
	for (int i = 0; i < 2; i++)
		unlink(arena_printf(arena, "%s/%s", directory, names[i]));
}

/* The files of a golden tokenizer that are not tokenizer.json say as much. */
static void
check_old_files(const char *name, const char *const *names, int count)
{
	char *folder =
		test_golden_path(arena, arena_printf(arena, "tokenizers/%s", name));
	json_t *golden = test_read_json(arena, folder, "golden.json");
	Tokenizer *tokenizer;
	size_t i;
	json_t *row;

	copy_old_files(folder, names, count);
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	json_array_foreach(json_object_get(golden, "strings"), i, row)
		check_string(tokenizer, row);
	json_array_foreach(json_object_get(golden, "pairs"), i, row)
		check_pair(tokenizer, row);
	for (int j = 0; j < count; j++)
		unlink(arena_printf(arena, "%s/%s", directory, names[j]));
}

/* The oldest directories of BERT are but a list of tokens. */
static void
a_list_of_tokens_is_a_bert_tokenizer(void **state)
{
	static const char *const names[] = {"vocab.txt", "tokenizer_config.json"};

	(void) state;
	check_old_files("bert", names, 2);
}

/* Those of RoBERTa look like GPT-2's, but name a CLS and a SEP. */
static void
two_files_with_a_cls_are_a_roberta_tokenizer(void **state)
{
	static const char *const names[] = {"vocab.json", "merges.txt",
	                                    "added_tokens.json",
	                                    "tokenizer_config.json"};

	(void) state;
	check_old_files("roberta", names, 4);
}

/* Tokens that were added to an old directory lie in a file of their own. */
static void
older_directories_may_have_added_tokens(void **state)
{
	static const char *const names[] = {"vocab.json", "merges.txt",
	                                    "added_tokens.json",
	                                    "special_tokens_map.json"};
	static const char *const texts[] = {
		"{\"a\":0,\"b\":1,\"ab\":2}", "#version: 0.2\na b\n",
		"{\"<x>\":3,\"<pad>\":4}", "{\"pad_token\":\"<pad>\"}"};
	TokenList list = {0};
	Tokenizer *tokenizer;

	(void) state;
	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	for (int i = 0; i < 4; i++)
		test_write(arena, directory, names[i], texts[i], strlen(texts[i]));
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	assert_ok(tokenizer_encode(tokenizer, arena, "ab<x>b<pad>", 11, true, &list,
	                           &failure),
	          failure);
	assert_int_equal(list.count, 4);
	assert_memory_equal(list.ids, ((int32_t[]){2, 3, 1, 4}), 16);
	assert_false(tokenizer_is_special(tokenizer, 3));
	assert_true(tokenizer_is_special(tokenizer, 4));
	for (int i = 0; i < 4; i++)
		unlink(arena_printf(arena, "%s/%s", directory, names[i]));
}

/* The ids of text in a directory of the files; second may be NULL. */
static TokenList
ids_of_files(const char *const files[][2], int count, const char *first,
             const char *second)
{
	TokenList list = {0};
	Tokenizer *tokenizer;

	unlink(arena_printf(arena, "%s/tokenizer.json", directory));
	for (int i = 0; i < count; i++)
		test_write(arena, directory, files[i][0], files[i][1],
		           strlen(files[i][1]));
	assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure), failure);
	assert_ok(tokenizer_encode_within(
				  tokenizer, arena, 100, first, strlen(first), second,
				  second == NULL ? 0 : strlen(second), &list, NULL, &failure),
	          failure);
	for (int i = 0; i < count; i++)
		unlink(arena_printf(arena, "%s/%s", directory, files[i][0]));
	return list;
}

static void
two_files_of_a_roberta_have_its_template(void **state)
{
	const char *const files[][2] = {
		{"vocab.json", "{\"<s>\":0,\"<pad>\":1,\"</s>\":2,\"<unk>\":3,"
	                   "\"a\":4,\"\u0120\":5,\"<mask>\":6}"},
		{"merges.txt", "#version: 0.2\n"},
		{"config.json", "{\"model_type\":\"roberta\"}"},
		{"special_tokens_map.json",
	     "{\"mask_token\":{\"content\":\"<mask>\",\"lstrip\":true}}"}};
	TokenList list = ids_of_files(files, 3, "a", "a");

	(void) state;
	assert_int_equal(list.count, 6);
	assert_memory_equal(list.ids, ((int32_t[]){0, 4, 2, 2, 4, 2}), 24);
	list = ids_of_files(files, 3, "a <mask>", NULL);
	assert_int_equal(list.count, 5);
	assert_memory_equal(list.ids, ((int32_t[]){0, 4, 5, 6, 2}), 20);
	list = ids_of_files(files, 4, "a <mask>", NULL);
	assert_int_equal(list.count, 4);
	assert_memory_equal(list.ids, ((int32_t[]){0, 4, 6, 2}), 16);
}

static void
two_files_begin_with_bos_where_the_settings_say(void **state)
{
	const char *const files[][2] = {
		{"vocab.json", "{\"a\":0,\"<b>\":1}"},
		{"merges.txt", ""},
		{"tokenizer_config.json",
	     "{\"add_bos_token\":true,\"bos_token\":\"<b>\"}"}};
	TokenList list = ids_of_files(files, 3, "a", NULL);

	(void) state;
	assert_int_equal(list.count, 2);
	assert_memory_equal(list.ids, ((int32_t[]){1, 0}), 8);
	assert_int_equal(ids_of_files(files, 2, "a", NULL).count, 1);
}

static void
the_settings_may_list_added_tokens(void **state)
{
	const char *const files[][2] = {
		{"vocab.json", "{\"a\":0,\"\u0120\":1}"},
		{"merges.txt", ""},
		{"tokenizer_config.json",
	     "{\"added_tokens_decoder\":{\"2\":{\"content\":\"<x>\",\"lstrip\":"
	     "true,\"rstrip\":false,\"single_word\":false,\"normalized\":false,"
	     "\"special\":true}}}"}};
	TokenList list = ids_of_files(files, 3, "a <x>", NULL);

	(void) state;
	assert_int_equal(list.count, 2);
	assert_memory_equal(list.ids, ((int32_t[]){0, 2}), 8);
}

/* As transformers 5: only what model_input_names lists, or else the class. */
static void
settings_say_whether_models_see_types(void **state)
{
	static const struct
	{
		const char *settings;
		bool gives;
	} cases[] = {
		{"{}", true},
		{"{\"tokenizer_class\":\"BertTokenizer\"}", true},
		{"{\"tokenizer_class\":\"TokenizersBackend\"}", false},
		{"{\"tokenizer_class\":\"TokenizersBackend\",\"model_input_names\":"
	     "[\"input_ids\",\"token_type_ids\"]}",
	     true},
		{"{\"model_input_names\":[\"input_ids\"]}", false},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		write_text("tokenizer_config.json", cases[i].settings);
		assert_int_equal(
			tokenizer_gives_types(open_text(MODEL("{\"a\":0}", "[]") "}")),
			cases[i].gives);
	}
	unlink(arena_printf(arena, "%s/tokenizer_config.json", directory));
}

static void
pieces_of_a_response_join_to_its_text(void **state)
{
	char *folder = test_shared_path(arena, "models/stories260K");
	const char *text = " Once  upon a time\n\xe2\x82\xac there";
	DecodeOptions options = {.as_continuation = true};
	TokenList list = {0};
	Tokenizer *tokenizer;
	char joined[256];
	char *decoded;
	size_t length;
	size_t used = 0;

	(void) state;
	if (folder == NULL)
		return;
	assert_ok(tokenizer_open(arena, folder, &tokenizer, &failure), failure);
	assert_ok(tokenizer_continue(tokenizer, arena, text, strlen(text), &list,
	                             &failure),
	          failure);
	assert_ok(tokenizer_decode(tokenizer, arena, list.ids, list.count, &options,
	                           &decoded, &length, &failure),
	          failure);
	assert_string_equal(decoded, text);
	for (int i = 0; i < list.count; i++)
	{
		const uint8_t *bytes;

		assert_true(
			tokenizer_token_bytes(tokenizer, list.ids[i], &bytes, &length));
		memcpy(joined + used, bytes, length);
		used += length;
	}
	assert_int_equal(used, strlen(text));
	assert_memory_equal(joined, text, used);
}

static void
unknown_ids_give_nothing_and_zeros_are_replaced(void **state)
{
	Tokenizer *tokenizer = open_text(MODEL(
		"{\"a\":0,\"\xc4\x80\":1,\"<e>\":2}",
		"[]") ",\"decoder\":"
	          "{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":2,\"content\":"
	          "\"<e>\",\"special\":true}]}");
	int32_t ids[] = {0, 1, 7, -3, 2, 0};
	DecodeOptions options = {.skip_special = true, .zero_safe = true};
	const uint8_t *bytes;
	char *text;
	size_t length;

	(void) state;
	assert_ok(tokenizer_decode(tokenizer, arena, ids, 6, &options, &text,
	                           &length, &failure),
	          failure);
	assert_string_equal(text, "a\xef\xbf\xbd"
	                          "a");
	assert_false(tokenizer_token_bytes(tokenizer, -1, &bytes, &length));
	assert_true(tokenizer_token_bytes(tokenizer, 99, &bytes, &length));
	assert_int_equal(length, 0);
	assert_true(tokenizer_is_special(tokenizer, 2));
	assert_false(tokenizer_is_special(tokenizer, 99));
}

/* Values of the library. */
static void
stripped_white_space_is_seen_again(void **state)
{
	Tokenizer *tokenizer = open_text(
		"{\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":"
		"{\"u\":0}},\"added_tokens\":["
		"{\"id\":1,\"content\":\"<r>\",\"rstrip\":true,\"normalized\":false},"
		"{\"id\":2,\"content\":\"\\n\",\"rstrip\":true,\"normalized\":false},"
		"{\"id\":3,\"content\":\"\\t\",\"lstrip\":true,\"rstrip\":true,"
		"\"normalized\":false}]}");
	static const char *const texts[] = {"<r>\n\nx", "\n \nx", "\t\r\tx"};
	static const int32_t ids[][4] = {{1, 2, 2, 0}, {2, 2, 0}, {3, 0}};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		TokenList list = {0};

		assert_ok(tokenizer_encode(tokenizer, arena, texts[i], strlen(texts[i]),
		                           true, &list, &failure),
		          failure);
		assert_int_equal(list.count, 4 - i);
		assert_memory_equal(list.ids, ids[i], (size_t) (4 - i) * 4);
	}
}

static void
a_vocabulary_may_have_holes(void **state)
{
	Tokenizer *tokenizer = open_text(MODEL("{\"a\":0,\"b\":7}", "[]") "}");
	DecodeOptions options = {0};
	int32_t ids[] = {0, 3, 7};
	char *text;
	size_t length;

	(void) state;
	assert_int_equal(tokenizer_size(tokenizer), 8);
	assert_ok(tokenizer_decode(tokenizer, arena, ids, 3, &options, &text,
	                           &length, &failure),
	          failure);
	assert_string_equal(text, "a b");
}

/* Any bytes at all: no crash, and the same ids as the repaired text. */
static void
bytes_that_are_not_utf8_are_repaired(void **state)
{
	char *folder = test_golden_path(arena, "tokenizers/llama3");
	Tokenizer *tokenizer;
	uint32_t random = 1;

	(void) state;
	assert_ok(tokenizer_open(arena, folder, &tokenizer, &failure), failure);
	for (int round = 0; round < 2000; round++)
	{
		Arena *own = arena_create();
		char text[64];
		TokenList list = {0};
		size_t length = (size_t) round % sizeof(text);

		for (size_t i = 0; i < length; i++)
		{
			random = random * 1664525 + 1013904223;
			text[i] = (char) (random >> 24);
		}
		assert_ok(tokenizer_encode(tokenizer, own, text, length, true, &list,
		                           &failure),
		          failure);
		arena_destroy(own);
	}
	{
		TokenList broken = {0};
		TokenList repaired = {0};

		assert_true(tokenizer_encode(tokenizer, arena, "a\xf0\x9f\x98z", 5,
		                             true, &broken, &failure));
		assert_true(tokenizer_encode(tokenizer, arena, "a\xef\xbf\xbdz", 5,
		                             true, &repaired, &failure));
		assert_int_equal(broken.count, repaired.count);
		assert_memory_equal(broken.ids, repaired.ids,
		                    (size_t) broken.count * sizeof(int32_t));
	}
}

/* Long pieces go through a heap, short ones do not; both agree. */
static void
a_long_piece_is_merged_like_its_parts(void **state)
{
	Tokenizer *tokenizer =
		open_text(MODEL("{\"a\":0,\"b\":1,\"aa\":2,\"aab\":3,\"aaaa\":4}",
	                    "[\"a a\",\"aa b\",\"aa aa\"]") "}");
	TokenList few = {0};
	TokenList many = {0};
	char text[600];

	(void) state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 4 == 3 ? 'b' : 'a';
	assert_true(
		tokenizer_encode(tokenizer, arena, text, 4, false, &few, &failure));
	assert_true(tokenizer_encode(tokenizer, arena, text, sizeof(text), false,
	                             &many, &failure));
	assert_int_equal(few.count, 3);
	assert_int_equal(many.count, 450);
	for (int i = 0; i < many.count; i++)
		assert_int_equal(many.ids[i], few.ids[i % 3]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_and_texts_are_those_of_the_reference),
		cmocka_unit_test(prompts_and_responses_join_like_the_reference),
		cmocka_unit_test(classifiers_read_what_the_reference_reads),
		cmocka_unit_test(older_directories_have_two_files),
		cmocka_unit_test(a_list_of_tokens_is_a_bert_tokenizer),
		cmocka_unit_test(two_files_with_a_cls_are_a_roberta_tokenizer),
		cmocka_unit_test(older_directories_may_have_added_tokens),
		cmocka_unit_test(two_files_of_a_roberta_have_its_template),
		cmocka_unit_test(two_files_begin_with_bos_where_the_settings_say),
		cmocka_unit_test(the_settings_may_list_added_tokens),
		cmocka_unit_test(settings_say_whether_models_see_types),
		cmocka_unit_test(pieces_of_a_response_join_to_its_text),
		cmocka_unit_test(unknown_ids_give_nothing_and_zeros_are_replaced),
		cmocka_unit_test(stripped_white_space_is_seen_again),
		cmocka_unit_test(a_vocabulary_may_have_holes),
		cmocka_unit_test(bytes_that_are_not_utf8_are_repaired),
		cmocka_unit_test(a_long_piece_is_merged_like_its_parts),
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
