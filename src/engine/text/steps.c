/*
 * steps.c
 *		Steps in tokenizer.json: one, or a Sequence of them.
 */
#include "text/steps.h"

#include <string.h>

static const char *
type_of(const json_t *part)
{
	return json_string_value(json_object_get(part, "type"));
}

static bool
add(const json_t *json, int depth, const char *kind, const char *key,
    StepList *list, Failure *failure)
{
	const char *name = type_of(json);
	const json_t *parts = json_object_get(json, key);

	if (name == NULL)
		return fail(failure, FAILURE_BAD_FILE, "a %s has no type", kind);
	if (list->count == STEPS_MOST || depth == STEPS_MOST)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the tokenizer has more than %d %ss", STEPS_MOST, kind);
	if (strcmp(name, "Sequence") != 0)
	{
		list->part[list->count++] = json;
		return true;
	}
	for (size_t i = 0; i < json_array_size(parts); i++)
		if (!add(json_array_get(parts, i), depth + 1, kind, key, list, failure))
			return false;
	return true;
}

bool
steps_list(const json_t *json, const char *kind, const char *key,
           StepList *list, Failure *failure)
{
	list->count = 0;
	return json == NULL || json_is_null(json) ||
	       add(json, 0, kind, key, list, failure);
}

const void *
steps_type(const json_t *part, const char *kind, const void *types,
           size_t count, size_t size, Failure *failure)
{
	for (size_t i = 0; i < count; i++)
	{
		const void *type = (const char *) types + i * size;

		if (strcmp(*(const char *const *) type, type_of(part)) == 0)
			return type;
	}
	fail(failure, FAILURE_UNSUPPORTED, "%ss of type \"%s\" are not supported",
	     kind, type_of(part));
	return NULL;
}
