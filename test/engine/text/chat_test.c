/*
 * chat_test.c
 *		Chats to prompts beside apply_chat_template(), and where a template
 *		comes from.
 */
#include "testing.h"

#include "text/tokenizer.h"

/* The settings of a tokenizer with this template and these tokens. */
static Chat *
open_chat(Arena *arena, json_t *template, json_t *special)
{
	json_t *settings = json_object();
	const json_t *files[2] = {settings, NULL};
	Failure failure = {0};
	Chat *chat;

	json_object_update(settings, special);
	if (template != NULL)
		json_object_set(settings, "chat_template", template);
	assert_ok(chat_open(arena, NULL, files, &chat, &failure), failure);
	json_decref(settings);
	return chat;
}

static bool
render(Arena *arena, const Chat *chat, const char *messages, bool add,
       char **text, size_t *length, Failure *failure)
{
	memset(failure, 0, sizeof(Failure));
	return chat_render(chat, arena, messages, strlen(messages), add, text,
	                   length, failure);
}

/* A conversation of a golden file: the text, or the words of the refusal. */
static void
check_conversation(Arena *arena, const Chat *chat, json_t *row)
{
	char *messages = json_dumps(json_object_get(row, "messages"), JSON_COMPACT);
	bool add = json_is_true(json_object_get(row, "add_generation_prompt"));
	json_t *expected = json_object_get(row, "text");
	const char *error = json_string_value(json_object_get(row, "error"));
	Failure failure;
	char *text;
	size_t length;
	bool good = render(arena, chat, messages, add, &text, &length, &failure);

	free(messages);
	if (expected == NULL)
	{
		assert_false(good);
		assert_non_null(error);
		if (strstr(failure.message, error) == NULL)
			fail_msg("fails with \"%s\", not \"%s\"", failure.message, error);
		return;
	}
	assert_ok(good, failure);
	assert_int_equal(length, strlen(text));
	assert_string_equal(text, json_string_value(expected));
	assert_int_equal(length, json_string_length(expected));
}

static void
templates_give_what_transformers_gives(void **state)
{
	Arena *arena = arena_create();
	json_t *golden = test_read_json(arena, test_golden_path(arena, "chat"),
	                                "templates.json");
	json_t *templates = json_object_get(golden, "templates");
	json_t *rows = json_object_get(golden, "cases");

	(void) state;
	assert_true(json_array_size(rows) > 100);
	for (size_t i = 0; i < json_array_size(rows); i++)
	{
		Arena *scratch = arena_create();
		json_t *row = json_array_get(rows, i);
		json_t *template = json_object_get(
			templates, json_string_value(json_object_get(row, "name")));

		check_conversation(
			scratch,
			open_chat(scratch, template, json_object_get(golden, "special")),
			row);
		arena_destroy(scratch);
	}
	arena_destroy(arena);
}

/* The ids of the rendered text, without special tokens of the tokenizer. */
static void
check_ids(Arena *arena, const Tokenizer *tokenizer, json_t *row)
{
	json_t *text = json_object_get(row, "text");
	json_t *ids = json_object_get(row, "ids");
	TokenList list = {0};
	Failure failure;

	if (text == NULL)
		return;
	assert_ok(tokenizer_encode(tokenizer, arena, json_string_value(text),
	                           json_string_length(text), false, &list,
	                           &failure),
	          failure);
	assert_int_equal(list.count, json_array_size(ids));
	for (int t = 0; t < list.count; t++)
		assert_int_equal(list.ids[t],
		                 json_integer_value(json_array_get(ids, (size_t) t)));
}

static void
shared_conversations_give_their_texts_and_ids(void **state)
{
	static const char *const names[] = {"smollm2", "qwen2", "llama2", "llama3"};
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden/tokenizers");

	(void) state;
	for (size_t i = 0; root != NULL && i < 4; i++)
	{
		char *directory = arena_printf(arena, "%s/%s", root, names[i]);
		json_t *golden = test_read_json(arena, directory, "golden_chat.json");
		json_t *rows = json_object_get(golden, "conversations");
		Failure failure = {0};
		Tokenizer *tokenizer;

		assert_ok(tokenizer_open(arena, directory, &tokenizer, &failure),
		          failure);
		assert_true(json_array_size(rows) > 0);
		for (size_t r = 0; r < json_array_size(rows); r++)
		{
			Arena *scratch = arena_create();
			json_t *row = json_array_get(rows, r);

			check_conversation(scratch, tokenizer_chat(tokenizer), row);
			check_ids(scratch, tokenizer, row);
			arena_destroy(scratch);
		}
	}
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

static const char hello[] = "[{\"role\": \"user\", \"content\": \"hello\"}]";

static void
assert_renders(Arena *arena, const Chat *chat, const char *expected)
{
	Failure failure;
	char *text;
	size_t length;

	assert_ok(render(arena, chat, hello, true, &text, &length, &failure),
	          failure);
	assert_string_equal(text, expected);
}

static void
of_named_templates_the_default_is_taken(void **state)
{
	Arena *arena = arena_create();
	json_t *named = json_pack("[{s:s, s:s}, {s:s, s:s}]", "name", "tool_use",
	                          "template", "no", "name", "default", "template",
	                          "{{ messages[0].content }}");
	Failure failure;
	char *text;
	size_t length;

	(void) state;
	assert_renders(arena, open_chat(arena, named, NULL), "hello");
	json_array_remove(named, 1);
	assert_fails(render(arena, open_chat(arena, named, NULL), hello, true,
	                    &text, &length, &failure),
	             failure, FAILURE_UNSUPPORTED, "none is named \"default\"");
	json_decref(named);
	arena_destroy(arena);
}

static void
a_file_of_its_own_comes_before_the_settings(void **state)
{
	Arena *arena = arena_create();
	char *directory = test_directory(arena);
	char *path = test_write(arena, directory, "chat_template.jinja",
	                        "file\r\n{{ bos_token }}", 21);
	json_t *settings = json_pack("{s:s, s:{s:s}}", "chat_template", "settings",
	                             "bos_token", "content", "<s>");
	const json_t *files[2] = {settings, NULL};
	Failure failure = {0};
	Chat *chat;

	(void) state;
	assert_ok(chat_open(arena, directory, files, &chat, &failure), failure);
	assert_renders(arena, chat, "file\n<s>");
	unlink(path);
	assert_ok(chat_open(arena, directory, files, &chat, &failure), failure);
	assert_renders(arena, chat, "settings");
	rmdir(directory);
	json_decref(settings);
	arena_destroy(arena);
}

static void
without_a_template_a_chat_fails_with_a_hint(void **state)
{
	Arena *arena = arena_create();
	Failure failure;
	char *text;
	size_t length;

	(void) state;
	assert_fails(render(arena, open_chat(arena, NULL, NULL), hello, true, &text,
	                    &length, &failure),
	             failure, FAILURE_UNSUPPORTED,
	             "the model has no chat template");
	assert_non_null(strstr(failure.hint, "tokenizer_config.json"));
	arena_destroy(arena);
}

static void
messages_are_objects_in_an_array(void **state)
{
	static const struct
	{
		const char *messages;
		const char *words;
	} cases[] = {
		{"{}", "messages are an object, not an array"},
		{"[]", "there are no messages"},
		{"[{}, \"x\"]", "message 2 is a string, not an object"},
		{"[{\"role\": \"user\"}", ""},
	};
	Arena *arena = arena_create();
	json_t *template = json_string("{{ messages | length }}");
	const Chat *chat = open_chat(arena, template, NULL);
	Failure failure;
	char *text;
	size_t length;

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_false(render(arena, chat, cases[i].messages, true, &text,
		                    &length, &failure));
		assert_non_null(strstr(failure.message, cases[i].words));
	}
	json_decref(template);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_give_what_transformers_gives),
		cmocka_unit_test(shared_conversations_give_their_texts_and_ids),
		cmocka_unit_test(of_named_templates_the_default_is_taken),
		cmocka_unit_test(a_file_of_its_own_comes_before_the_settings),
		cmocka_unit_test(without_a_template_a_chat_fails_with_a_hint),
		cmocka_unit_test(messages_are_objects_in_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
