/*
 * spool.h
 *		Rows in a file: a job's source, read once and kept.
 *
 * A file holds its columns' names and types, the rows as PostgreSQL's own
 * minimal tuples (with nothing TOASTed outside), each with its CRC, and an
 * index of where they begin.  It appears under its name only when it is
 * whole.  None but spool_fill() and spool_read() needs a transaction, apart
 * from spool_open(), which looks the types up.
 */
#pragma once

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/tuplestore.h"

typedef struct SpoolWriter SpoolWriter;
typedef struct SpoolReader SpoolReader;

/*
 * Starts path.tmp for rows of these columns (copied).  The writer lives in
 * the current memory context; when that goes before spool_finish() the file
 * is closed and nothing appears under path.
 */
extern SpoolWriter *spool_create(const char *path, TupleDesc columns);

/*
 * Keeps only these attribute numbers (all before the first row): the others
 * are NULL in the file, so that a wide table costs what is used of it.
 */
extern void spool_keep(SpoolWriter *writer, const Bitmapset *attributes);

/* Adds a row of the columns given to spool_create(). */
extern void spool_add(SpoolWriter *writer, HeapTuple row);

/*
 * Runs a query through a read-only cursor, under one snapshot, and adds all
 * of its rows.  Raises when its columns are not those of the writer.  The
 * caller has an active snapshot, in a READ ONLY transaction.
 */
extern void spool_fill(SpoolWriter *writer, const char *query);

/* Writes index and end, flushes to disk, renames; the number of rows. */
extern int64 spool_finish(SpoolWriter *writer);

/*
 * Opens a finished file, in the current memory context.  Raises when it is
 * damaged, or when a type of its columns is not now what it was then.
 */
extern SpoolReader *spool_open(const char *path);

/* True when there is a finished file. */
extern bool spool_exists(const char *path);

/* Columns of its rows; lives as long as the reader. */
extern TupleDesc spool_columns(SpoolReader *reader);
extern int64 spool_count(SpoolReader *reader);

/* Row number (from 0), palloc'd. */
extern HeapTuple spool_row(SpoolReader *reader, int64 number);

/*
 * Rows [first, first + count) as a tuplestore in the current memory context,
 * for reward_evaluate(); fewer where the file ends.
 */
extern Tuplestorestate *spool_read(SpoolReader *reader, int64 first, int count);
