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
 * Sorts the items 0 .. count - 1 by falling length, equal ones in their order,
 * those of equal prompts behind the longest of them, and cuts where the budget
 * is full, so that a micro-batch holds items of similar length.  An item
 * beyond the budget is a micro-batch of its own.
 *
 * order[count] receives the items; begin[count + 1] the first place of each
 * micro-batch in order, and count behind the last.  Returns the number of
 * micro-batches.
 */
extern int pack_items(const PackItem *item, int count, int64_t budget,
                      int32_t *order, int32_t *begin);
