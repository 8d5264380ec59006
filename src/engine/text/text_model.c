/*
 * text_model.c
 *		The table of model types.
 */
#include "text/text_model.h"

#include <limits.h>
#include <string.h>

static const TextModelType *const types[] = {&bpe_model_type};

const TextModelType *
text_model_find(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
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
