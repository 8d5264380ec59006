/*
 * job_rows.c
 *		The rows of a job out of its files: prompts, responses, what is held
 *		out.
 *
 * Prompts are told apart by a hash of 64 bits: among a million of them two
 * share one with a chance of 1 in 37 million, and are then held out together.
 */
#include "alol.h"

#include <limits.h>

#include "common/hashfn.h"
#include "access/htup_details.h"
#include "miscadmin.h"

#include "job/job_rows.h"
#include "base/json.h"
#include "inference/prompt.h"

#define HELD_FRACTION 0.05

static AttrNumber
find_named(TupleDesc columns, Jsonb *settings, const char *key,
           const char *fallback, char **name)
{
	char *chosen = json_text(settings, key);

	if (chosen == NULL)
		chosen = pstrdup(fallback);
	if (name != NULL)
		*name = chosen;
	return source_find_column(columns, chosen);
}

/* The columns as source_open() found them when the job was made. */
static Source *
find_columns(TupleDesc columns, Jsonb *settings)
{
	Source *names = palloc0(sizeof(Source));

	names->text = pstrdup("");
	names->argument = "source";
	names->query = pstrdup("");
	names->columns = columns;
	names->key = find_named(columns, settings, "key_column", "key", NULL);
	names->prompt = find_named(columns, settings, "prompt_column", "prompt",
	                           &names->prompt_column);
	names->response = find_named(columns, settings, "response_column",
	                             "response", &names->response_column);
	names->chosen = find_named(columns, settings, "chosen_column", "chosen",
	                           &names->chosen_column);
	names->rejected = find_named(columns, settings, "rejected_column",
	                             "rejected", &names->rejected_column);
	names->reward = source_find_column(columns, "reward");
	names->value = source_find_column(columns, "value");
	names->advantage = source_find_column(columns, "advantage");
	return names;
}

JobRows *
rows_open(const char *path, Jsonb *settings)
{
	JobRows *rows = palloc0(sizeof(JobRows));

	rows->spool = spool_open(path);
	rows->names = find_columns(spool_columns(rows->spool), settings);
	rows->count = spool_count(rows->spool);
	rows->seed = (uint64) json_int(settings, "seed", 0);
	return rows;
}

char *
rows_prompt(const JobRows *rows, HeapTuple row)
{
	return prompt_text(row, rows->names->columns, rows->names->prompt);
}

void
rows_error_callback(void *number)
{
	errcontext("row " INT64_FORMAT " of the source", *(int64 *) number);
}

bool
rows_have_chats(const JobRows *rows)
{
	return prompt_is_chat(rows->names->columns, rows->names->prompt);
}

char *
rows_response(const JobRows *rows, HeapTuple row)
{
	return source_text(row, rows->names->columns, rows->names->response);
}

bool
rows_pair(const JobRows *rows, HeapTuple row, char **chosen, char **rejected)
{
	const Source *names = rows->names;

	*chosen = source_text(row, names->columns, names->chosen);
	*rejected = source_text(row, names->columns, names->rejected);
	return *chosen != NULL && *rejected != NULL;
}

void
rows_put_prompt(const JobRows *rows, int64 number, WireBuffer *payload)
{
	HeapTuple row = spool_row(rows->spool, number);

	prompt_put(payload, rows_prompt(rows, row), rows_have_chats(rows));
	heap_freetuple(row);
}

/* ------------------------------------------------------ prompts by hash */

static uint64
hash_prompt(const JobRows *rows, const char *prompt)
{
	return hash_bytes_extended((const unsigned char *) prompt,
	                           (int) strlen(prompt), rows->seed);
}

typedef struct HashedRow
{
	uint64 hash;
	int64 number;
} HashedRow;

static int
compare_hashes(const void *a, const void *b)
{
	const HashedRow *left = a;
	const HashedRow *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	if (left->number != right->number)
		return left->number < right->number ? -1 : 1;
	return 0;
}

static int
compare_numbers(const void *a, const void *b)
{
	int64 left = *(const int64 *) a;
	int64 right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

/* By what a row is held out; NULL: it never is. */
static char *
held_text(const JobRows *rows, HeapTuple row)
{
	const Source *names = rows->names;
	char *prompt = rows_prompt(rows, row);

	if (prompt != NULL || !rows->holds_texts)
		return prompt;
	return source_text(row, names->columns,
	                   names->response != 0 ? names->response : names->chosen);
}

/* Rows with a prompt, each with its hash, sorted; and without the later ones
 * of equal hash. */
static HashedRow *
hash_rows(const JobRows *rows, int64 *count)
{
	HashedRow *hashed = MemoryContextAllocHuge(
		CurrentMemoryContext, (Size) Max(rows->count, 1) * sizeof(HashedRow));
	int64 found = 0;
	int64 distinct = 0;
	int64 number;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = rows_error_callback,
		.arg = &number,
	};

	error_context_stack = &callback;
	for (int64 i = 0; i < rows->count; i++)
	{
		HeapTuple row = spool_row(rows->spool, i);
		char *prompt;

		number = i + 1;
		prompt = held_text(rows, row);
		CHECK_FOR_INTERRUPTS();
		if (prompt != NULL)
		{
			hashed[found].hash = hash_prompt(rows, prompt);
			hashed[found++].number = i;
			pfree(prompt);
		}
		heap_freetuple(row);
	}
	error_context_stack = callback.previous;
	qsort(hashed, (size_t) found, sizeof(HashedRow), compare_hashes);
	for (int64 i = 0; i < found; i++)
	{
		if (distinct == 0 || hashed[distinct - 1].hash != hashed[i].hash)
			hashed[distinct++] = hashed[i];
	}
	*count = distinct;
	return hashed;
}

void
rows_hold_out(JobRows *rows)
{
	int64 distinct;
	HashedRow *hashed = hash_rows(rows, &distinct);
	int64 held = (int64) ((double) distinct * HELD_FRACTION + 0.5);

	if (distinct >= 2)
	{
		rows->has_held = true;
		rows->held_max = hashed[Max(held, 1) - 1].hash;
	}
	pfree(hashed);
}

bool
rows_is_held(const JobRows *rows, const char *prompt)
{
	return rows->has_held && hash_prompt(rows, prompt) <= rows->held_max;
}

int64 *
rows_distinct(const JobRows *rows, bool only_held, int *count)
{
	int64 distinct;
	HashedRow *hashed = hash_rows(rows, &distinct);
	int64 *numbers;
	int64 kept = 0;

	if (distinct > INT_MAX / 2)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("source has " INT64_FORMAT " distinct prompts, at "
		                "most %d are possible",
		                distinct, INT_MAX / 2)));
	numbers = MemoryContextAllocHuge(CurrentMemoryContext,
	                                 (Size) Max(distinct, 1) * sizeof(int64));
	for (int64 i = 0; i < distinct; i++)
	{
		if (!only_held || (rows->has_held && hashed[i].hash <= rows->held_max))
			numbers[kept++] = hashed[i].number;
	}
	pfree(hashed);
	qsort(numbers, (size_t) kept, sizeof(int64), compare_numbers);
	*count = (int) kept;
	return numbers;
}

void
rows_draw(const JobRows *rows, int64 *numbers, int *count, int limit)
{
	HashedRow *drawn;

	if (*count <= limit)
		return;
	/* The numbers' hashes are another order than that of the prompts', by
	 * which rows were held out. */
	drawn = palloc((Size) *count * sizeof(HashedRow));
	for (int i = 0; i < *count; i++)
	{
		drawn[i].hash = hash_bytes_extended((unsigned char *) &numbers[i],
		                                    sizeof(int64), rows->seed);
		drawn[i].number = numbers[i];
	}
	qsort(drawn, (size_t) *count, sizeof(HashedRow), compare_hashes);
	for (int i = 0; i < limit; i++)
		numbers[i] = drawn[i].number;
	pfree(drawn);
	qsort(numbers, (size_t) limit, sizeof(int64), compare_numbers);
	*count = limit;
}
