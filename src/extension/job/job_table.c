/*
 * job_table.c
 *		Finding a job's row, and what state it is really in.
 */
#include "alol.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"

#include "job/job.h"
#include "base/lock.h"
#include "base/statement.h"

static Job *
read_row(MemoryContext context)
{
	Job *job = MemoryContextAllocZero(context, sizeof(Job));

	job->id = result_int(0, 1);
	job->uuid = result_text(context, 0, 2);
	job->owner = result_oid(0, 3);
	job->kind = result_text(context, 0, 4);
	job->state = result_text(context, 0, 5);
	job->source = result_text(context, 0, 6);
	job->model = result_text(context, 0, 7);
	job->output = result_text(context, 0, 8);
	job->method = result_text(context, 0, 9);
	job->reward = result_text(context, 0, 10);
	job->value = result_text(context, 0, 11);
	job->validation = result_text(context, 0, 12);
	job->model_id = result_int(0, 13);
	job->value_id = result_int(0, 14);
	job->reference_id = result_int(0, 15);
	job->settings = result_jsonb(context, 0, 16);
	job->session = result_jsonb(context, 0, 17);
	job->is_spooled = result_bool(0, 18);
	job->checkpoint = result_int(0, 19);
	job->starts = (int) result_int(0, 20);
	job->sqlstate = result_text(context, 0, 21);
	job->error = result_text(context, 0, 22);
	job->detail = result_text(context, 0, 23);
	job->hint = result_text(context, 0, 24);
	job->notices = result_jsonb(context, 0, 25);
	job->context = result_text(context, 0, 26);
	job->options = result_jsonb(context, 0, 27);
	job->waits_for = result_text(context, 0, 28);
	return job;
}

Job *
job_find(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	Job *job = NULL;
	OwnerScope scope;

	owner_begin(&scope);
	/* Whatever the isolation level: what the worker has written by now. */
	PushActiveSnapshot(GetLatestSnapshot());
	statement_int(&statement, id);
	if (statement_read(
			&statement,
			"SELECT id, uuid::text, owner::oid, kind, state, source, model, "
			"output, method, reward, value, validation, model_id, value_id, "
			"reference_id, settings, session, is_spooled, checkpoint, "
			"starts::bigint, sqlstate, error, detail, hint, notices, context, "
			"options, waits_for "
			"FROM @schema@.alol_job WHERE id = $1") > 0)
		job = read_row(context);
	PopActiveSnapshot();
	owner_end(&scope);
	return job;
}

Job *
job_get(int64 id)
{
	Job *job = job_find(id);

	/* Whether another's job exists is nobody's business. */
	if (job == NULL || !is_member_of_role(GetUserId(), job->owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("job " INT64_FORMAT " does not exist", id)));
	return job;
}

bool
job_state_is_final(const char *state)
{
	return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 ||
	       strcmp(state, "cancelled") == 0;
}

/* The state as the row has it now, whatever the caller's snapshot shows. */
static const char *
latest_state(int64 id, const char *stored)
{
	Job *job = job_find(id);

	return job == NULL ? stored : job->state;
}

/*
 * A worker writes its job's final state before it lets go of the lock, so a
 * free lock means that the row must be read again.
 */
const char *
job_state(int64 id, const char *stored)
{
	/* A standby sees rows, not the locks of its primary. */
	if (strcmp(stored, "running") != 0 || RecoveryInProgress() ||
	    job_lock_holder(MyDatabaseId, id) != 0)
		return stored;
	stored = latest_state(id, stored);
	if (strcmp(stored, "running") != 0 ||
	    job_lock_holder(MyDatabaseId, id) != 0)
		return stored;
	return "interrupted";
}

void
job_write_state(int64 id, const char *state, const char *error)
{
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_int(&statement, id);
	statement_text(&statement, state);
	statement_text(&statement, error);
	statement_write(&statement,
	                "UPDATE @schema@.alol_job SET state = $2, error = $3, "
	                "detail = NULL, waits_for = NULL, "
	                "sqlstate = CASE WHEN $3 IS NOT NULL THEN '28000' END, "
	                "finished_at = clock_timestamp(), pid = NULL "
	                "WHERE id = $1 AND state IN ('queued', 'running')");
	owner_end(&scope);
}

ALOL_FUNCTION(alol_job_state);
Datum
alol_job_state(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	const char *stored = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Job *job;

	/* Open to PUBLIC for the view: of another's job it knows nothing but what
	 * it was told. */
	if (strcmp(stored, "running") == 0 && (job = job_find(id)) != NULL &&
	    is_member_of_role(GetUserId(), job->owner))
		stored = job_state(id, stored);
	PG_RETURN_TEXT_P(cstring_to_text(stored));
}

ALOL_FUNCTION(alol_job_check);
Datum
alol_job_check(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(job_get(PG_GETARG_INT64(0))->id);
}
