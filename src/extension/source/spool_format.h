/*
 * spool_format.h
 *		The bytes of a spool: header, rows, index, end; shared by the writer
 *		(spool.c) and the reader (spool_read.c).
 *
 * Integers are the machine's own: a spool never leaves its server.
 *
 *		header   SpoolHead, then `length` bytes: the columns (see
 *		         spool_put_header())
 *		rows     SpoolRow, then a MinimalTuple of `length` bytes
 *		index    uint64 a row: where it begins
 *		end      SpoolEnd
 */
#pragma once

#include "access/tupdesc.h"
#include "lib/stringinfo.h"

#define SPOOL_MAGIC "ALOLSPL1"
#define SPOOL_END_MAGIC "ALOLEND1"

typedef struct SpoolHead
{
	char magic[8];
	uint32 server; /* PG_VERSION_NUM / 100: tuples are its own format */
	uint32 natts;
	uint32 length; /* of the columns that follow */
	uint32 crc;    /* of them */
} SpoolHead;

typedef struct SpoolRow
{
	uint32 length;
	uint32 crc; /* of the tuple */
} SpoolRow;

typedef struct SpoolEnd
{
	char magic[8];
	uint64 index; /* where it begins */
	uint64 count; /* rows */
	uint32 index_crc;
	uint32 unused;
} SpoolEnd;

/* One column in the header; its name and its type's description follow, each
 * with a zero byte. */
typedef struct SpoolColumn
{
	Oid type;
	int32 typmod;
	Oid collation;
	uint32 name_length;
	uint32 type_length;
} SpoolColumn;

extern uint32 spool_crc(const void *data, size_t size);

/* Appends the header for rows of these columns. */
extern void spool_put_header(StringInfo out, TupleDesc columns);

/*
 * What a type is now: its name and layout, and for row types the same of all
 * of its columns; palloc'd.  NULL when there is no such type.
 */
extern char *spool_describe_type(Oid type, int32 typmod);

/* The columns of a header's `length` bytes; raises when they do not make
 * sense, or when a type is no longer what it was. */
extern TupleDesc spool_get_columns(const SpoolHead *head, const char *data,
                                   const char *path);
