/*
 * pack.h
 *		Splits a step into ragged micro-batches of at most so many tokens.
 */
#pragma once

#include "base/arena.h"

/* A row or a group of rows, never split. */
typedef struct PackItem
{
	int32_t tokens;
	int32_t shared; /* of these, what is computed once for items of equal
	                 * prompts in a micro-batch */
	const uint64_t *prompt; /* [2] equal for equal prompts; NULL: no other
	                         * item has this one's */
} PackItem;

/*
 * Divides the items 0 .. count - 1 among micro-batches of at most `budget`
 * tokens: few of them, as each has costs of its own, and about equally full.
 * Items of equal prompts stay together, the longest first, as far as they fit;
 * an item beyond the budget is a micro-batch of its own.  Which items go
 * together follows from their lengths and prompts alone.
 *
 * order[count] receives the items; begin[count + 1] the first place of each
 * micro-batch in order, and count behind the last.  Returns the number of
 * micro-batches.
 */
extern int pack_items(const PackItem *item, int count, int64_t budget,
                      int32_t *order, int32_t *begin);
