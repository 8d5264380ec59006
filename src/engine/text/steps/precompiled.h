/*
 * precompiled.h
 *		SentencePiece's own normalization, which its models carry along.
 *
 * The map is the size of a double-array trie in bytes (32 bits, little
 * endian), the trie, and the replacements, each ended by a zero byte; a text
 * found in the trie gives the offset of its replacement.
 */
#pragma once

#include "text/buffer.h"

#include "formats/json.h"

typedef struct Precompiled Precompiled;

/* From the base64 of a map. */
extern bool precompiled_open(Arena *arena, const json_t *charsmap,
                             Precompiled **precompiled, Failure *failure);

/* Appends the normalized text (valid UTF-8). */
extern void precompiled_run(const Precompiled *precompiled, TextBuffer *out,
                            const char *text, size_t length);
