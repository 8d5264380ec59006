/*
 * chat.h
 *		Chats to prompts, by the template that comes with a tokenizer.
 *
 * A chat is a JSON array of messages, {"role", "content"} and whatever else
 * the template reads.  The text has its special tokens in it, so it is encoded
 * without the tokenizer's own.  All as apply_chat_template() of transformers.
 */
#pragma once

#include "formats/json.h"
#include "text/jinja/jinja.h"

typedef struct Chat Chat;

/*
 * The template: chat_template.jinja in directory (NULL: none), or else
 * chat_template of the settings (tokenizer_config.json and
 * special_tokens_map.json; NULL where they are not there), a string or a list
 * of named ones; and the special tokens that the settings name.  A template
 * that is missing or cannot be read is no failure until somebody asks: then
 * chat_render() fails.
 */
extern bool chat_open(Arena *arena, const char *directory,
                      const json_t *const settings[2], Chat **chat,
                      Failure *failure);

/* The template's text, or NULL where there is none. */
extern const char *chat_template(const Chat *chat, size_t *length);

/* length bytes of JSON, the messages, to a text in arena with a zero byte
 * behind it. */
extern bool chat_render(const Chat *chat, Arena *arena, const char *messages,
                        size_t length, bool add_generation_prompt, char **text,
                        size_t *text_length, Failure *failure);
