/*
 * spool.c
 *		Writing a spool: rows in a file that appears when it is whole.
 */
#include "alol.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "source/source_read.h"
#include "source/spool.h"
#include "source/spool_format.h"

#define BUFFER_SIZE (256 * 1024)

struct SpoolWriter
{
	char *path;      /* of the finished file */
	char *temporary; /* of the file while it is written */
	TupleDesc columns;
	const Bitmapset *kept; /* attribute numbers; NULL: all */
	File file;             /* -1: closed */
	off_t written;         /* bytes in the file; more are in buffer */
	StringInfoData buffer;
	StringInfoData offsets; /* uint64 a row: where it begins */
	int64 count;
	Datum *values; /* [natts], work space */
	bool *nulls;
	MemoryContext row_context; /* reset for each row */
	MemoryContextCallback on_reset;
};

/* --------------------------------------------------------------- the file */

static void
close_writer(void *argument)
{
	SpoolWriter *writer = argument;

	if (writer->file < 0)
		return;
	FileClose(writer->file);
	writer->file = -1;
}

static void
write_bytes(SpoolWriter *writer, char *data, int size)
{
	int done;

	errno = 0;
	done =
		FileWrite(writer->file, data, size, writer->written, PG_WAIT_EXTENSION);
	if (done != size)
	{
		/* A short write without an error is a full disk. */
		if (done >= 0)
			errno = ENOSPC;
		ereport(ERROR,
		        (errcode_for_file_access(),
		         errmsg("could not write file \"%s\": %m", writer->temporary)));
	}
	writer->written += size;
}

static void
flush(SpoolWriter *writer)
{
	if (writer->buffer.len > 0)
		write_bytes(writer, writer->buffer.data, writer->buffer.len);
	resetStringInfo(&writer->buffer);
}

static uint64
position(const SpoolWriter *writer)
{
	return (uint64) writer->written + (uint64) writer->buffer.len;
}

SpoolWriter *
spool_create(const char *path, TupleDesc columns)
{
	SpoolWriter *writer = palloc0(sizeof(SpoolWriter));

	writer->path = pstrdup(path);
	writer->temporary = psprintf("%s.tmp", path);
	writer->columns = CreateTupleDescCopy(columns);
	writer->values = palloc(sizeof(Datum) * Max(columns->natts, 1));
	writer->nulls = palloc(sizeof(bool) * Max(columns->natts, 1));
	initStringInfo(&writer->buffer);
	initStringInfo(&writer->offsets);
	writer->row_context = AllocSetContextCreate(
		CurrentMemoryContext, "alol spool row", ALLOCSET_DEFAULT_SIZES);
	writer->file = PathNameOpenFile(writer->temporary,
	                                O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	if (writer->file < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create file \"%s\": %m",
		                       writer->temporary)));
	writer->on_reset.func = close_writer;
	writer->on_reset.arg = writer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &writer->on_reset);
	spool_put_header(&writer->buffer, columns);
	return writer;
}

void
spool_keep(SpoolWriter *writer, const Bitmapset *attributes)
{
	writer->kept = bms_copy(attributes);
}

/* --------------------------------------------------------------- the rows */

/* The row without what is not kept, and with nothing stored elsewhere. */
static HeapTuple
prepare_row(SpoolWriter *writer, HeapTuple row)
{
	if (writer->kept != NULL)
	{
		heap_deform_tuple(row, writer->columns, writer->values, writer->nulls);
		for (int i = 0; i < writer->columns->natts; i++)
			if (!bms_is_member(i + 1, writer->kept))
				writer->nulls[i] = true;
		row = heap_form_tuple(writer->columns, writer->values, writer->nulls);
	}
	if (HeapTupleHasExternal(row))
		row = toast_flatten_tuple(row, writer->columns);
	return row;
}

static MinimalTuple
minimal_tuple(HeapTuple row)
{
#if PG_VERSION_NUM >= 180000
	return minimal_tuple_from_heap_tuple(row, 0);
#else
	return minimal_tuple_from_heap_tuple(row);
#endif
}

/* Offsets grow beyond the 1 GB of a StringInfo only after 134 million rows. */
static void
check_room(const SpoolWriter *writer)
{
	if (writer->offsets.len > (int) (MaxAllocSize - 2 * sizeof(uint64)))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("source has more than " INT64_FORMAT " rows",
		                       writer->count)));
}

void
spool_add(SpoolWriter *writer, HeapTuple row)
{
	MemoryContext saved = MemoryContextSwitchTo(writer->row_context);
	uint64 begin = position(writer);
	MinimalTuple tuple;
	SpoolRow head;

	check_room(writer);
	tuple = minimal_tuple(prepare_row(writer, row));
	head.length = tuple->t_len;
	head.crc = spool_crc(tuple, tuple->t_len);
	MemoryContextSwitchTo(saved);

	if (writer->buffer.len > BUFFER_SIZE)
	{
		flush(writer);
		CHECK_FOR_INTERRUPTS();
	}
	appendBinaryStringInfo(&writer->offsets, (char *) &begin, sizeof(begin));
	appendBinaryStringInfo(&writer->buffer, (char *) &head, sizeof(head));
	/* A tuple of up to 1 GB does not fit behind others in a buffer. */
	if (tuple->t_len > BUFFER_SIZE)
	{
		flush(writer);
		write_bytes(writer, (char *) tuple, (int) tuple->t_len);
	}
	else
		appendBinaryStringInfo(&writer->buffer, (char *) tuple,
		                       (int) tuple->t_len);
	writer->count++;
	MemoryContextReset(writer->row_context);
}

/* The table may have been altered since the columns were determined. */
static void
check_same_columns(const SpoolWriter *writer, TupleDesc columns)
{
	bool same = columns->natts == writer->columns->natts;

	for (int i = 0; same && i < columns->natts; i++)
		same = TupleDescAttr(columns, i)->atttypid ==
		       TupleDescAttr(writer->columns, i)->atttypid;
	if (!same)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("the columns of the source have changed")));
}

static void
add_visited(HeapTuple row, TupleDesc columns, void *argument)
{
	SpoolWriter *writer = argument;

	if (writer->count == 0)
		check_same_columns(writer, columns);
	spool_add(writer, row);
}

void
spool_fill(SpoolWriter *writer, const char *query)
{
	source_visit(query, add_visited, writer);
}

int64
spool_finish(SpoolWriter *writer)
{
	SpoolEnd end = {
		.index = position(writer),
		.count = (uint64) writer->count,
		.index_crc = spool_crc(writer->offsets.data, writer->offsets.len),
	};

	memcpy(end.magic, SPOOL_END_MAGIC, sizeof(end.magic));
	flush(writer);
	if (writer->offsets.len > 0)
		write_bytes(writer, writer->offsets.data, writer->offsets.len);
	write_bytes(writer, (char *) &end, sizeof(end));
	if (FileSync(writer->file, PG_WAIT_EXTENSION) != 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not flush file \"%s\" to disk: %m",
		                       writer->temporary)));
	close_writer(writer);
	durable_rename(writer->temporary, writer->path, ERROR);
	return writer->count;
}
