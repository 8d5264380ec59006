/*
 * bert_text.h
 *		What BERT's tokenizers do to a text: cleaning, spaces around Chinese
 *		characters, no accents, no capitals.
 */
#pragma once

#include "text/buffer.h"

#include "formats/json.h"

typedef struct BertText BertText;

/* From a "BertNormalizer". */
extern bool bert_text_open(Arena *arena, const json_t *json, BertText **bert,
                           Failure *failure);

/* Appends the normalized text (valid UTF-8). */
extern bool bert_text_append(const BertText *bert, TextBuffer *out,
                             const char *text, size_t length, Failure *failure);
