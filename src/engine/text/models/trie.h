/*
 * trie.h
 *		Texts by their bytes: which of them begin at a place of a longer text.
 *
 * The nodes lie level by level, so that the children of a node are
 * neighbours, sorted by their bytes.
 */
#pragma once

#include "base/arena.h"

#define TRIE_ROOT 0u
#define TRIE_NONE UINT32_MAX

/* A search costs the length of the text times that of the longest entry. */
#define TRIE_LONGEST_TEXT ((size_t) 4096)

/* A text and what it stands for (not negative). */
typedef struct TrieEntry
{
	const char *text;
	size_t length;
	int32_t value;
} TrieEntry;

typedef struct Trie
{
	uint32_t count;    /* nodes */
	uint32_t *first;   /* [count + 1] children of n: [first[n], first[n + 1]) */
	uint8_t *label;    /* [count] the byte that leads here */
	int32_t *value;    /* [count] of the text that ends here, or -1 */
	uint32_t top[256]; /* children of the root, or TRIE_NONE */
} Trie;

/* Reads count entries, which are sorted in place; of equal texts the one with
 * the highest value counts.  Empty texts are left out. */
extern bool trie_open(Arena *arena, TrieEntry *entries, size_t count,
                      Trie **trie, Failure *failure);

/* The child of a node that is not the root, or TRIE_NONE. */
extern uint32_t trie_search(const Trie *trie, uint32_t node, uint8_t byte);

/* The child of a node, or TRIE_NONE. */
static inline uint32_t
trie_step(const Trie *trie, uint32_t node, uint8_t byte)
{
	return node == TRIE_ROOT ? trie->top[byte] : trie_search(trie, node, byte);
}

/* The node of a text, or TRIE_NONE. */
extern uint32_t trie_walk(const Trie *trie, const char *text, size_t length);

/*
 * The value of the longest text below start that text begins with, or -1;
 * *matched gets its length.
 */
extern int32_t trie_longest(const Trie *trie, uint32_t start, const char *text,
                            size_t length, size_t *matched);
