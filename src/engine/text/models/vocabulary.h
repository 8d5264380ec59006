/*
 * vocabulary.h
 *		The tokens of a model: text to id and back.
 */
#pragma once

#include "formats/json.h"

typedef struct Vocabulary Vocabulary;

/*
 * From an object of token -> id.  Ids must lie in [0, limit) and belong to one
 * token each.
 */
extern bool vocabulary_open(Arena *arena, const json_t *tokens, int limit,
                            Vocabulary **vocabulary, Failure *failure);

/*
 * From an array of [token, ...] arrays, ids by their order.  A token may come
 * up again: the last id is the one that is found, all of them have its text.
 */
extern bool vocabulary_open_list(Arena *arena, const json_t *tokens, int limit,
                                 Vocabulary **vocabulary, Failure *failure);

/* The id of a token, or -1. */
extern int32_t vocabulary_find(const Vocabulary *vocabulary, const char *text,
                               size_t length);

/* The text of an id (borrowed, zero-terminated), or NULL where there is none. */
extern const char *vocabulary_text(const Vocabulary *vocabulary, int32_t id,
                                   size_t *length);

/* The ids of <0x00> ... <0xFF>, each or -1. */
extern void vocabulary_find_bytes(const Vocabulary *vocabulary,
                                  int32_t ids[256]);

extern int vocabulary_count(const Vocabulary *vocabulary);

/* All ids lie below it. */
extern int vocabulary_limit(const Vocabulary *vocabulary);

/* Mixes length bytes into 64 bits, for tables of texts. */
extern uint64_t text_hash(const char *text, size_t length);
