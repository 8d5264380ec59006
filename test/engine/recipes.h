/*
 * recipes.h
 *		Batches whose sequences begin alike.
 */
#pragma once

#include "tiny.h"

/* A sequence begins with so many tokens of a text, has prompt tokens in all,
 * and then a response; tokens of its own are like no other's. */
typedef struct Recipe
{
	int text;
	int common;
	int prompt;
	int response;
} Recipe;

static inline Batch
cook(Arena *arena, int sequences, const Recipe *recipe)
{
	size_t bytes = ((size_t) sequences + 1) * sizeof(int32_t);
	int32_t *offset = arena_alloc(arena, bytes);
	int32_t *target = arena_alloc(arena, bytes);
	int32_t *ids =
		arena_alloc(arena, (size_t) sequences * TINY_CONTEXT * sizeof(int32_t));

	for (int s = 0; s < sequences; s++)
	{
		const Recipe *r = &recipe[s];

		target[s] = offset[s] + r->prompt;
		offset[s + 1] = target[s] + r->response;
		for (int t = offset[s]; t < offset[s + 1]; t++)
		{
			int i = t - offset[s];
			int who = i < r->common ? 1000 * r->text : 97 * s + 31;

			ids[t] = (who + i * i * 7 + i) % TINY_VOCABULARY;
		}
	}
	return (Batch){sequences, offset, target, ids, NULL};
}

/* Three of one prompt apart from each other, two of another, one alone whose
 * prompt begins like another's, and one without targets. */
static const Recipe mixed[] = {{1, 20, 20, 9},  {2, 30, 30, 4},  {1, 20, 20, 1},
                               {3, 0, 3, 11},   {1, 20, 20, 14}, {2, 30, 30, 7},
                               {2, 12, 25, 13}, {1, 25, 25, 0}};
#define MIXED ((int) (sizeof(mixed) / sizeof(mixed[0])))
