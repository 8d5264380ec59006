/*
 * pack.c
 *		Splits a step into ragged micro-batches of at most so many tokens.
 */
#include "train/pack.h"

#include <stdlib.h>
#include <string.h>

/* What is sorted; leader is the longest item of its prompt. */
typedef struct Sorted
{
	const PackItem *item; /* all of them */
	int32_t *leader;      /* [count] */
} Sorted;

static int
compare_prompts(const PackItem *a, const PackItem *b)
{
	for (int i = 0; i < 2; i++)
		if (a->prompt[i] != b->prompt[i])
			return a->prompt[i] < b->prompt[i] ? -1 : 1;
	return 0;
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
	const Sorted *sorted = argument;
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;
	const PackItem *x = &sorted->item[a];
	const PackItem *y = &sorted->item[b];
	int order = 0;

	if (x->prompt == NULL || y->prompt == NULL)
		order = (x->prompt == NULL) - (y->prompt == NULL);
	else
		order = compare_prompts(x, y);
	return order != 0 ? order : compare_lengths(sorted->item, a, b);
}

static int
by_leader(const void *left, const void *right, void *argument)
{
	const Sorted *sorted = argument;
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;
	int order =
		compare_lengths(sorted->item, sorted->leader[a], sorted->leader[b]);

	return order != 0 ? order : compare_lengths(sorted->item, a, b);
}

static void
sort_items(const PackItem *item, int count, int32_t *order)
{
	Arena *arena = arena_create();
	Sorted sorted = {
		item, arena_alloc(arena, ((size_t) count + 1) * sizeof(int32_t))};

	for (int i = 0; i < count; i++)
		order[i] = i;
	qsort_r(order, (size_t) count, sizeof(int32_t), by_prompt, &sorted);
	for (int i = 0; i < count; i++)
	{
		bool follows =
			i > 0 && item[order[i]].prompt != NULL &&
			compare_prompts(&item[order[i - 1]], &item[order[i]]) == 0;

		sorted.leader[order[i]] =
			follows ? sorted.leader[order[i - 1]] : order[i];
	}
	qsort_r(order, (size_t) count, sizeof(int32_t), by_leader, &sorted);
	arena_destroy(arena);
}

/* What the item at a place costs behind the one before it. */
static int64_t
cost_behind(const PackItem *before, const PackItem *item)
{
	bool shares = before->prompt != NULL && item->prompt != NULL &&
	              compare_prompts(before, item) == 0;

	return item->tokens - (shares ? item->shared : 0);
}

int
pack_items(const PackItem *item, int count, int64_t budget, int32_t *order,
           int32_t *begin)
{
	int batches = 0;
	int64_t used = 0;

	if (count > 0)
		sort_items(item, count, order);
	for (int i = 0; i < count; i++)
	{
		int64_t more =
			i == 0 ? 0 : cost_behind(&item[order[i - 1]], &item[order[i]]);

		if (i == 0 || used + more > budget)
		{
			begin[batches++] = i;
			used = 0;
			more = item[order[i]].tokens;
		}
		used += more;
	}
	begin[batches] = count;
	return batches;
}
