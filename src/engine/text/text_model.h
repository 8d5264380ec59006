/*
 * text_model.h
 *		The kinds of models a tokenizer may have: how a piece becomes ids.
 */
#pragma once

#include "text/tokenizer.h"
#include "text/vocabulary.h"

typedef struct TextModel
{
	const struct TextModelType *type;
	const Vocabulary *vocabulary;
	void *state; /* of the type */
} TextModel;

typedef struct TextModelType
{
	const char *name; /* in tokenizer.json */

	/* Reads the "model" object; ids lie in [0, limit). */
	bool (*open)(Arena *arena, const json_t *json, int limit, TextModel *model,
	             Failure *failure);

	/*
	 * Appends the ids of one piece, which is not empty.  scratch is for the
	 * call alone, the list grows in arena.  locked: this thread holds what the
	 * model remembers.
	 */
	bool (*encode)(const TextModel *model, Arena *arena, Arena *scratch,
	               bool locked, const char *text, size_t length,
	               TokenList *list, Failure *failure);

	/* Takes what the model remembers, if no other thread has it, and gives
	 * it back. */
	bool (*lock)(const TextModel *model);
	void (*unlock)(const TextModel *model);
} TextModelType;

/* The type of that name, or NULL. */
extern const TextModelType *text_model_find(const char *name);

/* Types, one a file. */
extern const TextModelType bpe_model_type;

/* Appends an id to a list that grows in arena. */
extern bool token_list_add(TokenList *list, Arena *arena, int32_t id,
                           Failure *failure);
