/*
 * pack.c
 *		Splits a step into ragged micro-batches of at most so many tokens.
 */
#include "train/pack.h"

#include <stdlib.h>
#include <string.h>

static int
compare_prompts(const PackItem *a, const PackItem *b)
{
	for (int i = 0; i < 2; i++)
		if (a->prompt[i] != b->prompt[i])
			return a->prompt[i] < b->prompt[i] ? -1 : 1;
	return 0;
}

/* Whether an item's prompt is that of the one before it. */
static bool
shares(const PackItem *before, const PackItem *item)
{
	return before->prompt != NULL && item->prompt != NULL &&
	       compare_prompts(before, item) == 0;
}

/* Longer items first, equal ones in their order. */
static int
compare_lengths(const PackItem *item, int32_t a, int32_t b)
{
	if (item[a].tokens != item[b].tokens)
		return item[a].tokens > item[b].tokens ? -1 : 1;
	return a == b ? 0 : a < b ? -1 : 1;
}

/* Items without a prompt last. */
static int
by_prompt(const void *left, const void *right, void *argument)
{
	const PackItem *item = argument;
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;
	const PackItem *x = &item[a];
	const PackItem *y = &item[b];
	int order = 0;

	if (x->prompt == NULL || y->prompt == NULL)
		order = (x->prompt == NULL) - (y->prompt == NULL);
	else
		order = compare_prompts(x, y);
	return order != 0 ? order : compare_lengths(item, a, b);
}

/* Items that stay together: those of places [first, last) when sorted. */
typedef struct Unit
{
	int first;
	int last;
	int32_t leader; /* the longest item of its prompt */
	int64_t tokens;
} Unit;

/* Items of equal prompts, cut where the budget is full; sorted as they are. */
static int
list_units(const PackItem *item, int count, int64_t budget,
           const int32_t *sorted, Unit *unit)
{
	int units = 0;

	for (int i = 0; i < count; i++)
	{
		const PackItem *this = &item[sorted[i]];
		Unit *last = units == 0 ? NULL : &unit[units - 1];
		bool follows = i > 0 && shares(&item[sorted[i - 1]], this);

		if (follows && last->tokens + this->tokens - this->shared <= budget)
		{
			last->tokens += this->tokens - this->shared;
			last->last = i + 1;
		}
		else
			unit[units++] = (Unit){i, i + 1, follows ? last->leader : sorted[i],
			                       this->tokens};
	}
	return units;
}

/* Larger units first, equal ones by the longest item of their prompts. */
static int
by_tokens(const void *left, const void *right, void *argument)
{
	const PackItem *item = argument;
	const Unit *a = left;
	const Unit *b = right;

	if (a->tokens != b->tokens)
		return a->tokens > b->tokens ? -1 : 1;
	if (a->leader != b->leader)
		return compare_lengths(item, a->leader, b->leader);
	return a->first < b->first ? -1 : 1;
}

/* Each to the first of the micro-batches that has room: first fit decreasing,
 * which needs about 11/9 of the fewest at worst (Johnson 1973).  used[units]
 * are theirs; returns their number. */
static int
fit_first(const Unit *unit, int units, int64_t budget, int64_t *used,
          int *batch)
{
	int batches = 0;

	for (int i = 0; i < units; i++)
	{
		int b = 0;

		while (b < batches && used[b] + unit[i].tokens > budget)
			b++;
		if (b == batches)
			used[batches++] = 0;
		used[b] += unit[i].tokens;
		batch[i] = b;
	}
	return batches;
}

/* Each to the emptiest of so many; where one is too full for that batch stays as
 * it is. */
static void
fit_evenly(Arena *arena, const Unit *unit, int units, int batches,
           int64_t budget, int64_t *used, int *batch)
{
	int *even = arena_alloc(arena, (size_t) units * sizeof(int));

	memset(used, 0, (size_t) batches * sizeof(int64_t));
	for (int i = 0; i < units; i++)
	{
		int emptiest = 0;

		for (int b = 1; b < batches; b++)
			if (used[b] < used[emptiest])
				emptiest = b;
		if (used[emptiest] > 0 && used[emptiest] + unit[i].tokens > budget)
			return;
		used[emptiest] += unit[i].tokens;
		even[i] = emptiest;
	}
	memcpy(batch, even, (size_t) units * sizeof(int));
}

int
pack_items(const PackItem *item, int count, int64_t budget, int32_t *order,
           int32_t *begin)
{
	Arena *arena = arena_create();
	size_t places = (size_t) count + 1;
	int32_t *sorted = arena_alloc(arena, places * sizeof(int32_t));
	Unit *unit = arena_alloc(arena, places * sizeof(Unit));
	int64_t *used = arena_alloc(arena, places * sizeof(int64_t));
	int *batch = arena_alloc(arena, places * sizeof(int));
	int units, batches, at = 0;

	for (int i = 0; i < count; i++)
		sorted[i] = i;
	qsort_r(sorted, (size_t) count, sizeof(int32_t), by_prompt, (void *) item);
	units = list_units(item, count, budget, sorted, unit);
	qsort_r(unit, (size_t) units, sizeof(Unit), by_tokens, (void *) item);
	batches = fit_first(unit, units, budget, used, batch);
	fit_evenly(arena, unit, units, batches, budget, used, batch);
	for (int b = 0; b < batches; b++)
	{
		begin[b] = at;
		for (int i = 0; i < units; i++)
			for (int j = unit[i].first; batch[i] == b && j < unit[i].last; j++)
				order[at++] = sorted[j];
	}
	begin[batches] = count;
	arena_destroy(arena);
	return batches;
}
