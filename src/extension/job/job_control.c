/*
 * job_control.c
 *		What the owner of a job does with it: cancel, resume, drop.
 */
#include "alol.h"

#include <signal.h>
#include <sys/stat.h>

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "job/job.h"
#include "job/job_start.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/statement.h"
#include "wire/device_spec.h"

/*
 * Acts at once, not at commit, and takes no row lock when there is a worker:
 * an open transaction must not hold up the job's end.
 */
ALOL_FUNCTION(alol_cancel);
Datum
alol_cancel(PG_FUNCTION_ARGS)
{
	Job *job;
	int worker;

	PreventCommandIfReadOnly("alol_cancel()");
	job = job_get(PG_GETARG_INT64(0));
	if (job_state_is_final(job->state))
		PG_RETURN_BOOL(false);
	worker = job_lock_holder(MyDatabaseId, job->id);
	if (worker == MyProcPid)
		PG_RETURN_BOOL(false);
	if (worker != 0)
		PG_RETURN_BOOL(kill(worker, SIGINT) == 0);
	/* It may have ended between the two looks. */
	job = job_get(job->id);
	if (job_state_is_final(job->state))
		PG_RETURN_BOOL(false);
	job_write_state(job->id, "cancelled", NULL);
	/* A worker that has begun meanwhile has not seen that. */
	worker = job_lock_holder(MyDatabaseId, job->id);
	if (worker != 0)
		(void) kill(worker, SIGINT);
	job_start_queued();
	PG_RETURN_BOOL(true);
}

/* ---------------------------------------------------------------- resuming */

/* Raises when the model that the job makes would meet another. */
static void
check_output(const Job *job)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_taken;

	owner_begin(&scope);
	statement_text(&statement, job->output);
	statement_int(&statement, job->id);
	is_taken = statement_read(
				   &statement,
				   "SELECT FROM @schema@.alol_model WHERE name = $1 UNION "
				   "ALL SELECT FROM @schema@.alol_job WHERE output = $1 AND "
				   "id <> $2 AND state IN ('queued', 'running')") > 0;
	owner_end(&scope);
	if (is_taken)
		ereport(ERROR,
		        (errcode(ERRCODE_DUPLICATE_OBJECT),
		         errmsg("model \"%s\" exists already", job->output),
		         errhint("Rename or drop it, then resume job " INT64_FORMAT
		                 " again.",
		                 job->id)));
}

/* Raises when a model that the job needs is there no more. */
static void
check_model(const Job *job, int64 id, const char *name)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_there;

	if (id == 0)
		return;
	owner_begin(&scope);
	statement_int(&statement, id);
	is_there =
		statement_read(&statement,
	                   "SELECT FROM @schema@.alol_model WHERE id = $1") > 0;
	owner_end(&scope);
	if (!is_there)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("job " INT64_FORMAT " cannot go on: its model "
		                       "\"%s\" was dropped",
		                       job->id, name == NULL ? "" : name)));
}

static void
check_models(const Job *job)
{
	check_model(job, job->model_id, job->model);
	check_model(job, job->value_id, job->value);
	check_model(job, job->reference_id, json_text(job->settings, "reference"));
}

/* A job that has read its rows goes on with those or not at all. */
static void
check_files(const Job *job)
{
	struct stat status;

	if (job->is_spooled && stat(job_directory(job), &status) != 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE),
		                errmsg("job " INT64_FORMAT " cannot go on: its files "
		                       "are not on this server",
		                       job->id)));
}

/* device: the job's option from now on; NULL: as it was. */
static bool
queue_again(const Job *job, const char *device)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_queued;

	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_text(&statement, device);
	is_queued =
		statement_write(
			&statement,
			"UPDATE @schema@.alol_job SET state = 'queued', starts "
			"= 0, pid = NULL, finished_at = NULL, sqlstate = NULL, "
			"error = NULL, detail = NULL, hint = NULL, context = NULL, "
			"waits_for = NULL, "
			"settings = CASE WHEN $2 IS NULL THEN settings ELSE "
			"settings || jsonb_build_object('device', $2) END "
			"WHERE id = $1 AND state IN ('running', 'failed', 'cancelled')") >
		0;
	owner_end(&scope);
	return is_queued;
}

static char *
checked_device(char *device)
{
	DeviceSpec spec;

	if (!device_spec_parse(device, &spec))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("device must be %s, not \"%s\"",
		                       DEVICE_SPEC_FORMS, text_clip(device))));
	return device;
}

/*
 * Takes the job's lock while it looks, so that of two sessions and a worker
 * one acts; the row lock does the rest until commit.
 */
ALOL_FUNCTION(alol_resume);
Datum
alol_resume(PG_FUNCTION_ARGS)
{
	Job *job;
	char *device = NULL;
	bool is_resumed = false;

	PreventCommandIfReadOnly("alol_resume()");
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(1))
		device = checked_device(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	job = job_get(PG_GETARG_INT64(0));
	job_check_owner(job->owner);
	if (!job_lock_acquire(MyDatabaseId, job->id))
		PG_RETURN_BOOL(false);
	PG_TRY();
	{
		job = job_get(job->id);
		if (strcmp(job->state, "succeeded") != 0 &&
		    strcmp(job->state, "queued") != 0)
		{
			check_output(job);
			check_models(job);
			check_files(job);
			is_resumed = queue_again(job, device);
		}
	}
	PG_FINALLY();
	{
		job_lock_release(MyDatabaseId, job->id);
	}
	PG_END_TRY();
	if (is_resumed)
		job_start_at_commit(job->id, job->owner);
	else if (strcmp(job->state, "queued") == 0)
		job_start_queued();
	PG_RETURN_BOOL(is_resumed);
}

/* ---------------------------------------------------------------- dropping */

static void
delete_rows(int64 id)
{
	static const char *const statements[] = {
		"DELETE FROM @schema@.alol_metric WHERE job = $1",
		"DELETE FROM @schema@.alol_sample WHERE job = $1",
		"DELETE FROM @schema@.alol_advantage WHERE job = $1",
		"DELETE FROM @schema@.alol_evaluation WHERE job = $1",
		"DELETE FROM @schema@.alol_job_progress WHERE job = $1",
		"DELETE FROM @schema@.alol_job WHERE id = $1",
	};
	OwnerScope scope;

	owner_begin(&scope);
	for (size_t i = 0; i < lengthof(statements); i++)
	{
		Statement statement = {0};

		statement_int(&statement, id);
		statement_write(&statement, statements[i]);
	}
	owner_end(&scope);
}

ALOL_FUNCTION(alol_job_drop);
Datum
alol_job_drop(PG_FUNCTION_ARGS)
{
	Job *job;
	const char *state;

	PreventCommandIfReadOnly("alol_job_drop()");
	job = job_get(PG_GETARG_INT64(0));
	state = job_state(job->id, job->state);
	if (strcmp(state, "queued") == 0 || strcmp(state, "running") == 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
		     errmsg("job " INT64_FORMAT " is %s", job->id, state),
		     errhint("Cancel it first: SELECT alol_cancel(" INT64_FORMAT ");",
		             job->id)));
	delete_rows(job->id);
	job_remove_at_commit(job_directory(job));
	PG_RETURN_VOID();
}
