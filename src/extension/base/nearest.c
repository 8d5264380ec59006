/*
 * nearest.c
 *		Which known name a mistyped one probably means.
 */
#include "alol.h"

#include "utils/varlena.h"

#include "base/nearest.h"

/* Longer names are not compared: varstr_levenshtein() allows 255 bytes. */
#define NAME_LENGTH_MAX 255

const char *
nearest_name(const char *name, const char *const *names, int count)
{
	int length = (int) strlen(name);
	/* More than half of it mistyped is another name. */
	int best_distance = Max(length / 2, 1);
	const char *best = NULL;

	if (length == 0 || length > NAME_LENGTH_MAX)
		return NULL;
	for (int i = 0; i < count; i++)
	{
		int other = (int) strlen(names[i]);
		int distance;

		if (other > NAME_LENGTH_MAX)
			continue;
		distance = varstr_levenshtein_less_equal(name, length, names[i], other,
		                                         1, 1, 1, best_distance, true);
		if (distance > best_distance ||
		    (best != NULL && distance == best_distance))
			continue;
		best_distance = distance;
		best = names[i];
	}
	return best;
}
