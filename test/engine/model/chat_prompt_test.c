/*
 * chat_prompt_test.c
 *		Chats as prompts of a model: their tokens are those of the text that
 *		the template makes, with no special token but the template's.
 */
#include "on_cpu.h"
#include "testing.h"

#include "model/generation/generate.h"
#include "model/pair.h"

static const char chat[] =
	"\0[{\"role\": \"user\", \"content\": \"Is that a good idea?\"}]";
static const char template[] =
	"{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}|"
	"{% endfor %}{{ 'answer:' if add_generation_prompt }}";
static const char rendered[] = "user: Is that a good idea?|answer:";

static void
copy_file(Arena *arena, const char *from, const char *to, const char *name)
{
	Failure failure = {0};
	size_t size;
	char *content = file_read(arena, arena_printf(arena, "%s/%s", from, name),
	                          (size_t) 1 << 20, &size, &failure);

	assert_ok(content != NULL, failure);
	test_write(arena, to, name, content, size);
}

/* The tiny LLaMA, whose tokenizer puts a BOS before every prompt; with this
 * template, or none. */
static Model *
open_model(Arena *arena, const char *chat_template)
{
	static const char *const names[] = {
		"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"};
	char *golden = test_golden_path(arena, "decoders/llama");
	char *directory = test_directory(arena);
	Failure failure = {0};
	Model *model;

	copy_file(arena, golden, directory, names[0]);
	copy_file(arena, golden, directory, names[1]);
	if (chat_template != NULL)
		test_write(arena, directory, names[2], chat_template,
		           strlen(chat_template));
	assert_ok(model_open(arena, device, golden, directory, &model, &failure),
	          failure);
	for (int i = 0; i < 3; i++)
		unlink(arena_printf(arena, "%s/%s", directory, names[i]));
	rmdir(directory);
	return model;
}

static TokenList
encode(Arena *arena, Model *model, const char *text, size_t length)
{
	Failure failure = {0};
	TokenList list;

	assert_ok(
		prompt_encode(model, arena, 1000, false, text, length, &list, &failure),
		failure);
	return list;
}

static void
a_chat_has_one_bos_that_of_its_template(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_model(arena, template);
	TokenList chat_ids = encode(arena, model, chat, sizeof(chat) - 1);
	TokenList text_ids = encode(arena, model, rendered, strlen(rendered));
	int bos = tokenizer_bos(model_tokenizer(model));

	(void) state;
	assert_true(bos >= 0);
	assert_int_equal(chat_ids.ids[0], bos);
	assert_int_equal(chat_ids.count, text_ids.count);
	assert_memory_equal(chat_ids.ids, text_ids.ids,
	                    (size_t) text_ids.count * sizeof(int32_t));
	arena_destroy(arena);

	arena = arena_create();
	model = open_model(arena, "{{ messages[0].content }}");
	chat_ids = encode(arena, model, chat, sizeof(chat) - 1);
	assert_int_not_equal(chat_ids.ids[0], bos);
	arena_destroy(arena);
}

static void
a_long_chat_keeps_its_end_and_its_bos(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_model(arena, template);
	TokenList whole = encode(arena, model, chat, sizeof(chat) - 1);
	Failure failure = {0};
	TokenList cut;

	(void) state;
	assert_ok(prompt_encode(model, arena, 6, true, chat, sizeof(chat) - 1, &cut,
	                        &failure),
	          failure);
	assert_int_equal(cut.count, 6);
	assert_int_equal(cut.ids[0], whole.ids[0]);
	assert_memory_equal(cut.ids + 1, whole.ids + whole.count - 5,
	                    5 * sizeof(int32_t));
	arena_destroy(arena);
}

static void
a_pair_of_chat_and_response_is_their_concatenation(void **state)
{
	Arena *arena = arena_create();
	Model *model = open_model(arena, template);
	PairLimits limits = pair_no_limits();
	TokenList prompt = encode(arena, model, chat, sizeof(chat) - 1);
	TokenList response = {0};
	Failure failure = {0};
	Pair pair;

	(void) state;
	assert_ok(tokenizer_continue(model_tokenizer(model), arena, " Yes.", 5,
	                             &response, &failure),
	          failure);
	assert_ok(pair_encode(model, arena, &limits, chat, sizeof(chat) - 1,
	                      " Yes.", 5, &pair, &failure),
	          failure);
	assert_int_equal(pair.prompt, prompt.count);
	assert_int_equal(pair.tokens, prompt.count + response.count + 1);
	assert_memory_equal(pair.ids, prompt.ids,
	                    (size_t) prompt.count * sizeof(int32_t));
	assert_memory_equal(pair.ids + prompt.count, response.ids,
	                    (size_t) response.count * sizeof(int32_t));
	arena_destroy(arena);
}

static void
a_chat_that_cannot_be_a_prompt_says_why(void **state)
{
	static const char refusing[] = "{{ raise_exception('no chats here') }}";
	static const char broken[] = "{% if %}";
	static const char *const templates[] = {NULL, refusing, broken};
	static const char *const words[] = {"the model has no chat template",
	                                    "no chats here", "unexpected"};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Arena *arena = arena_create();
		Model *model = open_model(arena, templates[i]);
		Failure failure = {0};
		TokenList list;

		assert_false(prompt_encode(model, arena, 1000, false, chat,
		                           sizeof(chat) - 1, &list, &failure));
		assert_non_null(strstr(failure.message, words[i]));
		/* Texts work as ever. */
		assert_true(encode(arena, model, "text", 4).count > 0);
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chat_has_one_bos_that_of_its_template),
		cmocka_unit_test(a_long_chat_keeps_its_end_and_its_bos),
		cmocka_unit_test(a_pair_of_chat_and_response_is_their_concatenation),
		cmocka_unit_test(a_chat_that_cannot_be_a_prompt_says_why),
	};

	return run_on_cpu(tests);
}
