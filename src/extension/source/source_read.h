/*
 * source_read.h
 *		Running a source's query: through a cursor, and read-only.
 *
 * SPI's own read_only lets a volatile function write, so the transaction is
 * made READ ONLY for as long as the user's SQL runs.  An error ends the
 * (sub)transaction, which sets that back as well.
 */
#pragma once

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/portal.h"

/*
 * Opens a cursor on a query that source_open() has checked: plans it, checks
 * permissions, and reads nothing yet.  SPI must be connected.  The cursor
 * lives until it is closed or the (sub)transaction ends.
 */
extern Portal source_cursor_open(const char *query);

/* Receives a row, which is gone when it returns. */
typedef void (*SourceVisit)(HeapTuple row, TupleDesc columns, void *argument);

/* Calls visit for all rows of the query in their order.  SPI is connected
 * meanwhile, and its memory context the current one. */
extern void source_visit(const char *query, SourceVisit visit, void *argument);
