/*
 * chat.c
 *		Chats to prompts, by the template that comes with a tokenizer.
 */
#include "text/chat.h"

#include "base/file.h"

#include <string.h>

#define TEMPLATE_SIZE ((size_t) 4 << 20)

static const char *const special_names[] = {
	"bos_token", "eos_token", "unk_token",  "sep_token",
	"pad_token", "cls_token", "mask_token",
};

#define SPECIAL_NAMES (sizeof(special_names) / sizeof(special_names[0]))

struct Chat
{
	const char *text; /* of the template, [length]; NULL: there is none */
	size_t length;
	JinjaTemplate *template; /* NULL: there is none that can be used, and */
	Failure *failure;        /* why */
	const char *special[SPECIAL_NAMES]; /* text; NULL: not set */
};

/*
 * Reads the template; what is wrong with it is kept for those who ask.  It is
 * read twice, so that one that fails after much memory leaves none of it.
 */
static void
set_template(Arena *arena, Chat *chat, const char *text, size_t length)
{
	Arena *scratch = arena_create();

	chat->text = arena_strndup(arena, text, length);
	chat->length = length;
	if (!jinja_read(scratch, text, length, &chat->template, chat->failure) ||
	    !jinja_read(arena, text, length, &chat->template, chat->failure))
		chat->template = NULL;
	arena_destroy(scratch);
}

/* From tokenizer_config.json: a string, or [{"name", "template"}]. */
static void
read_settings(Arena *arena, Chat *chat, const json_t *settings)
{
	const json_t *given = json_member(settings, "chat_template");
	const json_t *text = given;

	for (size_t i = 0; json_is_array(given) && i < json_array_size(given); i++)
	{
		const json_t *one = json_array_get(given, i);
		const char *name = json_string_value(json_object_get(one, "name"));

		if (name != NULL && strcmp(name, "default") == 0)
			text = json_object_get(one, "template");
	}
	if (json_is_string(text))
		set_template(arena, chat, json_string_value(text),
		             json_string_length(text));
	else if (json_is_array(text))
		fail(chat->failure, FAILURE_UNSUPPORTED,
		     "of the model's %zu chat templates none is named \"default\"",
		     json_array_size(text));
	else if (text != NULL)
		fail(chat->failure, FAILURE_BAD_FILE,
		     "chat_template of tokenizer_config.json is %s",
		     json_type_name(text));
}

/* A special token's text, also where it is {"content": text}. */
static const char *
special_text(const json_t *const settings[2], const char *name)
{
	for (int i = 0; i < 2; i++)
	{
		const json_t *value = json_object_get(settings[i], name);

		if (json_is_object(value))
			value = json_object_get(value, "content");
		if (json_is_string(value))
			return json_string_value(value);
	}
	return NULL;
}

const char *
chat_template(const Chat *chat, size_t *length)
{
	*length = chat->length;
	return chat->text;
}

bool
chat_open(Arena *arena, const char *directory, const json_t *const settings[2],
          Chat **chat, Failure *failure)
{
	Chat *opened = arena_alloc(arena, sizeof(Chat));
	const char *path = NULL;
	char *text;
	size_t length;

	*chat = opened;
	for (size_t i = 0; i < SPECIAL_NAMES; i++)
	{
		const char *token = special_text(settings, special_names[i]);

		if (token != NULL)
			opened->special[i] = arena_strdup(arena, token);
	}
	opened->failure = arena_alloc(arena, sizeof(Failure));
	fail(opened->failure, FAILURE_UNSUPPORTED,
	     "the model has no chat template");
	fail_hint(opened->failure,
	          "A chat needs a model whose tokenizer_config.json or "
	          "chat_template.jinja holds one. Otherwise give the prompt as "
	          "text.");
	if (directory != NULL)
		path = arena_printf(arena, "%s/chat_template.jinja", directory);
	if (path == NULL || !file_exists(path))
	{
		read_settings(arena, opened, settings[0]);
		return true;
	}
	text = file_read(arena, path, TEMPLATE_SIZE, &length, failure);
	if (text == NULL)
		return false;
	set_template(arena, opened, text, length);
	return true;
}

/* ------------------------------------------------------------ variables */

/*
 * Reasoning goes by three names; templates read the first or the second
 * (transformers' own rule).
 */
static int
name_reasoning(json_t *message)
{
	static const char *const names[] = {"reasoning_content", "thinking",
	                                    "reasoning"};
	json_t *reasoning = NULL;

	for (int i = 0; i < 3 && reasoning == NULL; i++)
		reasoning = json_object_get(message, names[i]);
	if (reasoning == NULL)
		return 0;
	if (json_object_get(message, names[1]) == NULL &&
	    json_object_set(message, names[1], reasoning) != 0)
		return -1;
	return json_object_set(message, names[0], reasoning);
}

/* The message without members that are null, as a new reference. */
static json_t *
normalize(json_t *message)
{
	json_t *copy = json_object();
	const char *key;
	json_t *value;

	json_object_foreach(message, key, value)
	{
		if (!json_is_null(value) && json_object_set(copy, key, value) != 0)
		{
			json_decref(copy);
			return NULL;
		}
	}
	if (copy != NULL && name_reasoning(copy) != 0)
	{
		json_decref(copy);
		return NULL;
	}
	return copy;
}

static bool
check_messages(const json_t *messages, Failure *failure)
{
	if (!json_is_array(messages))
		return fail(failure, FAILURE_BAD_INPUT, "messages are %s, not an array",
		            json_type_name(messages));
	if (json_array_size(messages) == 0)
		return fail(failure, FAILURE_BAD_INPUT, "there are no messages");
	for (size_t i = 0; i < json_array_size(messages); i++)
	{
		const json_t *message = json_array_get(messages, i);

		if (!json_is_object(message))
			return fail(failure, FAILURE_BAD_INPUT,
			            "message %zu is %s, not an object", i + 1,
			            json_type_name(message));
	}
	return true;
}

static void
release(void *json)
{
	json_decref(json);
}

/* What the template sees; NULL without memory. */
static json_t *
variables_of(const Chat *chat, const json_t *messages, bool add)
{
	json_t *list = json_array();
	json_t *variables =
		json_pack("{s:o, s:b, s:n, s:n}", "messages", list,
	              "add_generation_prompt", (int) add, "tools", "documents");

	if (variables == NULL)
		return NULL;
	for (size_t i = 0; i < json_array_size(messages); i++)
		if (json_array_append_new(list,
		                          normalize(json_array_get(messages, i))) != 0)
		{
			json_decref(variables);
			return NULL;
		}
	for (size_t i = 0; i < SPECIAL_NAMES; i++)
		if (chat->special[i] != NULL)
			json_object_set_new(variables, special_names[i],
			                    json_string(chat->special[i]));
	return variables;
}

bool
chat_render(const Chat *chat, Arena *arena, const char *messages, size_t length,
            bool add_generation_prompt, char **text, size_t *text_length,
            Failure *failure)
{
	json_t *json;
	json_t *variables;

	if (chat->template == NULL)
	{
		*failure = *chat->failure;
		return false;
	}
	if (!json_open_text(arena, messages, length, "messages", &json, failure) ||
	    !check_messages(json, failure))
		return false;
	variables = variables_of(chat, json, add_generation_prompt);
	if (variables == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for %zu messages", json_array_size(json));
	arena_on_destroy(arena, release, variables);
	return jinja_render(chat->template, arena, variables, text, text_length,
	                    failure);
}
