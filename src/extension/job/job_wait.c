/*
 * job_wait.c
 *		Waiting for a job: alol_wait(), and alol_follow() without a snapshot.
 *
 * Whoever waits also looks after the queue once a second, so that a job for
 * which there was no place starts when there is one.
 */
#include "alol.h"

#include <math.h>

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "engine/engine_wait.h"
#include "job/job.h"
#include "job/job_start.h"
#include "base/json.h"
#include "base/statement.h"

#define POLL_MIN_MS 50
#define POLL_MAX_MS 1000
#define SHOW_INTERVAL_MS 5000

typedef struct Waiting
{
	int64 job;
	TimestampTz until; /* DT_NOEND: for ever */
	int poll_ms;
	uint32 notices_shown;
	char phase[64]; /* that was shown last */
	char line[256]; /* the same */
	TimestampTz shown_at;
} Waiting;

/* -------------------------------------------------------------- showing */

static void
show_notices(Waiting *waiting, const Job *job)
{
	for (;;)
	{
		JsonbValue *entry = getIthJsonbValueFromContainer(
			&job->notices->root, waiting->notices_shown);
		Jsonb *notice;
		char *severity;

		if (entry == NULL)
			return;
		notice = JsonbValueToJsonb(entry);
		severity = json_text(notice, "severity");
		ereport(severity != NULL && strcmp(severity, "warning") == 0 ? WARNING
		                                                             : NOTICE,
		        (errmsg_internal("job " INT64_FORMAT ": %s", job->id,
		                         json_text(notice, "message"))));
		waiting->notices_shown++;
	}
}

/* "0:02:11" */
static char *
format_seconds(double seconds)
{
	int64 whole = (int64) (seconds + 0.5);

	return psprintf(INT64_FORMAT ":%02d:%02d", whole / 3600,
	                (int) (whole / 60 % 60), (int) (whole % 60));
}

/* The progress row that was just read, in words. */
static char *
describe_progress(const char *phase)
{
	StringInfoData line;
	int64 done = result_int(0, 2);
	int64 total = result_int(0, 3);
	double left = result_float(0, 4);
	double speed = result_float(0, 5);
	double loss = result_float(0, 6);
	bool is_training = strcmp(phase, "training") == 0;

	initStringInfo(&line);
	appendStringInfoString(&line, phase);
	if (total > 0)
		appendStringInfo(&line,
		                 ", %s" INT64_FORMAT " of " INT64_FORMAT " (%d %%)",
		                 is_training ? "step " : "", done, total,
		                 (int) (100 * done / total));
	if (is_training && total > 0)
	{
		if (speed > 0)
			appendStringInfo(&line, ", %.0f tokens/s", speed);
		if (!isnan(loss))
			appendStringInfo(&line, ", loss %.3f", loss);
	}
	if (total > 0 && !isnan(left))
		appendStringInfo(&line, ", %s left", format_seconds(left));
	return line.data;
}

static void
show_progress(Waiting *waiting, const Job *job)
{
	TimestampTz now = GetCurrentTimestamp();
	Statement statement = {0};
	OwnerScope scope;
	MemoryContext context = CurrentMemoryContext;
	char *line = NULL;

	owner_begin(&scope);
	/* Whatever the isolation level: what the worker has written by now. */
	PushActiveSnapshot(GetLatestSnapshot());
	statement_int(&statement, job->id);
	if (strcmp(job->state, "running") == 0 &&
	    statement_read(&statement,
	                   "SELECT phase, done, total, seconds_left, "
	                   "tokens_per_second, loss FROM "
	                   "@schema@.alol_job_progress WHERE job = $1") > 0)
	{
		char *phase = result_text(context, 0, 1);

		if (strcmp(phase, waiting->phase) != 0 ||
		    TimestampDifferenceExceeds(waiting->shown_at, now,
		                               SHOW_INTERVAL_MS))
		{
			line = MemoryContextStrdup(context, describe_progress(phase));
			strlcpy(waiting->phase, phase, sizeof(waiting->phase));
		}
	}
	PopActiveSnapshot();
	owner_end(&scope);
	if (line == NULL)
		return;
	waiting->shown_at = now;
	/* Nothing new to say. */
	if (strncmp(line, waiting->line, sizeof(waiting->line) - 1) == 0)
		return;
	strlcpy(waiting->line, line, sizeof(waiting->line));
	ereport(NOTICE,
	        (errmsg_internal("job " INT64_FORMAT ": %s", job->id, line)));
}

/* -------------------------------------------------------------- the error */

static int
sqlstate_of(const char *state)
{
	if (state == NULL || strlen(state) != 5)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

static void
raise_failure(const Job *job)
{
	ereport(ERROR,
	        (errcode(sqlstate_of(job->sqlstate)),
	         errmsg_internal("job " INT64_FORMAT " failed: %s", job->id,
	                         job->error == NULL ? "" : job->error),
	         job->detail == NULL ? 0 : errdetail_internal("%s", job->detail),
	         job->hint == NULL ? 0 : errhint("%s", job->hint),
	         job->context == NULL ? 0 : (errcontext("%s", job->context))));
}

/* --------------------------------------------------------------- the wait */

/* The arguments of both: job and timeout. */
static void
begin(FunctionCallInfo fcinfo, Waiting *waiting)
{
	memset(waiting, 0, sizeof(*waiting));
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("job must not be null")));
	waiting->job = PG_GETARG_INT64(0);
	waiting->poll_ms = POLL_MIN_MS;
	waiting->until = DT_NOEND;
	if (job_starts_at_commit(waiting->job))
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("job " INT64_FORMAT " starts when this transaction is "
		                "committed",
		                waiting->job),
		         errhint("Wait for it in a statement of its own.")));
	if (!PG_ARGISNULL(1))
		waiting->until = DatumGetTimestampTz(DirectFunctionCall2(
			timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
			PG_GETARG_DATUM(1)));
}

/* One look; the state when there is nothing more to wait for, else NULL. */
static const char *
look(Waiting *waiting)
{
	Job *job = job_get(waiting->job);
	const char *state = job_state(job->id, job->state);

	if (strcmp(state, job->state) != 0 && strcmp(state, "interrupted") != 0)
		job = job_get(waiting->job);
	show_notices(waiting, job);
	if (strcmp(state, "failed") == 0)
		raise_failure(job);
	if (job_state_is_final(state) || strcmp(state, "interrupted") == 0)
		return state;
	show_progress(waiting, job);
	if (GetCurrentTimestamp() >= waiting->until)
		return state;
	if (waiting->poll_ms == POLL_MAX_MS)
		job_start_queued();
	return NULL;
}

/* look(), leaving nothing behind: a wait may last for days. */
static const char *
look_once(Waiting *waiting)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "alol wait", ALLOCSET_SMALL_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	const char *state = look(waiting);

	MemoryContextSwitchTo(saved);
	if (state != NULL)
		state = pstrdup(state);
	MemoryContextDelete(context);
	return state;
}

static void
pause_waiting(Waiting *waiting)
{
	wait_awhile(waiting->poll_ms);
	waiting->poll_ms = Min(waiting->poll_ms * 5 / 4 + 1, POLL_MAX_MS);
}

ALOL_FUNCTION(alol_wait);
Datum
alol_wait(PG_FUNCTION_ARGS)
{
	Waiting waiting;
	const char *state;

	begin(fcinfo, &waiting);
	while ((state = look_once(&waiting)) == NULL)
		pause_waiting(&waiting);
	PG_RETURN_TEXT_P(cstring_to_text(state));
}

/*
 * As a procedure that is called outside of a transaction block it ends its
 * transaction before each wait, so that vacuum is free.
 */
ALOL_FUNCTION(alol_follow);
Datum
alol_follow(PG_FUNCTION_ARGS)
{
	bool is_atomic = fcinfo->context == NULL ||
	                 !IsA(fcinfo->context, CallContext) ||
	                 castNode(CallContext, fcinfo->context)->atomic;
	Waiting waiting;
	const char *state;

	begin(fcinfo, &waiting);
	SPI_connect_ext(is_atomic ? 0 : SPI_OPT_NONATOMIC);
	while ((state = look_once(&waiting)) == NULL)
	{
		if (!is_atomic)
			SPI_commit();
		pause_waiting(&waiting);
	}
	ereport(NOTICE, (errmsg("job " INT64_FORMAT ": %s", waiting.job, state)));
	SPI_finish();
	PG_RETURN_VOID();
}
