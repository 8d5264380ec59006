/*
 * trie.c
 *		Building and walking a trie.
 */
#include "text/models/trie.h"

#include <stdlib.h>
#include <string.h>

#define FEW_CHILDREN 8 /* up to here looking at all of them is faster */

/* While a trie is built: the entries below each node. */
typedef struct Builder
{
	Trie *trie;
	const TrieEntry *entries; /* sorted, different from each other */
	uint32_t *low;            /* [nodes] the entries [low, high) */
	uint32_t *high;
} Builder;

/* By bytes; equal texts by value. */
static int
compare_entries(const void *a, const void *b)
{
	const TrieEntry *left = a;
	const TrieEntry *right = b;
	size_t shorter =
		left->length < right->length ? left->length : right->length;
	int order = memcmp(left->text, right->text, shorter);

	if (order != 0)
		return order;
	if (left->length != right->length)
		return left->length < right->length ? -1 : 1;
	return (left->value > right->value) - (left->value < right->value);
}

static bool
is_same(const TrieEntry *left, const TrieEntry *right)
{
	return left->length == right->length &&
	       memcmp(left->text, right->text, left->length) == 0;
}

/* Leaves out empty and repeated texts; returns how many entries are left. */
static size_t
keep_different(TrieEntry *entries, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
	{
		if (entries[i].length == 0)
			continue;
		if (kept > 0 && is_same(&entries[kept - 1], &entries[i]))
			kept--;
		entries[kept++] = entries[i];
	}
	return kept;
}

/* The root, and one node for every byte that no text before shares. */
static size_t
count_nodes(const TrieEntry *entries, size_t count)
{
	size_t nodes = 1;

	for (size_t i = 0; i < count; i++)
	{
		size_t shared = 0;

		while (i > 0 && shared < entries[i].length &&
		       shared < entries[i - 1].length &&
		       entries[i].text[shared] == entries[i - 1].text[shared])
			shared++;
		nodes += entries[i].length - shared;
	}
	return nodes;
}

/* Adds the children of a node, whose text has depth bytes. */
static void
add_children(Builder *builder, uint32_t node, size_t depth)
{
	Trie *trie = builder->trie;
	uint32_t at = builder->low[node];
	uint32_t end = builder->high[node];

	if (at < end && builder->entries[at].length == depth)
		trie->value[node] = builder->entries[at++].value;
	while (at < end)
	{
		uint8_t byte = (uint8_t) builder->entries[at].text[depth];
		uint32_t child = trie->count++;

		trie->label[child] = byte;
		trie->value[child] = -1;
		builder->low[child] = at;
		while (at < end && (uint8_t) builder->entries[at].text[depth] == byte)
			at++;
		builder->high[child] = at;
	}
}

static bool
allocate(Arena *arena, Arena *scratch, size_t nodes, Builder *builder,
         Failure *failure)
{
	Trie *trie = builder->trie;

	trie->first = arena_try(arena, nodes + 1, sizeof(uint32_t), failure);
	if (trie->first == NULL)
		return false;
	trie->value = arena_try(arena, nodes, sizeof(int32_t), failure);
	if (trie->value == NULL)
		return false;
	trie->label = arena_try(arena, nodes, 1, failure);
	if (trie->label == NULL)
		return false;
	builder->low = arena_try(scratch, nodes * 2, sizeof(uint32_t), failure);
	builder->high = builder->low == NULL ? NULL : builder->low + nodes;
	return builder->low != NULL;
}

/* Level by level. */
static void
build(Builder *builder, size_t count)
{
	Trie *trie = builder->trie;
	uint32_t node = 0;

	trie->count = 1;
	trie->value[TRIE_ROOT] = -1;
	builder->high[TRIE_ROOT] = (uint32_t) count;
	for (size_t depth = 0; node < trie->count; depth++)
		for (uint32_t end = trie->count; node < end; node++)
		{
			trie->first[node] = trie->count;
			add_children(builder, node, depth);
		}
	trie->first[node] = trie->count;
	memset(trie->top, 0xff, sizeof(trie->top));
	for (uint32_t i = trie->first[TRIE_ROOT]; i < trie->first[1]; i++)
		trie->top[trie->label[i]] = i;
}

bool
trie_open(Arena *arena, TrieEntry *entries, size_t count, Trie **result,
          Failure *failure)
{
	Builder builder = {arena_alloc(arena, sizeof(Trie)), entries, NULL, NULL};
	Arena *scratch = arena_create();
	size_t nodes;
	bool done;

	for (size_t i = 0; i < count; i++)
		if (entries[i].length > TRIE_LONGEST_TEXT)
		{
			arena_destroy(scratch);
			return fail(failure, FAILURE_UNSUPPORTED,
			            "a token has %zu bytes, more than %zu",
			            entries[i].length, TRIE_LONGEST_TEXT);
		}
	if (count > 1)
		qsort(entries, count, sizeof(TrieEntry), compare_entries);
	count = keep_different(entries, count);
	nodes = count_nodes(entries, count);
	done =
		nodes < TRIE_NONE
			? allocate(arena, scratch, nodes, &builder, failure)
			: fail(failure, FAILURE_UNSUPPORTED,
	               "the tokens have %zu bytes, more than %u", nodes, TRIE_NONE);
	if (done)
		build(&builder, count);
	arena_destroy(scratch);
	*result = builder.trie;
	return done;
}

uint32_t
trie_search(const Trie *trie, uint32_t node, uint8_t byte)
{
	uint32_t low = trie->first[node];
	uint32_t high = trie->first[node + 1];

	while (high - low > FEW_CHILDREN)
	{
		uint32_t middle = low + (high - low) / 2;

		if (trie->label[middle] > byte)
			high = middle;
		else
			low = middle;
	}
	for (; low < high; low++)
		if (trie->label[low] == byte)
			return low;
	return TRIE_NONE;
}

uint32_t
trie_walk(const Trie *trie, const char *text, size_t length)
{
	uint32_t node = TRIE_ROOT;

	for (size_t i = 0; i < length && node != TRIE_NONE; i++)
		node = trie_step(trie, node, (uint8_t) text[i]);
	return node;
}

int32_t
trie_longest(const Trie *trie, uint32_t start, const char *text, size_t length,
             size_t *matched)
{
	uint32_t node = start;
	int32_t value = -1;

	for (size_t i = 0; i < length; i++)
	{
		node = trie_step(trie, node, (uint8_t) text[i]);
		if (node == TRIE_NONE)
			break;
		if (trie->value[node] < 0)
			continue;
		value = trie->value[node];
		*matched = i + 1;
	}
	return value;
}
