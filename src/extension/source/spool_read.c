/*
 * spool_read.c
 *		Reading a spool: any rows of it, at any time, each checked.
 */
#include "alol.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "source/spool.h"
#include "source/spool_format.h"

struct SpoolReader
{
	char *path;
	File file; /* -1: closed */
	off_t size;
	uint64 index; /* where the index begins */
	int64 count;
	TupleDesc columns;
	MemoryContextCallback on_reset;
};

static void
close_reader(void *argument)
{
	SpoolReader *reader = argument;

	if (reader->file < 0)
		return;
	FileClose(reader->file);
	reader->file = -1;
}

static void
damaged(const SpoolReader *reader, const char *what)
{
	ereport(ERROR,
	        (errcode(ERRCODE_DATA_CORRUPTED),
	         errmsg("spool file \"%s\" is damaged: %s", reader->path, what)));
}

static void
read_bytes(const SpoolReader *reader, void *data, size_t size, uint64 offset)
{
	int done;

	if (offset > (uint64) reader->size || size > (uint64) reader->size - offset)
		damaged(reader, "it ends too early");
	done = FileRead(reader->file, data, (int) size, (off_t) offset,
	                PG_WAIT_EXTENSION);
	if (done < 0)
		ereport(ERROR,
		        (errcode_for_file_access(),
		         errmsg("could not read file \"%s\": %m", reader->path)));
	if ((size_t) done != size)
		damaged(reader, "it ends too early");
}

bool
spool_exists(const char *path)
{
	struct stat status;

	if (stat(path, &status) == 0)
		return true;
	if (errno != ENOENT)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not stat file \"%s\": %m", path)));
	return false;
}

/* The end says where the index is; everything must lie inside of the file. */
static void
read_end(SpoolReader *reader)
{
	SpoolEnd end;
	uint64 room;

	if (reader->size < (off_t) (sizeof(SpoolHead) + sizeof(SpoolEnd)))
		damaged(reader, "it is too short");
	read_bytes(reader, &end, sizeof(end), (uint64) reader->size - sizeof(end));
	if (memcmp(end.magic, SPOOL_END_MAGIC, sizeof(end.magic)) != 0)
		damaged(reader, "it has no end");
	room = (uint64) reader->size - sizeof(end);
	if (end.index > room || (room - end.index) % sizeof(uint64) != 0 ||
	    (room - end.index) / sizeof(uint64) != end.count)
		damaged(reader, "its index has the wrong size");
	reader->index = end.index;
	reader->count = (int64) end.count;
}

static void
read_head(SpoolReader *reader)
{
	SpoolHead head;
	char *data;

	read_bytes(reader, &head, sizeof(head), 0);
	if (memcmp(head.magic, SPOOL_MAGIC, sizeof(head.magic)) != 0)
		damaged(reader, "it does not begin like one");
	if (head.server != PG_VERSION_NUM / 100)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("spool file \"%s\" was written by PostgreSQL %u",
		                       reader->path, head.server / 100)));
	if (head.length > reader->index)
		damaged(reader, "its header is too long");
	data = palloc(head.length + 1);
	read_bytes(reader, data, head.length, sizeof(head));
	if (spool_crc(data, head.length) != head.crc)
		damaged(reader, "its header fails its checksum");
	reader->columns = spool_get_columns(&head, data, reader->path);
	pfree(data);
}

SpoolReader *
spool_open(const char *path)
{
	SpoolReader *reader = palloc0(sizeof(SpoolReader));

	reader->path = pstrdup(path);
	reader->file = PathNameOpenFile(path, O_RDONLY | PG_BINARY);
	if (reader->file < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not open file \"%s\": %m", path)));
	reader->on_reset.func = close_reader;
	reader->on_reset.arg = reader;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &reader->on_reset);
	reader->size = FileSize(reader->file);
	if (reader->size < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not seek in file \"%s\": %m", path)));
	read_end(reader);
	read_head(reader);
	return reader;
}

TupleDesc
spool_columns(SpoolReader *reader)
{
	return reader->columns;
}

int64
spool_count(SpoolReader *reader)
{
	return reader->count;
}

/* The tuple that begins at an offset. */
static MinimalTuple
read_tuple(const SpoolReader *reader, uint64 offset)
{
	SpoolRow head;
	MinimalTuple tuple;

	if (offset >= reader->index)
		damaged(reader, "its index points past its rows");
	read_bytes(reader, &head, sizeof(head), offset);
	if (head.length < SizeofMinimalTupleHeader || head.length > MaxAllocSize ||
	    head.length > reader->index - offset)
		damaged(reader, "a row has the wrong size");
	tuple = palloc(head.length);
	read_bytes(reader, tuple, head.length, offset + sizeof(head));
	if (spool_crc(tuple, head.length) != head.crc ||
	    tuple->t_len != head.length)
		damaged(reader, "a row fails its checksum");
	return tuple;
}

static uint64
row_offset(const SpoolReader *reader, int64 number)
{
	uint64 offset;

	read_bytes(reader, &offset, sizeof(offset),
	           reader->index + (uint64) number * sizeof(offset));
	return offset;
}

HeapTuple
spool_row(SpoolReader *reader, int64 number)
{
	MinimalTuple tuple;
	HeapTuple row;

	if (number < 0 || number >= reader->count)
		elog(ERROR, "spool has no row " INT64_FORMAT, number);
	tuple = read_tuple(reader, row_offset(reader, number));
	row = heap_tuple_from_minimal_tuple(tuple);
	pfree(tuple);
	return row;
}

Tuplestorestate *
spool_read(SpoolReader *reader, int64 first, int count)
{
	Tuplestorestate *rows = tuplestore_begin_heap(true, false, work_mem);

	for (int64 i = first; i < first + count && i < reader->count; i++)
	{
		HeapTuple row = spool_row(reader, i);

		tuplestore_puttuple(rows, row);
		pfree(row);
	}
	return rows;
}
