/*
 * job_start.h
 *		Starting workers: at commit, from the queue, after a restart.
 */
#pragma once

#include "job/job.h"

/*
 * Starts the job's worker when this transaction commits; forgotten when it,
 * or the subtransaction, rolls back.  PREPARE TRANSACTION is then refused.
 */
extern void job_start_at_commit(int64 job, Oid owner);

/* True for a job that this very transaction makes or resumes. */
extern bool job_starts_at_commit(int64 job);

/* Removes the directory when this transaction commits. */
extern void job_remove_at_commit(const char *directory);

/*
 * Starts workers for the oldest queued jobs of this database as far as there
 * are slots.  A job whose owner cannot log in any more fails.  Needs a
 * transaction; does nothing in one that is read-only.
 */
extern void job_start_queued(void);

/* The same for those alone that wait for memory. */
extern void job_start_waiting(void);

/*
 * The same for interrupted jobs, too, each at most three times without a new
 * checkpoint.  The number of workers started.
 */
extern int job_restart_interrupted(void);

/* True when a job of this database is in the queue. */
extern bool job_waits(void);

/* Raises unless a worker can connect as this role. */
extern void job_check_owner(Oid owner);

/* What a worker is started with. */
typedef struct JobArguments
{
	Oid database;
	Oid owner;
	int64 job;
} JobArguments;
