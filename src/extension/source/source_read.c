/*
 * source_read.c
 *		Running a source's query: through a cursor, and read-only.
 */
#include "alol.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "source/source_read.h"

#define ROWS_AT_ONCE 1000

Portal
source_cursor_open(const char *query)
{
	bool was_read_only = XactReadOnly;
	SPIPlanPtr plan;
	Portal portal;

	/* Planning runs functions of constants. */
	XactReadOnly = true;
	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
		     SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	XactReadOnly = was_read_only;
	return portal;
}

void
source_visit(const char *query, SourceVisit visit, void *argument)
{
	bool was_read_only = XactReadOnly;
	Portal portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = source_cursor_open(query);
	XactReadOnly = true;
	for (;;)
	{
		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			visit(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, argument);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	XactReadOnly = was_read_only;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}
