/*
 * group.h
 *		Which responses are compared: rows of one prompt become pairs or lists.
 */
#pragma once

#include "base/arena.h"

/* How rows of one prompt make pairs. */
typedef enum PairsKind
{
	PAIRS_BEST_WORST, /* one pair */
	PAIRS_ADJACENT,   /* each response and the next by reward */
	PAIRS_ALL         /* every two */
} PairsKind;

typedef struct GroupOptions
{
	bool makes_lists; /* one list a prompt, rather than pairs */
	PairsKind pairs;
	int max_list; /* the longest list, at least 2 */
} GroupOptions;

/* A row as far as its place in a group goes. */
typedef struct GroupItem
{
	uint64_t prompt[2]; /* a hash: rows of equal prompts have the same */
	double reward;      /* not NaN */
	int32_t row;
} GroupItem;

/* Group i has the rows row[offset[i]] ... row[offset[i + 1] - 1], the best
 * first, ties in the order of row numbers. */
typedef struct Groups
{
	int32_t count;
	const int32_t *offset; /* [count + 1] */
	const int32_t *row;    /* [offset[count]] */

	/* What there was, and what is in no group. */
	int64_t prompts;
	int64_t lone;        /* prompts with one response */
	int64_t equal;       /* prompts whose responses all have one reward */
	int64_t equal_pairs; /* further pairs of equal rewards */
} Groups;

/*
 * Groups the items, which are sorted anew, in arena.  A list longer than
 * max_list keeps its best, its worst and others evenly spread between them.
 * Fails where the groups would be too many.
 */
extern bool groups_make(Arena *arena, GroupItem *items, int32_t count,
                        const GroupOptions *options, Groups *groups,
                        Failure *failure);
