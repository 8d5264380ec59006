/*
 * text_model.h
 *		The kinds of models a tokenizer may have: how a piece becomes ids.
 */
#pragma once

#include "text/models/piece_cache.h"
#include "text/models/vocabulary.h"
#include "text/tokenizer.h"

typedef struct TextModel
{
	const struct TextModelType *type;
	const Vocabulary *vocabulary;
	PieceCache *cache;
	void *state; /* of the type */
} TextModel;

typedef struct TextModelType
{
	const char *name; /* in tokenizer.json */

	/* Reads the "model" object: vocabulary and state.  Ids lie in
	 * [0, limit). */
	bool (*open)(Arena *arena, const json_t *json, int limit, TextModel *model,
	             Failure *failure);

	/*
	 * How many bytes of a piece can be encoded on their own, without a change
	 * of the whole: at least 1.
	 */
	size_t (*word_length)(const TextModel *model, const char *text,
	                      size_t length);

	/* Appends the ids of such a word, valid UTF-8.  scratch is for the call
	 * alone, the list grows in arena. */
	bool (*encode)(const TextModel *model, Arena *arena, Arena *scratch,
	               const char *text, size_t length, TokenList *list,
	               Failure *failure);
} TextModelType;

/* Types, one a file. */
extern const TextModelType bpe_model_type;
extern const TextModelType unigram_model_type;
extern const TextModelType wordpiece_model_type;
extern const TextModelType wordlevel_model_type;

/* From the "model" object of a tokenizer.json. */
extern bool text_model_open(Arena *arena, const json_t *json, int limit,
                            TextModel *model, Failure *failure);

/* Appends the ids of one piece.  locked: this thread holds model->cache. */
extern bool text_model_encode(const TextModel *model, Arena *arena,
                              Arena *scratch, bool locked, const char *text,
                              size_t length, TokenList *list, Failure *failure);

/* For types whose pieces are words already. */
extern size_t whole_length(const TextModel *model, const char *text,
                           size_t length);

/* Appends an id to a list that grows in arena. */
extern bool token_list_add(TokenList *list, Arena *arena, int32_t id,
                           Failure *failure);
