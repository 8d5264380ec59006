/*
 * labels.c
 *		The names of a classifier's outputs: the distinct labels of its rows.
 *
 * Labels that were not seen yet wait behind the sorted ones; they are sorted in
 * when they are as many.
 */
#include "alol.h"

#include "utils/memutils.h"

#include "job/labels.h"

#define CAPACITY 64
#define LISTED_MAX 20

/* What qsort_arg and bsearch compare. */
typedef struct Entry
{
	char *name;
	int64 rows;
} Entry;

static int
compare_names(bool are_numbers, const char *a, const char *b)
{
	if (are_numbers)
	{
		int64 left = strtoll(a, NULL, 10);
		int64 right = strtoll(b, NULL, 10);

		return left < right ? -1 : left > right;
	}
	return strcmp(a, b);
}

static int
compare_entries(const void *a, const void *b, void *are_numbers)
{
	return compare_names(*(bool *) are_numbers, ((const Entry *) a)->name,
	                     ((const Entry *) b)->name);
}

Labels *
labels_create(bool are_numbers)
{
	Labels *labels = palloc0(sizeof(Labels));

	labels->are_numbers = are_numbers;
	labels->context = CurrentMemoryContext;
	labels->capacity = CAPACITY;
	labels->name = palloc(CAPACITY * sizeof(char *));
	labels->rows = palloc(CAPACITY * sizeof(int64));
	return labels;
}

int
labels_find(const Labels *labels, const char *name)
{
	int low = 0;
	int high = labels->sorted;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		int order =
			compare_names(labels->are_numbers, name, labels->name[middle]);

		if (order == 0)
			return middle;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

/* Sorts all, and puts equal ones together. */
static void
sort(Labels *labels)
{
	Entry *entry = palloc(Max(labels->count, 1) * sizeof(Entry));
	int kept = 0;

	for (int i = 0; i < labels->count; i++)
		entry[i] = (Entry){labels->name[i], labels->rows[i]};
	qsort_arg(entry, labels->count, sizeof(Entry), compare_entries,
	          &labels->are_numbers);
	for (int i = 0; i < labels->count; i++)
	{
		if (kept > 0 && compare_entries(&entry[kept - 1], &entry[i],
		                                &labels->are_numbers) == 0)
		{
			entry[kept - 1].rows += entry[i].rows;
			pfree(entry[i].name);
		}
		else
			entry[kept++] = entry[i];
	}
	for (int i = 0; i < kept; i++)
	{
		labels->name[i] = entry[i].name;
		labels->rows[i] = entry[i].rows;
	}
	labels->count = labels->sorted = kept;
	pfree(entry);
	if (kept > LABELS_MAX)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("label has more than %d distinct values", LABELS_MAX),
		         errhint("Objective regression takes numbers as they are.")));
}

/* Room for one more. */
static void
make_room(Labels *labels)
{
	if (labels->count < labels->capacity)
		return;
	sort(labels);
	/* What is sorted is at most half, or sorting would be all there is. */
	if (labels->count <= labels->capacity / 2)
		return;
	labels->capacity *= 2;
	labels->name =
		repalloc_huge(labels->name, labels->capacity * sizeof(char *));
	labels->rows =
		repalloc_huge(labels->rows, labels->capacity * sizeof(int64));
}

void
labels_add(Labels *labels, const char *name)
{
	int found = labels_find(labels, name);

	if (found >= 0)
	{
		labels->rows[found]++;
		return;
	}
	make_room(labels);
	labels->name[labels->count] = MemoryContextStrdup(labels->context, name);
	labels->rows[labels->count++] = 1;
}

void
labels_finish(Labels *labels)
{
	sort(labels);
}

char *
labels_list(const Labels *labels)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < labels->count && i < LISTED_MAX; i++)
		appendStringInfo(&list, "%s\"%s\" (" INT64_FORMAT ")",
		                 i > 0 ? ", " : "", labels->name[i], labels->rows[i]);
	if (labels->count > LISTED_MAX)
		appendStringInfo(&list, " and %d more", labels->count - LISTED_MAX);
	return list.data;
}
