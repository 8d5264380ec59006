/*
 * pack.h
 *		Splits a step into ragged micro-batches of at most so many tokens.
 */
#pragma once

#include <stdint.h>

/*
 * Sorts the items 0 .. count - 1 (whole groups, never split) by falling
 * length, equal ones in their order, and cuts where the budget is full, so
 * that a micro-batch holds items of similar length.  An item beyond the budget
 * is a micro-batch of its own.
 *
 * length[count] in tokens; order[count] receives the items; begin[count + 1]
 * the first place of each micro-batch in order, and count behind the last.
 * Returns the number of micro-batches.
 */
extern int pack_rows(const int32_t *length, int count, int64_t budget,
                     int32_t *order, int32_t *begin);
