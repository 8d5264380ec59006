/*
 * tokenizer.h
 *		Text to token ids and back, as the Hugging Face library `tokenizers`
 *		does it from the same tokenizer.json.
 *
 * Encoding is a pipeline: added tokens are cut out of the text, what lies
 * between them is normalized, split into pieces, and every piece goes through
 * the model (BPE); a template may add tokens around the whole.  A response is
 * encoded as a continuation: no template, and no space or "▁" of the
 * tokenizer's own in front, so that prompt and response together are their
 * plain concatenation and their border is a border of tokens.
 *
 * A tokenizer is read-only once it is open and may be used by many threads,
 * each with an arena of its own.
 */
#pragma once

#include "text/chat.h"

typedef struct Tokenizer Tokenizer;

/* Grows in the arena that each call is given; start with zeros. */
typedef struct TokenList
{
	int32_t *ids; /* [count] */
	int count;
	int capacity;
} TokenList;

/*
 * Opens directory/tokenizer.json, or vocab.json with merges.txt as older
 * directories have, and tokenizer_config.json or special_tokens_map.json
 * where they are there.  Lives in arena.
 */
extern bool tokenizer_open(Arena *arena, const char *directory,
                           Tokenizer **tokenizer, Failure *failure);

/*
 * Opens a tokenizer from what tokenizer.json and tokenizer_config.json (or
 * NULL) would hold; both are read and not kept.  A byte-pair vocabulary may
 * have "scores" in place of "merges": scores.h.
 */
extern bool tokenizer_open_json(Arena *arena, const json_t *json,
                                const json_t *config, Tokenizer **tokenizer,
                                Failure *failure);

/*
 * What tokenizer.json (of older files: would) hold, and tokenizer_config.json
 * or NULL, of a directory; owned by arena.
 */
extern bool tokenizer_read_json(Arena *arena, const char *directory,
                                const json_t **json, const json_t **config,
                                Failure *failure);

/* The highest id + 1, added tokens counted. */
extern int tokenizer_size(const Tokenizer *tokenizer);

/* Ids of the configuration's eos_token and bos_token, or -1. */
extern int tokenizer_eos(const Tokenizer *tokenizer);
extern int tokenizer_bos(const Tokenizer *tokenizer);

/*
 * Appends the ids of length bytes of text to list.  add_special: with the
 * tokenizer's own template (BOS where it adds one).  Bytes that are not UTF-8
 * count as U+FFFD.
 */
extern bool tokenizer_encode(const Tokenizer *tokenizer, Arena *arena,
                             const char *text, size_t length, bool add_special,
                             TokenList *list, Failure *failure);

/* Appends the ids of a text that goes on after a prompt. */
extern bool tokenizer_continue(const Tokenizer *tokenizer, Arena *arena,
                               const char *text, size_t length, TokenList *list,
                               Failure *failure);

/*
 * Appends the ids of two texts joined by the tokenizer's template for pairs.
 * types, if not NULL, gets the type of every id (0: first, 1: second text).
 */
extern bool tokenizer_encode_pair(const Tokenizer *tokenizer, Arena *arena,
                                  const char *first, size_t first_length,
                                  const char *second, size_t second_length,
                                  TokenList *list, TokenList *types,
                                  Failure *failure);

/*
 * The same for one text (second NULL) or two, in at most `limit` tokens,
 * special ones counted: texts are cut at their ends, the longer one first.
 */
extern bool tokenizer_encode_within(const Tokenizer *tokenizer, Arena *arena,
                                    int limit, const char *first,
                                    size_t first_length, const char *second,
                                    size_t second_length, TokenList *list,
                                    TokenList *types, Failure *failure);

/* Whether a model is to see those types: tokenizer_config.json tells what the
 * tokenizer gives to models; without them all tokens are of type 0. */
extern bool tokenizer_gives_types(const Tokenizer *tokenizer);

typedef struct DecodeOptions
{
	bool skip_special;    /* leave special tokens out */
	bool as_continuation; /* strip nothing at the start */
	bool zero_safe;       /* U+0000 becomes U+FFFD: PostgreSQL has no zero */
} DecodeOptions;

/*
 * The text of ids, in arena, with a zero byte after its length.  Always UTF-8:
 * broken sequences become U+FFFD.  Ids that the tokenizer does not know give
 * nothing.
 */
extern bool tokenizer_decode(const Tokenizer *tokenizer, Arena *arena,
                             const int32_t *ids, int count,
                             const DecodeOptions *options, char **text,
                             size_t *length, Failure *failure);

/*
 * The bytes of one token within a continuation, perhaps a part of a character;
 * they live as long as the tokenizer.  An id beyond the tokenizer has none;
 * false only for a negative id.
 */
extern bool tokenizer_token_bytes(const Tokenizer *tokenizer, int32_t id,
                                  const uint8_t **bytes, size_t *length);

extern bool tokenizer_is_special(const Tokenizer *tokenizer, int32_t id);

/* How it turns chats into prompts. */
extern const Chat *tokenizer_chat(const Tokenizer *tokenizer);
