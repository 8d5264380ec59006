/*
 * lock.h
 *		Liveness is a lock, not a pid: slots and jobs as advisory locks.
 *
 * The locks belong to the session, are seen in the whole cluster (their
 * database is InvalidOid, so no user's advisory lock can meet them), need
 * neither snapshot nor transaction and go with the process.  A user's
 * pg_advisory_unlock_all() drops them too, so the holder calls the function
 * again now and then: each is idempotent.
 */
#pragma once

typedef enum LockClass
{
	LOCK_JOB_SLOT = 1,      /* one of alol.max_jobs */
	LOCK_SESSION_ENGINE = 2 /* one of alol.max_session_engines */
} LockClass;

/* Takes a free slot below count, without waiting; its number, or -1. */
extern int slot_acquire(LockClass class, int count);

/* Takes this very slot (again); false when another process has it. */
extern bool slot_hold(LockClass class, int slot);
extern void slot_release(LockClass class, int slot);

/* Takes the lock of a job, without waiting; false when another has it. */
extern bool job_lock_acquire(Oid database, int64 job);
extern void job_lock_release(Oid database, int64 job);

/* The pid of the process that holds a job's lock, or 0. */
extern int job_lock_holder(Oid database, int64 job);
