/*
 * pair_counts.h
 *		How often each pair of neighbouring symbols occurs, and in which words:
 *		the table behind the training of a BPE.
 */
#pragma once

#include "base/arena.h"

typedef struct PairCount
{
	int32_t left;
	int32_t right;
	int64_t count;  /* occurrences, each word times its frequency */
	int32_t places; /* the first of its words in PairCounts.places, or -1 */
} PairCount;

/* A word in which a pair occurs, or did when it was noted. */
typedef struct PairPlace
{
	int32_t word;
	int32_t next; /* or -1 */
} PairPlace;

/* The pairs worth merging; counts are as of when they were put here. */
typedef struct PairCandidate
{
	int64_t count;
	int32_t pair;
} PairCandidate;

typedef struct PairCounts
{
	Arena *arena;
	PairCount *pairs;
	size_t count;
	size_t capacity;
	int32_t *slots; /* [mask + 1] pair + 1, or 0 where free */
	size_t mask;
	PairPlace *places;
	size_t place_count;
	size_t place_capacity;
	PairCandidate *heap;
	size_t heap_count;
	size_t heap_capacity;
} PairCounts;

extern bool pair_counts_open(PairCounts *counts, Arena *arena,
                             Failure *failure);

/* Adds change to the count of a pair, and notes the word if it is more. */
extern bool pair_counts_change(PairCounts *counts, int32_t left, int32_t right,
                               int64_t change, int32_t word, Failure *failure);

/* Makes pairs [first, count) candidates. */
extern bool pair_counts_offer(PairCounts *counts, size_t first,
                              Failure *failure);

/*
 * Takes the most frequent pair that occurs at least least times out of the
 * candidates; of equals the one with the smaller ids.  false if there is none.
 */
extern bool pair_counts_take(PairCounts *counts, int64_t least, int32_t *pair);
