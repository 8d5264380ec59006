/*
 * responses.h
 *		Prompts, responses to them, and golden ids, for suites that generate.
 */
#pragma once

#include "tiny.h"

#include "model/generation/generate.h"

/* A JSON array of ids. */
static inline TokenList
token_list(Arena *arena, json_t *array)
{
	int count = (int) json_array_size(array);
	TokenList list = {arena_alloc(arena, sizeof(int32_t) * (size_t) count + 4),
	                  count, count};

	for (int i = 0; i < count; i++)
		list.ids[i] =
			(int32_t) json_integer_value(json_array_get(array, (size_t) i));
	return list;
}

/* Prompts of 1 to 20 tokens of a tiny model. */
static inline TokenList *
tiny_prompts(Arena *arena, int count)
{
	TokenList *prompts = arena_alloc(arena, (size_t) count * sizeof(TokenList));

	for (int i = 0; i < count; i++)
	{
		int length = 1 + i * 7 % 20;

		prompts[i].ids = arena_alloc(arena, (size_t) length * sizeof(int32_t));
		prompts[i].count = length;
		for (int t = 0; t < length; t++)
			prompts[i].ids[t] = (i * 53 + t * 29) % (TINY_VOCABULARY - 1);
	}
	return prompts;
}

static inline Generation *
responses(Arena *arena, Model *model, const GenerateOptions *options,
          const TokenList *prompts, int count)
{
	Generation *results = arena_alloc(arena, (size_t) count * sizeof(*results));
	Failure failure = {0};

	assert_ok(generate(model, arena, options, count, prompts, results, NULL,
	                   NULL, &failure),
	          failure);
	return results;
}

static inline void
assert_same_response(const Generation *a, const Generation *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->ids, b->ids, (size_t) a->count * sizeof(int32_t));
	assert_int_equal(a->length, b->length);
	assert_memory_equal(a->text, b->text, a->length);
	assert_int_equal(a->ended, b->ended);
}
