/*
 * job_worker.c
 *		The background worker of a job: claim it, run it, say how it ended.
 *
 * The worker holds two locks for its whole life, that of the job and one of
 * alol.max_jobs slots; they go with the process, so that a job whose row says
 * "running" and whose lock is free is interrupted.
 */
#include "alol.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "engine/engine.h"
#include "job/job_device.h"
#include "job/job_queue.h"
#include "job/job_record.h"
#include "job/job_run.h"
#include "job/job_start.h"
#include "job/job_submit.h"
#include "base/json.h"
#include "base/lock.h"

/* Who resumes a job may hold its lock for a moment. */
#define CLAIM_TRIES 40
#define CLAIM_WAIT_MS 50

PGDLLEXPORT void alol_job_main(Datum argument);

static JobArguments arguments;
static int slot = -1;
static MemoryContext job_context = NULL;
static Engine *job_engine = NULL; /* of the attempt under way */
static char *job_device = NULL;   /* where that has computed */

/* --------------------------------------------------------------- claiming */

static bool
take_job_lock(void)
{
	for (int i = 0; i < CLAIM_TRIES; i++)
	{
		if (job_lock_acquire(arguments.database, arguments.job))
			return true;
		(void) WaitLatch(MyLatch,
		                 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
		                 CLAIM_WAIT_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

void
job_hold_locks(void)
{
	if (slot < 0)
		return;
	/* The user's SQL may have called pg_advisory_unlock_all(). */
	if (!job_lock_acquire(arguments.database, arguments.job) ||
	    !slot_hold(LOCK_JOB_SLOT, slot))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
		     errmsg("job " INT64_FORMAT " has lost its locks", arguments.job),
		     errhint("Its SQL must not call pg_advisory_unlock_all().")));
}

static void
write_cancelled(void)
{
	MemoryContext saved = job_begin_write();

	job_write_state(arguments.job, "cancelled", NULL);
	job_commit(saved);
}

/* The job, if it is there and waits for a worker. */
static Job *
find_job(void)
{
	MemoryContext saved = job_begin_write();
	Job *job;

	MemoryContextSwitchTo(job_context);
	job = job_find(arguments.job);
	job_commit(saved);
	if (job == NULL || job->owner != arguments.owner ||
	    job_state_is_final(job->state))
		return NULL;
	return job;
}

/* The job, if it is to be run and this worker is the one to do it. */
static Job *
claim(void)
{
	Job *job;

	if (!take_job_lock() || (job = find_job()) == NULL)
		return NULL;
	/* Without a slot, which another job may use meanwhile. */
	job_record_settle(job);
	slot = slot_acquire(LOCK_JOB_SLOT, alol_max_jobs);
	if (slot >= 0)
		return job_record_start(job) ? job : NULL;
	queue_note();
	/* A cancel that took us for the job at work must not be lost. */
	if (QueryCancelPending)
		write_cancelled();
	return NULL;
}

/* ---------------------------------------------------------------- running */

/* Back to a clean state after an error; the error, in context. */
static ErrorData *
recover(MemoryContext context)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	EmitErrorReport();
	HOLD_INTERRUPTS();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	job_transaction_reset();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(context);
	return error;
}

/* The worker becomes like its caller's session, in a tidy place. */
static void
take_session(const Job *job)
{
	MemoryContext saved = job_begin_read();

	session_apply(job->session);
	job_sweep_directories();
	job_commit(saved);
}

/*
 * One attempt; NULL when it succeeded.  is_engine_gone: the engine's process
 * died, and the job's files are as good as its last checkpoint.
 */
static ErrorData *
attempt(Job *job, bool *is_engine_gone)
{
	MemoryContext context = AllocSetContextCreate(job_context, "alol attempt",
	                                              ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		take_session(job);
		job_run(job, context, &job_engine, &job_device);
	}
	PG_CATCH();
	{
		error = recover(job_context);
	}
	PG_END_TRY();
	/* engine_died() is asked before its memory, and so the process, goes. */
	*is_engine_gone = error != NULL &&
	                  error->sqlerrcode == ERRCODE_SYSTEM_ERROR &&
	                  job_engine != NULL && engine_died(job_engine);
	engine_lend(NULL);
	job_engine = NULL;
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
	return error;
}

/* The engine is gone: those that wait for memory may find some. */
static void
free_device(void)
{
	if (job_device != NULL)
		device_was_freed(job_device);
	job_device = NULL;
}

/*
 * Runs the job and writes down how it ended.  A second cancel must not cancel
 * that: from the end on cancels are held back, and as long as we write.
 */
static void
run(Job *job)
{
	int64 looked_at = device_clock();
	bool is_engine_gone;
	ErrorData *error = attempt(job, &is_engine_gone);

	HOLD_CANCEL_INTERRUPTS();
	if (error != NULL && job_lacked_room(error))
	{
		queue_note();
		job_record_wait(job, engine_device(json_text(job->settings, "device")),
		                looked_at, error);
		/* It had nothing that others could be waiting for. */
		job_device = NULL;
		return;
	}
	if (error != NULL && is_engine_gone)
	{
		job_record_last_progress(job);
		job_record_notice(
			job, "warning",
			psprintf("%s; the job goes on from %s " INT64_FORMAT,
		             error->message,
		             strcmp(job->kind, "evaluate") == 0 ? "row" : "step",
		             job->checkpoint));
		RESUME_CANCEL_INTERRUPTS();
		error = attempt(job, &is_engine_gone);
		HOLD_CANCEL_INTERRUPTS();
	}
	free_device();
	if (error == NULL)
		return;
	job_record_last_progress(job);
	job_record_flush(job);
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		job_record_end(job, "cancelled", NULL);
	else
		job_record_end(job, "failed", error);
}

/* ------------------------------------------------------------ the process */

/* A worker that is told to end gives its engine a second to do so. */
static void
stop_engine(int code, Datum argument)
{
	if (job_engine == NULL)
		return;
	engine_stop(job_engine);
	free_device();
}

static void
start_next(void)
{
	MemoryContext saved = job_begin_write();

	job_start_queued();
	job_commit(saved);
}

void
alol_job_main(Datum argument)
{
	Job *job;
	bool had_slot;

	memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(arguments.database,
	                                          arguments.owner, 0);
	before_shmem_exit(stop_engine, 0);
	job_context = AllocSetContextCreate(TopMemoryContext, "alol job",
	                                    ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(job_context);
	/* A cancel that comes before the work begins ends the work, no more. */
	HOLD_CANCEL_INTERRUPTS();
	job = claim();
	if (job != NULL)
	{
		RESUME_CANCEL_INTERRUPTS();
		run(job);
	}
	had_slot = slot >= 0;
	if (had_slot)
		slot_release(LOCK_JOB_SLOT, slot);
	slot = -1;
	job_lock_release(arguments.database, arguments.job);
	start_next();
	if (had_slot)
		queue_wake_others();
	proc_exit(0);
}
