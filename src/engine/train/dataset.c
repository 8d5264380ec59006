/*
 * dataset.c
 *		The rows of a job, in a file.
 *
 * Everything is padded to eight bytes: a header, the rows, and a trailer with
 * the counts and the checksum of all before it.  Numbers are as this machine
 * has them: the file never leaves it.
 */
#include "train/dataset.h"

#include "train/checksum.h"

#include <string.h>

#define VERSION 3

static const char head_magic[8] = "alolrows";
static const char tail_magic[8] = "alolends";

typedef struct Head
{
	char magic[8];
	uint64_t version;
	uint64_t products; /* DType */
} Head;

typedef struct Record
{
	int64_t row_number;
	double reward;
	double value;
	double advantage;
	int32_t tokens;
	int32_t prompt;
	uint32_t has_reference;
	uint32_t role;
	uint64_t prompt_key[2];
} Record;

typedef struct Tail
{
	char magic[8];
	int64_t rows;
	int64_t selected;
	uint64_t checksum;
} Tail;

static void
add(DatasetWriter *writer, const void *data, size_t size)
{
	static const char zeros[8] = {0};
	size_t padding = (8 - size % 8) % 8;

	file_write(&writer->file, data, size);
	file_write(&writer->file, zeros, padding);
	/* A last short word counts as padded with zeros: the same bytes. */
	writer->checksum = checksum_add(writer->checksum, data, size);
}

bool
dataset_writer_open(DatasetWriter *writer, const char *path, DType products,
                    Failure *failure)
{
	Head head = {.version = VERSION, .products = products};

	memset(writer, 0, sizeof(DatasetWriter));
	memcpy(head.magic, head_magic, sizeof(head.magic));
	writer->checksum = CHECKSUM_START;
	if (!file_writer_open(&writer->file, path, failure))
		return false;
	add(writer, &head, sizeof(head));
	return true;
}

void
dataset_add(DatasetWriter *writer, const DatasetRow *row)
{
	Record record = {row->row_number,
	                 row->reward,
	                 row->value,
	                 row->advantage,
	                 row->tokens,
	                 row->prompt,
	                 row->ref_logp != NULL,
	                 (uint32_t) row->role,
	                 {row->prompt_key[0], row->prompt_key[1]}};

	add(writer, &record, sizeof(record));
	add(writer, row->ids, (size_t) row->tokens * sizeof(int32_t));
	if (row->ref_logp != NULL)
		add(writer, row->ref_logp,
		    (size_t) (row->tokens - row->prompt) * sizeof(float));
	writer->selected++;
}

bool
dataset_finish(DatasetWriter *writer, int64_t rows, Failure *failure)
{
	Tail tail = {.rows = rows, .selected = writer->selected};

	memcpy(tail.magic, tail_magic, sizeof(tail.magic));
	tail.checksum = checksum_add(writer->checksum, &tail,
	                             sizeof(tail) - sizeof(tail.checksum));
	file_write(&writer->file, &tail, sizeof(tail));
	return file_writer_commit(&writer->file, failure);
}

void
dataset_writer_close(DatasetWriter *writer)
{
	file_writer_close(&writer->file);
}

static size_t
padded(size_t size)
{
	return (size + 7) / 8 * 8;
}

/* Reads one record at *at and moves *at behind it; false if it does not fit
 * before end. */
static bool
read_row(const MappedFile *file, size_t *at, size_t end, DatasetRow *row)
{
	Record record;
	size_t ids, reference;

	if (end - *at < sizeof(record))
		return false;
	memcpy(&record, file->data + *at, sizeof(record));
	*at += sizeof(record);
	if (record.prompt < 1 || record.tokens < record.prompt ||
	    record.role > ROW_REJECTED)
		return false;
	ids = padded((size_t) record.tokens * sizeof(int32_t));
	reference =
		record.has_reference == 0
			? 0
			: padded((size_t) (record.tokens - record.prompt) * sizeof(float));
	if (end - *at < ids || end - *at - ids < reference)
		return false;
	row->row_number = record.row_number;
	row->reward = record.reward;
	row->value = record.value;
	row->advantage = record.advantage;
	row->tokens = record.tokens;
	row->prompt = record.prompt;
	row->role = (DatasetRole) record.role;
	memcpy(row->prompt_key, record.prompt_key, sizeof(row->prompt_key));
	row->ids = (const int32_t *) (file->data + *at);
	row->ref_logp = record.has_reference == 0
	                    ? NULL
	                    : (const float *) (file->data + *at + ids);
	*at += ids + reference;
	return true;
}

static bool
check_ends(const MappedFile *file, const char *path, Dataset *dataset,
           Tail *tail, Failure *failure)
{
	Head head;
	size_t hashed = file->size - sizeof(tail->checksum);

	if (file->size < sizeof(Head) + sizeof(Tail))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has %zu bytes, too few for rows", path, file->size);
	memcpy(&head, file->data, sizeof(head));
	memcpy(tail, file->data + file->size - sizeof(Tail), sizeof(Tail));
	if (memcmp(head.magic, head_magic, 8) != 0 || head.version != VERSION ||
	    memcmp(tail->magic, tail_magic, 8) != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" does not hold rows of this version", path);
	if (checksum_add(CHECKSUM_START, file->data, hashed) != tail->checksum)
		return fail(failure, FAILURE_BAD_FILE,
		            "the checksum of \"%s\" does not match its content", path);
	if (tail->selected < 0 || tail->selected > INT32_MAX ||
	    tail->rows < tail->selected)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" claims %lld of %lld rows", path,
		            (long long) tail->selected, (long long) tail->rows);
	if (head.products != DTYPE_F32 && head.products != DTYPE_BF16)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" claims products of type %llu", path,
		            (unsigned long long) head.products);
	dataset->products = (DType) head.products;
	return true;
}

bool
dataset_open(Arena *arena, const char *path, Dataset *dataset, Failure *failure)
{
	MappedFile file;
	Tail tail;
	size_t at = sizeof(Head);

	if (!file_map(arena, path, &file, failure) ||
	    !check_ends(&file, path, dataset, &tail, failure))
		return false;
	dataset->rows = tail.rows;
	dataset->selected = (int32_t) tail.selected;
	dataset->checksum = tail.checksum;
	dataset->row =
		arena_try(arena, (size_t) tail.selected, sizeof(DatasetRow), failure);
	if (dataset->row == NULL)
		return false;
	for (int32_t i = 0; i < dataset->selected; i++)
		if (!read_row(&file, &at, file.size - sizeof(Tail), &dataset->row[i]))
			return fail(failure, FAILURE_BAD_FILE, "row %d of \"%s\" is broken",
			            i, path);
	return true;
}

/* ------------------------------------------------------------- grouping */

/* 0, step, 2 * step and so on. */
static int32_t *
multiples(Arena *arena, int32_t count, int32_t step, Failure *failure)
{
	int32_t *number =
		arena_try(arena, (size_t) count, sizeof(int32_t), failure);

	for (int32_t i = 0; number != NULL && i < count; i++)
		number[i] = i * step;
	return number;
}

/* Groups of size rows each, in their order. */
static bool
group_in_order(Arena *arena, Dataset *dataset, int32_t size, Failure *failure)
{
	int32_t count = dataset->selected / size;
	int32_t *offset = multiples(arena, count + 1, size, failure);
	int32_t *row =
		offset == NULL ? NULL : multiples(arena, dataset->selected, 1, failure);

	dataset->groups = (Groups){
		.count = count, .offset = offset, .row = row, .prompts = count};
	return row != NULL;
}

/* The source's own pairs: rows 0 and 1, 2 and 3, and so on. */
static bool
check_pairs(const Dataset *dataset, Failure *failure)
{
	for (int32_t i = 0; i < dataset->selected; i++)
		if (dataset->row[i].role != (i % 2 == 0 ? ROW_CHOSEN : ROW_REJECTED))
			return fail(failure, FAILURE_BAD_FILE,
			            "row %d is no half of a pair", i);
	return dataset->selected % 2 == 0 ||
	       fail(failure, FAILURE_BAD_FILE, "%d rows do not make pairs",
	            dataset->selected);
}

bool
dataset_group(Arena *arena, Dataset *dataset, const GroupOptions *options,
              Failure *failure)
{
	GroupItem *items;

	if (options == NULL)
		return group_in_order(arena, dataset, 1, failure);
	if (dataset->selected > 0 && dataset->row[0].role != ROW_ALONE)
		return check_pairs(dataset, failure) &&
		       group_in_order(arena, dataset, 2, failure);
	items = arena_try(arena, (size_t) dataset->selected, sizeof(GroupItem),
	                  failure);
	if (items == NULL)
		return false;
	for (int32_t i = 0; i < dataset->selected; i++)
	{
		const DatasetRow *row = &dataset->row[i];

		items[i] = (GroupItem){
			{row->prompt_key[0], row->prompt_key[1]}, row->reward, i};
	}
	return groups_make(arena, items, dataset->selected, options,
	                   &dataset->groups, failure);
}

int64_t
dataset_group_tokens(const Dataset *dataset, int32_t group)
{
	const Groups *groups = &dataset->groups;
	int64_t tokens = 0;

	for (int32_t i = groups->offset[group]; i < groups->offset[group + 1]; i++)
		tokens += dataset->row[groups->row[i]].tokens;
	return tokens;
}

ObjectiveGroup
dataset_view_group(const GroupTables *tables, const DatasetRow *const *row,
                   int count, const float *logp)
{
	bool has_reference = true;

	tables->place[0] = 0;
	for (int i = 0; i < count; i++)
	{
		int32_t predicted = row[i]->tokens - row[i]->prompt;

		tables->place[i + 1] = tables->place[i] + predicted;
		tables->reward[i] = row[i]->reward;
		tables->advantage[i] = row[i]->advantage;
		has_reference = has_reference && row[i]->ref_logp != NULL;
		if (row[i]->ref_logp != NULL)
			memcpy(tables->ref_logp + tables->place[i], row[i]->ref_logp,
			       (size_t) predicted * sizeof(float));
	}
	return (ObjectiveGroup){.count = count,
	                        .offset = tables->place,
	                        .logp = logp,
	                        .ref_logp = has_reference ? tables->ref_logp : NULL,
	                        .reward = tables->reward,
	                        .advantage = tables->advantage};
}
