/*
 * steps.c
 *		Steps in tokenizer.json: one, or a Sequence of them.
 */
#include "text/steps/steps.h"

#include <string.h>

typedef struct Steps
{
	Arena *arena;
	const StepKind *kind;
	StepReader reader;
	char *at; /* [STEPS_MOST] of size bytes */
	size_t size;
	int count;
} Steps;

static const void *
find_type(const StepKind *kind, const char *name, Failure *failure)
{
	for (size_t i = 0; i < kind->count; i++)
	{
		const void *type = (const char *) kind->types + i * kind->size;

		if (strcmp(*(const char *const *) type, name) == 0)
			return type;
	}
	fail(failure, FAILURE_UNSUPPORTED, "%ss of type \"%s\" are not supported",
	     kind->name, name);
	return NULL;
}

/* Adds a step, or all those of a Sequence. */
static bool
add(Steps *steps, const json_t *json, int depth, Failure *failure)
{
	const StepKind *kind = steps->kind;
	const char *name = json_string_value(json_object_get(json, "type"));
	const json_t *parts = json_object_get(json, kind->key);
	const void *type;

	if (name == NULL)
		return fail(failure, FAILURE_BAD_FILE, "a %s has no type", kind->name);
	if (steps->count == STEPS_MOST || depth == STEPS_MOST)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the tokenizer has more than %d %ss", STEPS_MOST,
		            kind->name);
	if (strcmp(name, "Sequence") != 0)
	{
		size_t place = (size_t) steps->count++ * steps->size;

		type = find_type(kind, name, failure);
		return type != NULL && steps->reader(steps->arena, json, type,
		                                     steps->at + place, failure);
	}
	for (size_t i = 0; i < json_array_size(parts); i++)
		if (!add(steps, json_array_get(parts, i), depth + 1, failure))
			return false;
	return true;
}

bool
steps_read(Arena *arena, const json_t *json, const StepKind *kind,
           StepReader reader, void *steps, size_t step_size, int *count,
           Failure *failure)
{
	Steps all = {arena, kind, reader, steps, step_size, 0};
	bool done =
		json == NULL || json_is_null(json) || add(&all, json, 0, failure);

	*count = all.count;
	return done;
}
