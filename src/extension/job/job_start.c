/*
 * job_start.c
 *		Starting workers: at commit, from the queue, after a restart.
 *
 * An error in a commit callback is a PANIC, so what happens there allocates
 * nothing and cannot raise: a worker that finds no place is started later,
 * by whoever looks at the queue next.
 */
#include "alol.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"

#include "job/job_device.h"
#include "job/job_start.h"
#include "base/lock.h"
#include "base/statement.h"

/* Restarts by themselves without a new checkpoint. */
#define STARTS_MAX 3

/* A job this young is left to the worker that its commit has started. */
#define FRESH_S 2.0

/* Jobs looked at in one go. */
#define LOOK_MAX 64

/* -------------------------------------------------- one worker, started */

static bool
start_worker(int64 job, Oid owner)
{
	BackgroundWorker worker;
	JobArguments arguments = {
		.database = MyDatabaseId, .owner = owner, .job = job};

	StaticAssertStmt(sizeof(arguments) <= BGW_EXTRALEN,
	                 "a worker's arguments do not fit");
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(worker.bgw_name, BGW_MAXLEN, "alol job " INT64_FORMAT, job);
	strlcpy(worker.bgw_type, "alol job", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "$libdir/alol", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "alol_job_main", BGW_MAXLEN);
	memcpy(worker.bgw_extra, &arguments, sizeof(arguments));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* ------------------------------------------------------------ the slots */

/* A slot that nobody holds is taken for a moment: how many there are. */
static int
free_slots(void)
{
	int slots[LOOK_MAX];
	int count = 0;
	int slot;

	while (count < LOOK_MAX &&
	       (slot = slot_acquire(LOCK_JOB_SLOT, alol_max_jobs)) >= 0)
		slots[count++] = slot;
	for (int i = 0; i < count; i++)
		slot_release(LOCK_JOB_SLOT, slots[i]);
	return count;
}

/* ------------------------------------------------------------ at commit */

/* What is to be done at commit; lives in the top transaction's context. */
typedef struct Pending
{
	int64 job; /* to start, or 0 */
	Oid owner;
	char *directory; /* to remove, or NULL */
	SubTransactionId subtransaction;
	struct Pending *next;
} Pending;

static Pending *pending = NULL;

/* How many of these jobs the server has place for: the others are started in
 * their order when one has ended.  The first is told where there is none. */
static int places;

static void
transaction_event(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (pending != NULL)
				ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				                errmsg("cannot PREPARE a transaction that has "
				                       "started, resumed or dropped a job")));
			break;
		case XACT_EVENT_PRE_COMMIT:
			if (pending != NULL)
				places = Max(free_slots(), 1);
			break;
		case XACT_EVENT_COMMIT:
			for (Pending *at = pending; at != NULL; at = at->next)
			{
				if (at->job != 0 && places-- > 0)
					(void) start_worker(at->job, at->owner);
				/* Plain system calls, none of which raises. */
				if (at->directory != NULL)
					directory_remove(at->directory);
			}
			pending = NULL;
			break;
		case XACT_EVENT_ABORT:
			pending = NULL;
			break;
		default:
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId mine,
                     SubTransactionId parent, void *argument)
{
	Pending **at = &pending;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*at != NULL)
	{
		if ((*at)->subtransaction != mine)
			at = &(*at)->next;
		else if (event == SUBXACT_EVENT_ABORT_SUB)
			*at = (*at)->next;
		else
			(*at)->subtransaction = parent;
	}
}

static Pending *
add_pending(void)
{
	static bool is_registered = false;
	Pending *added;
	Pending **last = &pending;

	if (!is_registered)
	{
		RegisterXactCallback(transaction_event, NULL);
		RegisterSubXactCallback(subtransaction_event, NULL);
		is_registered = true;
	}
	added = MemoryContextAllocZero(TopTransactionContext, sizeof(Pending));
	added->subtransaction = GetCurrentSubTransactionId();
	while (*last != NULL)
		last = &(*last)->next;
	*last = added;
	return added;
}

void
job_start_at_commit(int64 job, Oid owner)
{
	Pending *added = add_pending();

	added->owner = owner;
	added->job = job;
}

void
job_remove_at_commit(const char *directory)
{
	char *copy = MemoryContextStrdup(TopTransactionContext, directory);

	add_pending()->directory = copy;
}

bool
job_starts_at_commit(int64 job)
{
	for (Pending *at = pending; at != NULL; at = at->next)
	{
		if (at->job == job)
			return true;
	}
	return false;
}

/* ----------------------------------------------------------- the owner */

/* Why no worker can connect as this role, or NULL when it can. */
static const char *
owner_trouble(Oid owner)
{
	const char *trouble = NULL;
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_oid(&statement, owner);
	if (statement_read(&statement,
	                   "SELECT r.rolcanlogin, has_database_privilege(r.oid, "
	                   "d.oid, 'CONNECT') FROM pg_roles r, pg_database d "
	                   "WHERE r.oid = $1 AND d.datname = current_database()") ==
	    0)
		trouble = "the role that owns the job does not exist any more";
	else if (PG_VERSION_NUM < 170000 && !result_bool(0, 1))
		trouble = "the role that owns the job is not permitted to log in";
	else if (!result_bool(0, 2))
		trouble = "the role that owns the job may not connect to the database";
	owner_end(&scope);
	return trouble;
}

void
job_check_owner(Oid owner)
{
	const char *trouble = owner_trouble(owner);
	const char *name = GetUserNameFromId(owner, true);

	if (trouble != NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
		         errmsg("role \"%s\" cannot run a job",
		                name == NULL ? psprintf("%u", owner) : name),
		         errdetail("A job runs as a session of its owner, but %s.",
		                   trouble)));
}

/* ------------------------------------------------------------ the queue */

typedef struct Waiting
{
	int64 job;
	Oid owner;
	char *waits_for; /* memory there; NULL: it does not */
	int64 waits_since;
} Waiting;

/* How a query for list_jobs() begins. */
#define LISTED                                                                 \
	"SELECT id, owner::oid, waits_for, waits_since FROM @schema@.alol_job "

/* The oldest jobs that query (on $1) finds and no worker holds. */
static int
list_jobs(const char *query, Waiting *waiting)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	OwnerScope scope;
	uint64 found;
	int count = 0;

	owner_begin(&scope);
	statement_int(&statement, STARTS_MAX);
	/* A job's own worker may be on its way; one that ends knows better. */
	statement_float(&statement, MyBgworkerEntry == NULL ? FRESH_S : 0);
	found = statement_read(&statement, query);
	for (uint64 i = 0; i < found && count < LOOK_MAX; i++)
	{
		waiting[count].job = result_int(i, 1);
		waiting[count].owner = result_oid(i, 2);
		waiting[count].waits_for = result_text(context, i, 3);
		waiting[count].waits_since = result_int(i, 4);
		count++;
	}
	owner_end(&scope);
	return count;
}

/* One that lacked memory is worth a look. */
static bool
may_have_room(const Waiting *waiting)
{
	return waiting->waits_for == NULL ||
	       device_may_have_room(waiting->waits_for, waiting->waits_since);
}

/*
 * Starts what the query finds, at most as many as slots are free.  Of those
 * that wait for memory the first tries, so that they do not take it from each
 * other; when it has what it needs it looks after the next.
 */
static int
start_listed(const char *query)
{
	Waiting waiting[LOOK_MAX];
	int count = list_jobs(query, waiting);
	int started = 0;
	bool has_tried = false;
	int slots;

	if (count == 0)
		return 0;
	slots = free_slots();
	for (int i = 0; i < count && started < slots; i++)
	{
		const char *trouble;

		if (job_lock_holder(MyDatabaseId, waiting[i].job) != 0 ||
		    job_starts_at_commit(waiting[i].job) ||
		    (has_tried && waiting[i].waits_for != NULL) ||
		    !may_have_room(&waiting[i]))
			continue;
		trouble = owner_trouble(waiting[i].owner);
		if (trouble != NULL)
			job_write_state(waiting[i].job, "failed", trouble);
		else if (start_worker(waiting[i].job, waiting[i].owner))
		{
			started++;
			has_tried |= waiting[i].waits_for != NULL;
		}
		else
			break;
	}
	return started;
}

static bool
cannot_start(void)
{
	return RecoveryInProgress() || XactReadOnly || IsInParallelMode();
}

void
job_start_queued(void)
{
	if (cannot_start())
		return;
	(void) start_listed(LISTED
	                    "WHERE state = 'queued' AND $1 > 0 AND created_at <= "
	                    "clock_timestamp() - make_interval(secs => $2) "
	                    "ORDER BY id LIMIT 64");
}

int
job_restart_interrupted(void)
{
	if (cannot_start())
		return 0;
	return start_listed(LISTED
	                    "WHERE (state = 'queued' AND created_at <= "
	                    "clock_timestamp() - make_interval(secs => $2)) OR "
	                    "(state = 'running' AND starts < $1) "
	                    "ORDER BY state DESC, id LIMIT 64");
}

void
job_start_waiting(void)
{
	(void) start_listed(LISTED "WHERE state = 'queued' AND "
	                           "waits_for IS NOT NULL AND $1 > 0 AND $2 >= 0 "
	                           "ORDER BY id LIMIT 64");
}

bool
job_waits(void)
{
	Statement statement = {0};
	OwnerScope scope;
	bool waits;

	owner_begin(&scope);
	waits = statement_read(&statement, "SELECT FROM @schema@.alol_job WHERE "
	                                   "state = 'queued' LIMIT 1") > 0;
	owner_end(&scope);
	return waits;
}
