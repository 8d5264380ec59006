/*
 * prompt.h
 *		Prompts on their way to the engine: texts, or chats.
 *
 * A prompt of type json or jsonb is a chat: an array of messages, objects with
 * a role and a content.  The engine makes a text of it by the template of the
 * model that reads it.
 */
#pragma once

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/jsonb.h"

#include "wire/frame.h"

/* Is a column of this type one of chats: json, jsonb, a domain over them? */
extern bool prompt_type_is_chat(Oid type);
extern bool prompt_is_chat(TupleDesc columns, AttrNumber attribute);

/* Raises, and names the message, unless a model could read them. */
extern void prompt_check_messages(Jsonb *messages);

/*
 * A prompt column of a row as text in the database's encoding, palloc'd, or
 * NULL; the messages of a chat are checked.
 */
extern char *prompt_text(HeapTuple row, TupleDesc columns,
                         AttrNumber attribute);

/* Such a text as frames have it, in UTF-8; palloc'd, or the text itself. */
extern char *prompt_to_utf8(const char *text, bool is_chat, size_t *length);
extern void prompt_put(WireBuffer *payload, const char *text, bool is_chat);
