/*
 * merges.c
 *		Merging neighbours by rank.
 */
#include "text/models/merges.h"

#include "text/models/scores.h"

#include <string.h>

#define NO_RANK UINT32_MAX
#define FEW_SYMBOLS 64 /* up to here looking at all pairs beats a heap */

/* One merge, in a table with open addressing. */
typedef struct Merge
{
	int32_t left; /* -1: free */
	int32_t right;
	uint32_t rank;
	int32_t joined;
} Merge;

struct Merges
{
	Merge *slots; /* [mask + 1] */
	size_t mask;
};

/* The slot of a pair, or the free one where it belongs. */
static Merge *
find_slot(const Merges *merges, int32_t left, int32_t right)
{
	uint64_t key = (uint64_t) (uint32_t) left << 32 | (uint32_t) right;
	size_t slot;

	key *= 0x9e3779b97f4a7c15u;
	slot = (size_t) (key ^ key >> 32) & merges->mask;
	while (merges->slots[slot].left >= 0 &&
	       (merges->slots[slot].left != left ||
	        merges->slots[slot].right != right))
		slot = (slot + 1) & merges->mask;
	return &merges->slots[slot];
}

/* The two halves of a merge as texts; both spellings. */
static bool
read_halves(const json_t *json, size_t number, const char *halves[2],
            size_t lengths[2], Failure *failure)
{
	const char *text = json_string_value(json);

	if (text != NULL)
	{
		const char *space = strchr(text, ' ');

		if (space != NULL && strchr(space + 1, ' ') == NULL)
		{
			halves[0] = text;
			lengths[0] = (size_t) (space - text);
			halves[1] = space + 1;
			lengths[1] = strlen(space + 1);
			return true;
		}
	}
	else if (json_array_size(json) == 2 &&
	         json_is_string(json_array_get(json, 0)) &&
	         json_is_string(json_array_get(json, 1)))
	{
		for (size_t i = 0; i < 2; i++)
		{
			halves[i] = json_string_value(json_array_get(json, i));
			lengths[i] = json_string_length(json_array_get(json, i));
		}
		return true;
	}
	return fail(failure, FAILURE_BAD_FILE, "merge %zu is not a pair of tokens",
	            number);
}

/* The id of left and right joined, or -1. */
static int32_t
find_joined(Arena *scratch, const Vocabulary *vocabulary, const char *halves[2],
            const size_t lengths[2], size_t skip)
{
	char few[256];
	size_t length = lengths[0] + lengths[1] - skip;
	char *joined = length <= sizeof(few) ? few : arena_alloc(scratch, length);

	memcpy(joined, halves[0], lengths[0]);
	memcpy(joined + lengths[0], halves[1] + skip, lengths[1] - skip);
	return vocabulary_find(vocabulary, joined, length);
}

static bool
add_merge(Merges *merges, Arena *scratch, const json_t *json, size_t number,
          const Vocabulary *vocabulary, size_t prefix_length, Failure *failure)
{
	const char *halves[2];
	size_t lengths[2];
	int32_t ids[2];
	int32_t joined;
	Merge *slot;

	if (!read_halves(json, number, halves, lengths, failure))
		return false;
	for (int i = 0; i < 2; i++)
	{
		ids[i] = vocabulary_find(vocabulary, halves[i], lengths[i]);
		if (ids[i] < 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "token \"%.*s\" of merge %zu is not in the vocabulary",
			            (int) lengths[i], halves[i], number);
	}
	if (lengths[1] < prefix_length)
		prefix_length = lengths[1];
	joined = find_joined(scratch, vocabulary, halves, lengths, prefix_length);
	if (joined < 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "merge %zu joins \"%.*s\" and \"%.*s\" to a token that is "
		            "not in the vocabulary",
		            number, (int) lengths[0], halves[0], (int) lengths[1],
		            halves[1]);

	/* Of two equal merges the later rank counts, as in `tokenizers`. */
	slot = find_slot(merges, ids[0], ids[1]);
	*slot = (Merge){ids[0], ids[1], (uint32_t) number, joined};
	return true;
}

/* A table with room for count merges. */
static Merges *
create_table(Arena *arena, size_t count, Failure *failure)
{
	Merges *merges = arena_alloc(arena, sizeof(Merges));
	size_t slots = 16;

	while (slots < count * 2)
		slots *= 2;
	merges->mask = slots - 1;
	merges->slots = arena_try(arena, slots, sizeof(Merge), failure);
	if (merges->slots == NULL)
		return NULL;
	for (size_t i = 0; i < slots; i++)
		merges->slots[i].left = -1;
	return merges;
}

bool
merges_open(Arena *arena, const json_t *json, const Vocabulary *vocabulary,
            const char *prefix, Merges **merges, Failure *failure)
{
	Arena *scratch;
	bool done = true;

	if (!json_is_array(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"merges\" must be an array, not %s",
		            json_type_name(json));
	*merges = create_table(arena, json_array_size(json), failure);
	if (*merges == NULL)
		return false;
	scratch = arena_create();
	for (size_t i = 0; i < json_array_size(json) && done; i++)
		done = add_merge(*merges, scratch, json_array_get(json, i), i,
		                 vocabulary, strlen(prefix), failure);
	arena_destroy(scratch);
	return done;
}

bool
merges_open_scores(Arena *arena, const json_t *scores,
                   const Vocabulary *vocabulary, Merges **merges,
                   Failure *failure)
{
	Arena *scratch = arena_create();
	uint32_t rank = 0;
	ScoredPair *pairs;
	size_t count;
	bool done =
		scored_pairs_find(scratch, vocabulary, scores, &pairs, &count, failure);

	*merges = done ? create_table(arena, count, failure) : NULL;
	done = *merges != NULL;
	for (size_t i = 0; done && i < count; i++)
	{
		const ScoredPair *pair = &pairs[i];

		if (i > 0 && pair->score != pair[-1].score)
			rank = (uint32_t) i;
		*find_slot(*merges, pair->left, pair->right) =
			(Merge){pair->left, pair->right, rank, pair->joined};
	}
	arena_destroy(scratch);
	return done;
}

/* Looks at all pairs before each merge: for short pieces. */
static void
merge_few(const Merges *merges, int32_t *ids, size_t *total)
{
	Merge found[FEW_SYMBOLS]; /* of the pair that begins at each symbol */
	size_t count = *total;

	for (size_t i = 0; i + 1 < count; i++)
	{
		const Merge *slot = find_slot(merges, ids[i], ids[i + 1]);

		found[i] = *slot;
		if (slot->left < 0)
			found[i].rank = NO_RANK;
	}
	while (count > 1)
	{
		size_t best = 0;

		for (size_t i = 1; i + 1 < count; i++)
			if (found[i].rank < found[best].rank)
				best = i;
		if (found[best].rank == NO_RANK)
			break;
		ids[best] = found[best].joined;
		count--;
		memmove(ids + best + 1, ids + best + 2,
		        (count - best - 1) * sizeof(int32_t));
		if (best + 1 < count)
			memmove(found + best, found + best + 1,
			        (count - best - 1) * sizeof(Merge));
		for (size_t i = best > 0 ? best - 1 : 0; i <= best; i++)
		{
			const Merge *slot;

			if (i + 1 >= count)
				continue;
			slot = find_slot(merges, ids[i], ids[i + 1]);
			found[i] = *slot;
			if (slot->left < 0)
				found[i].rank = NO_RANK;
		}
	}
	*total = count;
}

/* A list of symbols, and a heap of the pairs that can be merged. */
typedef struct Chain
{
	const Merges *merges;
	int32_t *ids;     /* [count] -1: swallowed by a symbol before it */
	uint32_t *next;   /* [count] count: none */
	uint32_t *before; /* [count] UINT32_MAX: none */
	uint32_t *rank;   /* [count] of the pair that begins here */
	int32_t *joined;  /* [count] what that pair becomes */
	uint64_t *heap;   /* rank << 32 | place; may hold what is no longer so */
	size_t heap_size;
	uint32_t count;
} Chain;

static void
heap_push(Chain *chain, uint64_t key)
{
	size_t at = chain->heap_size++;

	while (at > 0 && chain->heap[(at - 1) / 2] > key)
	{
		chain->heap[at] = chain->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	chain->heap[at] = key;
}

static uint64_t
heap_pop(Chain *chain)
{
	uint64_t top = chain->heap[0];
	uint64_t last = chain->heap[--chain->heap_size];
	size_t at = 0;

	for (;;)
	{
		size_t child = at * 2 + 1;

		if (child >= chain->heap_size)
			break;
		if (child + 1 < chain->heap_size &&
		    chain->heap[child + 1] < chain->heap[child])
			child++;
		if (chain->heap[child] >= last)
			break;
		chain->heap[at] = chain->heap[child];
		at = child;
	}
	chain->heap[at] = last;
	return top;
}

/* Looks up the pair that begins at a place. */
static void
rank_pair(Chain *chain, uint32_t place)
{
	uint32_t next = chain->next[place];
	const Merge *slot;

	chain->rank[place] = NO_RANK;
	if (next == chain->count)
		return;
	slot = find_slot(chain->merges, chain->ids[place], chain->ids[next]);
	if (slot->left < 0)
		return;
	chain->rank[place] = slot->rank;
	chain->joined[place] = slot->joined;
	heap_push(chain, (uint64_t) slot->rank << 32 | place);
}

static bool
open_chain(Chain *chain, Arena *scratch, Failure *failure)
{
	size_t count = chain->count;
	uint32_t *block = arena_try(scratch, count * 4, sizeof(uint32_t), failure);

	/* Each merge puts at most two pairs into the heap and takes one out. */
	chain->heap = arena_try(scratch, count * 2, sizeof(uint64_t), failure);
	if (block == NULL || chain->heap == NULL)
		return false;
	chain->next = block;
	chain->before = block + count;
	chain->rank = block + count * 2;
	chain->joined = (int32_t *) (block + count * 3);
	for (uint32_t i = 0; i < count; i++)
	{
		chain->next[i] = i + 1;
		chain->before[i] = i - 1;
	}
	for (uint32_t i = 0; i < count; i++)
		rank_pair(chain, i);
	return true;
}

/* With a heap: for pieces of any length. */
static bool
merge_many(const Merges *merges, Arena *scratch, int32_t *ids, size_t *total,
           Failure *failure)
{
	Chain chain = {.merges = merges, .ids = ids, .count = (uint32_t) *total};
	size_t kept = 0;

	if (!open_chain(&chain, scratch, failure))
		return false;
	while (chain.heap_size > 0)
	{
		uint64_t top = heap_pop(&chain);
		uint32_t place = (uint32_t) top;
		uint32_t gone;

		if (ids[place] < 0 || chain.rank[place] != top >> 32)
			continue;
		gone = chain.next[place];
		ids[place] = chain.joined[place];
		ids[gone] = -1;
		chain.next[place] = chain.next[gone];
		if (chain.next[gone] < chain.count)
			chain.before[chain.next[gone]] = place;
		rank_pair(&chain, place);
		if (chain.before[place] != UINT32_MAX)
			rank_pair(&chain, chain.before[place]);
	}
	for (size_t i = 0; i < chain.count; i++)
		if (ids[i] >= 0)
			ids[kept++] = ids[i];
	*total = kept;
	return true;
}

bool
merges_apply(const Merges *merges, Arena *scratch, int32_t *ids, size_t *count,
             Failure *failure)
{
	if (*count > INT32_MAX)
		return fail(failure, FAILURE_TOO_LONG,
		            "a piece of text has %zu characters, more than %d", *count,
		            INT32_MAX);
	if (*count > FEW_SYMBOLS)
		return merge_many(merges, scratch, ids, count, failure);
	merge_few(merges, ids, count);
	return true;
}

bool
merges_cross(const Merges *merges, const Vocabulary *vocabulary,
             const char *mark)
{
	size_t size = strlen(mark);

	for (size_t i = 0; i <= merges->mask; i++)
	{
		const Merge *merge = &merges->slots[i];
		size_t left_length;
		size_t right_length;
		const char *left;
		const char *right;

		if (merge->left < 0)
			continue;
		left = vocabulary_text(vocabulary, merge->left, &left_length);
		right = vocabulary_text(vocabulary, merge->right, &right_length);
		if (right_length >= size && memcmp(right, mark, size) == 0 &&
		    !(left_length >= size &&
		      memcmp(left + left_length - size, mark, size) == 0))
			return true;
	}
	return false;
}
