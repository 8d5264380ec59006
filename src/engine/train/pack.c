/*
 * pack.c
 *		Splits a step into ragged micro-batches of at most so many tokens.
 */
#include "train/pack.h"

/* Insertion keeps equal lengths in order, and a step has few rows. */
static void
sort_by_length(const int32_t *length, int count, int32_t *order)
{
	for (int i = 0; i < count; i++)
	{
		int place = i;

		while (place > 0 && length[order[place - 1]] < length[i])
		{
			order[place] = order[place - 1];
			place--;
		}
		order[place] = i;
	}
}

int
pack_rows(const int32_t *length, int count, int64_t budget, int32_t *order,
          int32_t *begin)
{
	int batches = 0;
	int64_t used = 0;

	sort_by_length(length, count, order);
	for (int i = 0; i < count; i++)
	{
		int64_t more = length[order[i]];

		if (i == 0 || used + more > budget)
		{
			begin[batches++] = i;
			used = 0;
		}
		used += more;
	}
	begin[batches] = count;
	return batches;
}
