/*
 * share.c
 *		What sequences of a batch begin with in common, computed once.
 */
#include "model/share.h"

#include <stdlib.h>
#include <string.h>

/* A shorter beginning is not worth a sequence of its own. */
#define SHARED_MIN 8

/* Members of a family, so that finding it takes no more than their square. */
#define FAMILY_MAX 1024

/* Sequences in order; those of a family share their first tokens. */
typedef struct Families
{
	int count;
	int32_t *order;  /* [S] */
	int32_t *begin;  /* [count + 1] in order */
	int32_t *tokens; /* [count] that its members share; 0: a sequence alone */
} Families;

static int
length_of(const Batch *batch, int s)
{
	return batch->offset[s + 1] - batch->offset[s];
}

int
batch_sharable(const Batch *batch, int s)
{
	int before =
		batch->target == NULL ? 0 : batch->target[s] - 1 - batch->offset[s];

	return before > 0 ? before : 0;
}

/* Of these how many two sequences have in common. */
static int
common(const Batch *batch, int a, int b)
{
	const int32_t *x = batch->ids + batch->offset[a];
	const int32_t *y = batch->ids + batch->offset[b];
	int most = batch_sharable(batch, a);
	int n = 0;

	if (batch_sharable(batch, b) < most)
		most = batch_sharable(batch, b);
	while (n < most && x[n] == y[n])
		n++;
	return n;
}

/* By what they may share, as words in a dictionary; equal ones in the order
 * of the batch. */
static int
compare(const void *left, const void *right, void *argument)
{
	const Batch *batch = argument;
	int a = *(const int32_t *) left;
	int b = *(const int32_t *) right;
	int n = common(batch, a, b);
	int more = n < batch_sharable(batch, a);

	if (more != (n < batch_sharable(batch, b)))
		return more ? 1 : -1;
	if (more)
		return batch->ids[batch->offset[a] + n] <
		               batch->ids[batch->offset[b] + n]
		           ? -1
		           : 1;
	return a < b ? -1 : 1;
}

/* What the sequence at a place has in common with the one before it, and the
 * best division of all up to it. */
typedef struct Place
{
	int common;
	int family;    /* members of its last family */
	int tokens;    /* that these share */
	int64_t saved; /* tokens, by all families */
} Place;

/*
 * Divides the order so that most tokens are saved.  As one more member may
 * shorten what a family shares, the best division up to a place is looked for
 * among those that end in a family of one, two, three, ...
 */
static void
divide(const Batch *batch, const int32_t *order, Place *place)
{
	for (int i = 0; i < batch->sequences; i++)
	{
		int64_t before = i == 0 ? 0 : place[i - 1].saved;
		int tokens = INT32_MAX;

		place[i] = (Place){.family = 1, .saved = before};
		if (i > 0)
			place[i].common = common(batch, order[i - 1], order[i]);
		for (int j = i; j > 0 && i - j < FAMILY_MAX - 1; j--)
		{
			int64_t saved;

			if (place[j].common < tokens)
				tokens = place[j].common;
			if (tokens < SHARED_MIN)
				break;
			saved = (int64_t) tokens * (i - j + 1) +
			        (j < 2 ? 0 : place[j - 2].saved);
			if (saved > place[i].saved)
				place[i] = (Place){place[i].common, i - j + 2, tokens, saved};
		}
	}
}

static Families
find_families(Arena *arena, const Batch *batch, bool is_ordered)
{
	size_t count = (size_t) batch->sequences + 1;
	Families families = {0, arena_alloc(arena, count * sizeof(int32_t)),
	                     arena_alloc(arena, count * sizeof(int32_t)),
	                     arena_alloc(arena, count * sizeof(int32_t))};
	Place *place = arena_alloc(arena, count * sizeof(Place));

	for (int s = 0; s < batch->sequences; s++)
		families.order[s] = s;
	if (!is_ordered)
		qsort_r(families.order, (size_t) batch->sequences, sizeof(int32_t),
		        compare, (void *) batch);
	divide(batch, families.order, place);
	/* From the last family to the first, and then in their order. */
	for (int i = batch->sequences - 1; i >= 0; i -= place[i].family)
		families.count++;
	families.begin[families.count] = batch->sequences;
	for (int f = families.count - 1; f >= 0; f--)
	{
		const Place *last = &place[families.begin[f + 1] - 1];

		families.begin[f] = families.begin[f + 1] - last->family;
		families.tokens[f] = last->tokens;
	}
	return families;
}

void
batch_order(Arena *arena, const Batch *batch, int32_t *order, int32_t *cost)
{
	Families families = find_families(arena, batch, false);

	for (int f = 0; f < families.count; f++)
		for (int i = families.begin[f]; i < families.begin[f + 1]; i++)
		{
			order[i] = families.order[i];
			cost[i] = length_of(batch, order[i]) -
			          (i == families.begin[f] ? 0 : families.tokens[f]);
		}
}

SharedBatch
batch_alone(const Batch *batch)
{
	SharedBatch shared = {.batch = *batch};

	shared.batch.target = NULL;
	return shared;
}

/* The arrays of a shared batch while it is made. */
typedef struct Making
{
	const Batch *batch;
	int sequences;
	int32_t *offset;
	int32_t *prefix;
	int32_t *source;
	int32_t *first;
	int32_t *ids;
} Making;

/* Tokens [from, to) of sequence s, behind those of sequence prefix. */
static void
add_sequence(Making *making, int s, int from, int to, int prefix)
{
	int n = making->sequences++;
	int at = making->offset[n];

	memcpy(making->ids + at,
	       making->batch->ids + making->batch->offset[s] + from,
	       (size_t) (to - from) * sizeof(int32_t));
	making->offset[n + 1] = at + to - from;
	making->prefix[n] = prefix;
	making->source[n] = s;
	making->first[s] = at - from;
}

static void
add_family(Making *making, const Families *families, int f)
{
	const Batch *batch = making->batch;
	int shared = families->tokens[f];
	int prefix = -1;

	if (shared > 0)
	{
		prefix = making->sequences;
		add_sequence(making, families->order[families->begin[f]], 0, shared,
		             -1);
	}
	for (int i = families->begin[f]; i < families->begin[f + 1]; i++)
		add_sequence(making, families->order[i], shared,
		             length_of(batch, families->order[i]), prefix);
}

SharedBatch
batch_share(Arena *arena, const Batch *batch, bool is_ordered)
{
	Families families = find_families(arena, batch, is_ordered);
	size_t most = (size_t) (batch->sequences + families.count + 1);
	size_t bytes = most * sizeof(int32_t);
	Making making = {.batch = batch};

	if (families.count == batch->sequences)
		return batch_alone(batch);
	making.offset = arena_alloc(arena, bytes);
	making.prefix = arena_alloc(arena, bytes);
	making.source = arena_alloc(arena, bytes);
	making.first = arena_alloc(arena, bytes);
	making.ids = arena_alloc(
		arena, sizeof(int32_t) * (size_t) batch->offset[batch->sequences]);
	for (int f = 0; f < families.count; f++)
		add_family(&making, &families, f);
	return (SharedBatch){
		{making.sequences, making.offset, NULL, making.ids, NULL},
		making.prefix,
		making.source,
		making.first};
}

void
batch_list_targets(const Batch *batch, const SharedBatch *shared, int32_t *row,
                   int32_t *target)
{
	int n = 0;

	for (int s = 0; s < batch->sequences; s++)
	{
		int moved =
			shared->first == NULL ? 0 : shared->first[s] - batch->offset[s];

		for (int t = batch->target[s]; t < batch->offset[s + 1]; t++)
		{
			row[n] = t - 1 + moved;
			target[n++] = batch->ids[t];
		}
	}
}
