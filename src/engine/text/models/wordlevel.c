/*
 * wordlevel.c
 *		Every piece is one token.
 */
#include "text/models/text_model.h"

#include <string.h>

typedef struct WordLevel
{
	int32_t unknown; /* or -1 */
} WordLevel;

static bool
wordlevel_encode(const TextModel *model, Arena *arena, Arena *scratch,
                 const char *text, size_t length, TokenList *list,
                 Failure *failure)
{
	const WordLevel *wordlevel = model->state;
	int32_t id = vocabulary_find(model->vocabulary, text, length);

	(void) scratch;
	if (id < 0)
		id = wordlevel->unknown;
	if (id < 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "a word is not in the vocabulary, and the tokenizer has "
		            "no token for what is unknown");
	return token_list_add(list, arena, id, failure);
}

static bool
wordlevel_open(Arena *arena, const json_t *json, int limit, TextModel *model,
               Failure *failure)
{
	WordLevel *wordlevel = arena_alloc(arena, sizeof(WordLevel));
	Vocabulary *vocabulary;
	const char *unknown;

	if (!json_get_string(json, "unk_token", "<unk>", &unknown, failure) ||
	    !vocabulary_open(arena, json_object_get(json, "vocab"), limit,
	                     &vocabulary, failure))
		return false;
	wordlevel->unknown = vocabulary_find(vocabulary, unknown, strlen(unknown));
	model->vocabulary = vocabulary;
	model->state = wordlevel;
	return true;
}

const TextModelType wordlevel_model_type = {
	.name = "WordLevel",
	.open = wordlevel_open,
	.word_length = whole_length,
	.encode = wordlevel_encode,
};
