/*
 * pair_counts.c
 *		Counting pairs of symbols.
 *
 * Candidates lie in a heap by count.  Counts that fall are corrected only when
 * their pair comes to the top; counts never rise once a pair was offered,
 * since a merge adds to pairs with its own new symbol alone.
 */
#include "text/models/pair_counts.h"

#include "text/buffer.h"

#include <limits.h>

#define FIRST_SLOTS ((size_t) 1 << 16)

bool
pair_counts_open(PairCounts *counts, Arena *arena, Failure *failure)
{
	*counts = (PairCounts){.arena = arena, .mask = FIRST_SLOTS - 1};
	counts->slots = arena_try(arena, FIRST_SLOTS, sizeof(int32_t), failure);
	return counts->slots != NULL;
}

static size_t
find_slot(const PairCounts *counts, int32_t left, int32_t right)
{
	uint64_t key = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
	size_t slot;

	key *= 0x9e3779b97f4a7c15u;
	slot = (size_t) (key ^ key >> 32) & counts->mask;
	while (counts->slots[slot] != 0)
	{
		const PairCount *pair = &counts->pairs[counts->slots[slot] - 1];

		if (pair->left == left && pair->right == right)
			break;
		slot = (slot + 1) & counts->mask;
	}
	return slot;
}

/* Doubles the table of slots when it is half full. */
static bool
grow_slots(PairCounts *counts, Failure *failure)
{
	size_t slots = (counts->mask + 1) * 2;

	if (counts->count * 2 < counts->mask)
		return true;
	if (counts->count >= INT_MAX / 4)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the corpus has more than %zu pairs of symbols",
		            counts->count);
	counts->slots = arena_try(counts->arena, slots, sizeof(int32_t), failure);
	if (counts->slots == NULL)
		return false;
	counts->mask = slots - 1;
	for (size_t i = 0; i < counts->count; i++)
		counts->slots[find_slot(counts, counts->pairs[i].left,
		                        counts->pairs[i].right)] = (int32_t) i + 1;
	return true;
}

/* Notes that the pair occurs in the word, unless it was the last one noted. */
static bool
add_place(PairCounts *counts, PairCount *pair, int32_t word, Failure *failure)
{
	if (pair->places >= 0 && counts->places[pair->places].word == word)
		return true;
	if (counts->place_count >= INT_MAX)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the corpus has more than %zu places of pairs",
		            counts->place_count);
	if (!list_reserve(counts->arena, (void **) &counts->places,
	                  counts->place_count, &counts->place_capacity,
	                  sizeof(PairPlace), failure))
		return false;
	counts->places[counts->place_count] = (PairPlace){word, pair->places};
	pair->places = (int32_t) counts->place_count++;
	return true;
}

bool
pair_counts_change(PairCounts *counts, int32_t left, int32_t right,
                   int64_t change, int32_t word, Failure *failure)
{
	size_t slot = find_slot(counts, left, right);
	PairCount *pair;

	if (counts->slots[slot] == 0)
	{
		if (!list_reserve(counts->arena, (void **) &counts->pairs,
		                  counts->count, &counts->capacity, sizeof(PairCount),
		                  failure))
			return false;
		counts->pairs[counts->count] = (PairCount){left, right, 0, -1};
		counts->slots[slot] = (int32_t) ++counts->count;
		if (!grow_slots(counts, failure))
			return false;
		slot = find_slot(counts, left, right);
	}
	pair = &counts->pairs[counts->slots[slot] - 1];
	pair->count += change;
	return change <= 0 || add_place(counts, pair, word, failure);
}

/* Whether a goes before b. */
static bool
is_better(const PairCounts *counts, PairCandidate a, PairCandidate b)
{
	const PairCount *left = &counts->pairs[a.pair];
	const PairCount *right = &counts->pairs[b.pair];

	if (a.count != b.count)
		return a.count > b.count;
	if (left->left != right->left)
		return left->left < right->left;
	return left->right < right->right;
}

bool
pair_counts_offer(PairCounts *counts, size_t first, Failure *failure)
{
	for (size_t i = first; i < counts->count; i++)
	{
		PairCandidate candidate = {counts->pairs[i].count, (int32_t) i};
		size_t at = counts->heap_count;

		if (!list_reserve(counts->arena, (void **) &counts->heap, at,
		                  &counts->heap_capacity, sizeof(PairCandidate),
		                  failure))
			return false;
		counts->heap_count++;
		while (at > 0 &&
		       is_better(counts, candidate, counts->heap[(at - 1) / 2]))
		{
			counts->heap[at] = counts->heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		counts->heap[at] = candidate;
	}
	return true;
}

/* Puts candidate at the top and lets it sink to its place. */
static void
sink(PairCounts *counts, PairCandidate candidate)
{
	size_t at = 0;

	for (;;)
	{
		size_t child = at * 2 + 1;

		if (child >= counts->heap_count)
			break;
		if (child + 1 < counts->heap_count &&
		    is_better(counts, counts->heap[child + 1], counts->heap[child]))
			child++;
		if (!is_better(counts, counts->heap[child], candidate))
			break;
		counts->heap[at] = counts->heap[child];
		at = child;
	}
	counts->heap[at] = candidate;
}

bool
pair_counts_take(PairCounts *counts, int64_t least, int32_t *pair)
{
	while (counts->heap_count > 0)
	{
		PairCandidate top = counts->heap[0];
		int64_t now = counts->pairs[top.pair].count;

		if (top.count != now && now >= least)
		{
			top.count = now;
			sink(counts, top);
			continue;
		}
		if (--counts->heap_count > 0)
			sink(counts, counts->heap[counts->heap_count]);
		if (now >= least)
		{
			*pair = top.pair;
			return true;
		}
	}
	return false;
}
