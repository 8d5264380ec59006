/*
 * job_transaction.c
 *		Transactions of a worker: the user's SQL reads, ours alone writes.
 */
#include "alol.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/snapmgr.h"

#include "job/job_run.h"

/* Whether the open transaction has SPI connected. */
static bool is_connected = false;

static MemoryContext
begin(bool is_reading, int isolation, bool connects)
{
	MemoryContext saved = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* Before the first snapshot, so that the user's SQL cannot undo it; and
	 * set both ways, as defaults of the role or database would count. */
	XactReadOnly = is_reading;
	XactIsoLevel = isolation;
	pgstat_report_activity(STATE_RUNNING, NULL);
	PushActiveSnapshot(GetTransactionSnapshot());
	is_connected = connects;
	if (connects && SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	return saved;
}

MemoryContext
job_begin_read(void)
{
	return begin(true, XACT_READ_COMMITTED, true);
}

MemoryContext
job_begin_snapshot(void)
{
	return begin(true, XACT_REPEATABLE_READ, true);
}

MemoryContext
job_begin_write(void)
{
	return begin(false, XACT_READ_COMMITTED, false);
}

void
job_commit(MemoryContext saved)
{
	bool was_reading = is_connected;

	if (is_connected && SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	is_connected = false;
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(saved);
	if (was_reading)
		job_hold_locks();
}

WireBuffer
job_payload(const char *head_json)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext saved;
	WireBuffer payload;

	if (GetDatabaseEncoding() == PG_UTF8)
		return engine_payload(head_json);
	saved = job_begin_read();
	MemoryContextSwitchTo(context);
	payload = engine_payload(head_json);
	job_commit(saved);
	return payload;
}

void
job_transaction_reset(void)
{
	is_connected = false;
}
