/*
 * launcher.c
 *		The process that starts interrupted jobs after a server restart.
 *
 * The launcher itself is in no database.  It reads the list of them and lets
 * one short worker after another look after the jobs of each; then it sleeps,
 * so that it is there again after a crash of the whole server's processes.
 */
#include "alol.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "job/job_queue.h"
#include "job/job_start.h"
#include "job/launcher.h"

PGDLLEXPORT void alol_launcher_main(Datum argument);
PGDLLEXPORT void alol_launcher_database_main(Datum argument);

static void
describe(BackgroundWorker *worker, const char *name, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_name, name, BGW_MAXLEN);
	strlcpy(worker->bgw_type, name, BGW_MAXLEN);
	strlcpy(worker->bgw_library_name, "$libdir/alol", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

void
launcher_register(void)
{
	BackgroundWorker worker;

	describe(&worker, "alol launcher", "alol_launcher_main");
	worker.bgw_restart_time = 10;
	RegisterBackgroundWorker(&worker);
}

/* The oids of all databases one can connect to, in the given context. */
static List *
list_databases(MemoryContext context)
{
	List *databases = NIL;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext saved;

		if (!database->datallowconn)
			continue;
		saved = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(saved);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return databases;
}

static void
describe_look(BackgroundWorker *worker, Oid database)
{
	describe(worker, "alol launcher", "alol_launcher_database_main");
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_main_arg = ObjectIdGetDatum(database);
}

bool
launcher_start(Oid database)
{
	BackgroundWorker worker;

	describe_look(&worker, database);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* Runs a worker in the database and waits for its end; when no worker slot is
 * free, tries again. */
static void
look_after(Oid database)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	describe_look(&worker, database);
	worker.bgw_notify_pid = MyProcPid;
	while (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		(void) WaitLatch(MyLatch,
		                 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
		proc_exit(1);
	pfree(handle);
}

void
alol_launcher_main(Datum argument)
{
	MemoryContext context;
	ListCell *cell;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "alol launcher",
	                                ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	foreach (cell, list_databases(context))
		look_after(lfirst_oid(cell));
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
		                 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
alol_launcher_database_main(Datum argument)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument),
	                                          InvalidOid, 0);
	StartTransactionCommand();
	/* Whatever the default of the database is. */
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("alol", true)))
	{
		(void) job_restart_interrupted();
		/* Who sent us has taken the note of those that still wait. */
		if (job_waits())
			queue_note();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	proc_exit(0);
}
