/*
 * group.c
 *		Which responses are compared: rows of one prompt become pairs or lists.
 */
#include "method/group.h"

#include <stdlib.h>
#include <string.h>

/* Groups being counted, and in a second round written. */
typedef struct Writer
{
	const GroupOptions *options;
	Groups *groups;
	int64_t count;
	int64_t members;
	int32_t *offset; /* NULL: only count */
	int32_t *row;
} Writer;

/* By prompt, then falling reward, then row. */
static int
compare_items(const void *a, const void *b)
{
	const GroupItem *left = a, *right = b;

	for (int i = 0; i < 2; i++)
		if (left->prompt[i] != right->prompt[i])
			return left->prompt[i] < right->prompt[i] ? -1 : 1;
	if (left->reward != right->reward)
		return left->reward > right->reward ? -1 : 1;
	return (left->row > right->row) - (left->row < right->row);
}

/* One more group, of the run's items at these places. */
static void
add_pair(Writer *writer, const GroupItem *run, int32_t better, int32_t worse)
{
	if (writer->offset != NULL)
	{
		writer->row[writer->members] = run[better].row;
		writer->row[writer->members + 1] = run[worse].row;
		writer->offset[writer->count + 1] = (int32_t) writer->members + 2;
	}
	writer->count++;
	writer->members += 2;
}

static void
add_list(Writer *writer, const GroupItem *run, int32_t length)
{
	int32_t kept =
		length < writer->options->max_list ? length : writer->options->max_list;

	for (int32_t i = 0; i < kept && writer->offset != NULL; i++)
	{
		/* Rounded to the nearest place; the ends stay. */
		int64_t place =
			(2 * (int64_t) i * (length - 1) + kept - 1) / (2 * (kept - 1));

		writer->row[writer->members + i] = run[place].row;
	}
	writer->count++;
	writer->members += kept;
	if (writer->offset != NULL)
		writer->offset[writer->count] = (int32_t) writer->members;
}

/* Every two of different rewards; counted without looking at each. */
static void
add_all_pairs(Writer *writer, const GroupItem *run, int32_t length)
{
	int64_t pairs = 0;

	for (int32_t i = 0, lower = 0; i < length; i++)
	{
		while (lower < length && run[lower].reward >= run[i].reward)
			lower++;
		pairs += length - lower;
		for (int32_t j = lower; j < length && writer->offset != NULL; j++)
			add_pair(writer, run, i, j);
	}
	if (writer->offset != NULL)
		return;
	writer->count += pairs;
	writer->members += 2 * pairs;
	writer->groups->equal_pairs += (int64_t) length * (length - 1) / 2 - pairs;
}

static void
add_adjacent_pairs(Writer *writer, const GroupItem *run, int32_t length)
{
	for (int32_t i = 0; i + 1 < length; i++)
	{
		if (run[i].reward > run[i + 1].reward)
			add_pair(writer, run, i, i + 1);
		else if (writer->offset == NULL)
			writer->groups->equal_pairs++;
	}
}

/* The rows of one prompt. */
static void
add_run(Writer *writer, const GroupItem *run, int32_t length)
{
	bool is_lone = length == 1;
	bool is_equal = run[0].reward == run[length - 1].reward;

	if (writer->offset == NULL)
	{
		writer->groups->prompts++;
		writer->groups->lone += is_lone;
		writer->groups->equal += is_equal && !is_lone;
	}
	if (is_lone || is_equal)
		return;
	if (writer->options->makes_lists)
		add_list(writer, run, length);
	else if (writer->options->pairs == PAIRS_ALL)
		add_all_pairs(writer, run, length);
	else if (writer->options->pairs == PAIRS_ADJACENT)
		add_adjacent_pairs(writer, run, length);
	else
		add_pair(writer, run, 0, length - 1);
}

static void
add_runs(Writer *writer, const GroupItem *items, int32_t count)
{
	for (int32_t first = 0, end; first < count; first = end)
	{
		end = first + 1;
		while (end < count && memcmp(items[end].prompt, items[first].prompt,
		                             sizeof(items[first].prompt)) == 0)
			end++;
		add_run(writer, items + first, end - first);
	}
}

bool
groups_make(Arena *arena, GroupItem *items, int32_t count,
            const GroupOptions *options, Groups *groups, Failure *failure)
{
	Writer counting = {.options = options, .groups = groups};
	Writer writing = counting;

	memset(groups, 0, sizeof(Groups));
	qsort(items, (size_t) count, sizeof(GroupItem), compare_items);
	add_runs(&counting, items, count);
	if (counting.members > INT32_MAX)
	{
		fail(failure, FAILURE_BAD_INPUT,
		     "the rows make %lld pairs or lists, too many",
		     (long long) counting.count);
		return fail_hint(failure,
		                 "Option pairs can be best_worst or adjacent.");
	}
	writing.offset =
		arena_try(arena, (size_t) counting.count + 1, sizeof(int32_t), failure);
	if (writing.offset == NULL)
		return false;
	writing.row =
		arena_try(arena, (size_t) counting.members, sizeof(int32_t), failure);
	if (writing.row == NULL)
		return false;
	add_runs(&writing, items, count);
	groups->count = (int32_t) counting.count;
	groups->offset = writing.offset;
	groups->row = writing.row;
	return true;
}
