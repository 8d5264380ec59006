/*
 * text_model.c
 *		The table of model types, and encoding a piece with one of them.
 */
#include "text/models/text_model.h"

#include <limits.h>
#include <string.h>

static const TextModelType *const types[] = {
	&bpe_model_type,
	&unigram_model_type,
	&wordpiece_model_type,
	&wordlevel_model_type,
};

static const TextModelType *
find_type(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
}

/* Old files do not say what they are, but have what only one type has. */
static const char *
guess_type(const json_t *json)
{
	if (json_object_get(json, "merges") != NULL)
		return "BPE";
	if (json_is_array(json_object_get(json, "vocab")))
		return "Unigram";
	if (json_object_get(json, "continuing_subword_prefix") != NULL)
		return "WordPiece";
	return json_object_get(json, "unk_token") != NULL ? "WordLevel" : NULL;
}

bool
text_model_open(Arena *arena, const json_t *json, int limit, TextModel *model,
                Failure *failure)
{
	const char *name;

	if (!json_get_string(json, "type", guess_type(json), &name, failure))
		return false;
	if (name == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "the tokenizer's model has no type");
	model->type = find_type(name);
	if (model->type == NULL)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "tokenizers of type \"%s\" are not supported", name);
	return model->type->open(arena, json, limit, model, failure) &&
	       piece_cache_open(arena, &model->cache, failure);
}

static bool
encode_remembered(const TextModel *model, Arena *arena, Arena *scratch,
                  const char *text, size_t length, TokenList *list,
                  Failure *failure)
{
	int before = list->count;
	int count;
	const int32_t *ids = piece_cache_find(model->cache, text, length, &count);

	for (int i = 0; ids != NULL && i < count; i++)
		if (!token_list_add(list, arena, ids[i], failure))
			return false;
	if (ids != NULL)
		return true;
	if (!model->type->encode(model, arena, scratch, text, length, list,
	                         failure))
		return false;
	if (list->count > before)
		piece_cache_keep(model->cache, text, length, list->ids + before,
		                 list->count - before);
	return true;
}

bool
text_model_encode(const TextModel *model, Arena *arena, Arena *scratch,
                  bool locked, const char *text, size_t length, TokenList *list,
                  Failure *failure)
{
	while (length > 0)
	{
		size_t word = model->type->word_length(model, text, length);
		bool done = locked && word <= PIECE_CACHE_TEXT
		                ? encode_remembered(model, arena, scratch, text, word,
		                                    list, failure)
		                : model->type->encode(model, arena, scratch, text, word,
		                                      list, failure);

		if (!done)
			return false;
		text += word;
		length -= word;
	}
	return true;
}

size_t
whole_length(const TextModel *model, const char *text, size_t length)
{
	(void) model;
	(void) text;
	return length;
}

bool
token_list_add(TokenList *list, Arena *arena, int32_t id, Failure *failure)
{
	if (list->count == list->capacity)
	{
		int capacity = list->capacity < 64 ? 64 : list->capacity * 2;
		int32_t *ids;

		if (list->capacity > INT_MAX / 2)
			return fail(failure, FAILURE_TOO_LONG,
			            "a text has more than %d tokens", list->count);
		ids = arena_try(arena, (size_t) capacity, sizeof(int32_t), failure);
		if (ids == NULL)
			return false;
		if (list->count > 0)
			memcpy(ids, list->ids, (size_t) list->count * sizeof(int32_t));
		list->ids = ids;
		list->capacity = capacity;
	}
	list->ids[list->count++] = id;
	return true;
}
