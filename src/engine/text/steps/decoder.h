/*
 * decoder.h
 *		From the texts of tokens back to a text.
 */
#pragma once

#include "text/buffer.h"

#include "formats/json.h"

typedef struct Decoder Decoder;

/* A token's text as the vocabulary has it. */
typedef struct TokenText
{
	const char *text;
	size_t length;
} TokenText;

/* From tokenizer.json's "decoder", or NULL: tokens joined by spaces. */
extern bool decoder_open(Arena *arena, const json_t *json, Decoder **decoder,
                         Failure *failure);

/*
 * The text of count tokens, in arena.  as_continuation: what is otherwise
 * stripped at the start stays.
 */
extern bool decoder_run(const Decoder *decoder, Arena *arena,
                        const TokenText *tokens, size_t count,
                        bool as_continuation, const char **text, size_t *length,
                        Failure *failure);

/* Appends the bytes that one token stands for within a text. */
extern bool decoder_token_bytes(const Decoder *decoder, const TokenText *token,
                                TextBuffer *out, Failure *failure);

/* Whether a text is but the bytes of its tokens, repaired to UTF-8. */
extern bool decoder_joins_bytes(const Decoder *decoder);
