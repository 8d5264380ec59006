/*
 * job_run.c
 *		All phases of a job, from where its files leave off.
 */
#include "alol.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "job/critic.h"
#include "job/job_record.h"
#include "job/job_refresh.h"
#include "job/job_run.h"
#include "job/job_start.h"
#include "base/json.h"
#include "model/model.h"

/* -------------------------------------------------------------- the engine */

/* A value model stands on the policy, an adapter on the policy or, where that
 * is an adapter, on its base. */
static void
name_base(JobRun *run, const Model *policy)
{
	bool makes_adapter =
		json_int(run->job->settings, "lora_rank", 0) > 0 && !run->is_critic;

	if (!run->has_method)
		run->base = policy->id;
	else if (makes_adapter)
	{
		run->base = policy->kind == 'a' ? policy->base : policy->id;
		run->base_ref = model_ref(model_get_by_id(run->base));
	}
}

static void
name_models(JobRun *run)
{
	Job *job = run->job;
	char *dtype = json_text(job->settings, "dtype");
	MemoryContext saved = job_begin_read();
	Model *policy;

	MemoryContextSwitchTo(run->context);
	policy = model_get_by_id(job->model_id);
	run->policy_ref = model_ref_with(policy, dtype);
	name_base(run, policy);
	if (job->reference_id != 0)
		run->reference_ref =
			model_ref_with(model_get_by_id(job->reference_id), dtype);
	run->answering_ref =
		run->reference_ref == NULL ? run->policy_ref : run->reference_ref;
	if (job->value_id != 0)
		run->value_ref = model_ref_with(model_get_by_id(job->value_id), dtype);
	job_commit(saved);
}

/* Whether the engine that is asked looks for memory: what the user's SQL raises
 * means nothing of that kind. */
static bool looks_for_room = false;

bool
job_lacked_room(const ErrorData *error)
{
	return looks_for_room && error->sqlerrcode == ERRCODE_NO_ROOM_NOW;
}

/* This job has what it needs: others that wait may see what is left. */
static void
let_others_look(void)
{
	MemoryContext saved = job_begin_write();

	job_start_waiting();
	job_commit(saved);
}

void
job_found_room(JobRun *run)
{
	if (!run->has_room)
		let_others_look();
	run->has_room = true;
}

void
job_call_for_room(JobRun *run, EngineCall *call, EngineFrame *result)
{
	looks_for_room = !run->has_room;
	engine_call(run->engine, call, result);
	looks_for_room = false;
}

static void
start_engine(JobRun *run)
{
	char *device, *fault;

	run->has_method = run->job->method != NULL || run->is_evaluation;
	looks_for_room = true;
	run->engine =
		engine_start(run->context, json_text(run->job->settings, "device"),
	                 run->has_method && !run->is_evaluation);
	looks_for_room = false;
	engine_lend(run->engine);
	if (run->is_evaluation)
		run->method = method_evaluate;
	else if (run->is_critic)
		objective_get(run->engine, run->job->method, &run->method);
	else if (run->has_method)
		method_get(run->engine, run->job->method, &run->method);
	device = json_text(engine_capabilities(run->engine), "device");
	job_record_device(run->job, device == NULL ? "cpu" : device);
	fault = json_text(engine_capabilities(run->engine), "fault");
	if (fault != NULL)
		job_record_notice(run->job, "warning", psprintf("no GPU: %s", fault));
}

static char *
open_head(JobRun *run)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "settings",
	              JsonbToCString(NULL, &run->job->settings->root,
	                             VARSIZE(run->job->settings)));
	json_add_text(&json, "directory", run->directory);
	json_add_int(&json, "checkpoint", run->job->checkpoint);
	json_add_json(&json, "model", run->policy_ref);
	if (run->reference_ref != NULL)
		json_add_json(&json, "reference", run->reference_ref);
	json_add_json(&json, "labels", critic_labels_json(run));
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* As QLoRA does, and the adapter is what the job is for. */
static void
say_what_is_quantized(JobRun *run)
{
	char *quantize = json_text(run->job->settings, "quantize");

	if (quantize != NULL && strcmp(quantize, "none") != 0)
		job_record_notice(
			run->job, "notice",
			psprintf("the weights under the adapter are quantized to %s while "
		             "it is trained; it will be %s the model as it is stored",
		             quantize, run->is_critic ? "merged into" : "used over"));
}

/* Opens the job in the engine; true when its rows are scored already. */
static bool
open_job(JobRun *run)
{
	EngineFrame result;
	EngineCall call = {.type = WIRE_JOB_OPEN,
	                   .payload = job_payload(open_head(run))};
	char *notice;
	bool is_scored;

	job_call_for_room(run, &call, &result);
	job_found_room(run);
	notice = json_text(result.head, "notice");
	if (notice != NULL)
		job_record_notice(run->job, "warning", notice);
	say_what_is_quantized(run);
	job_record_rewind(run->job, json_int(result.head, "step", 0));
	is_scored = json_bool(result.head, "rows_ready", false);
	refresh_take(run, result.head, is_scored);
	return is_scored;
}

/* Scores the rows and trains on them: as job_train(). */
static char *
score_and_train(JobRun *run)
{
	bool is_scored = open_job(run);

	if (!is_scored && run->is_critic)
		critic_take_rows(run);
	else if (!is_scored)
	{
		if (run->uses_value && run->value_ref == NULL)
			job_fit_value(run);
		job_score(run);
		refresh_end(run);
	}
	return job_train(run);
}

/* -------------------------------------------------------------- the result */

/* How the engine finds what the job has made. */
static char *
result_ref(JobRun *run, const char *directory)
{
	StringInfoData json;

	if (!run->has_method)
		return run->value_ref;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_text(&json, "name", run->job->output);
	json_add_text(&json, "path", directory);
	if (run->base_ref != NULL)
		json_add_json(&json, "base", run->base_ref);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* In a transaction, as names may have to be converted. */
static Jsonb *
inspect(JobRun *run, const char *ref)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext saved = job_begin_read();
	Jsonb *description;

	MemoryContextSwitchTo(context);
	description = model_inspect(run->engine, ref);
	job_commit(saved);
	return description;
}

/* A model must belong to somebody. */
static void
check_owner_exists(const Job *job)
{
	if (GetUserNameFromId(job->owner, true) == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT),
		         errmsg("the role that owns the job does not exist any more")));
}

/* Model (directory NULL: there is none) and final state in one transaction:
 * both are there or neither. */
static void
save(JobRun *run, const char *directory)
{
	Job *job = run->job;
	Jsonb *description = NULL;
	MemoryContext saved;

	job_record_phase(job, "saving");
	if (directory != NULL)
		description = inspect(run, result_ref(run, directory));
	engine_lend(NULL);
	engine_stop(run->engine);
	saved = job_begin_write();
	check_owner_exists(job);
	if (directory != NULL)
		(void) model_store(job->output, job->owner, directory, description,
		                   run->base, job->id);
	job_insert_success(job);
	CHECK_FOR_INTERRUPTS();
	job_commit(saved);
	directory_remove(run->directory);
}

void
job_run(Job *job, MemoryContext context, Engine **engine, char **device)
{
	JobRun *run = palloc0(sizeof(JobRun));
	char *directory = NULL;

	run->job = job;
	run->context = context;
	run->is_evaluation = strcmp(job->kind, "evaluate") == 0;
	run->is_critic = strcmp(job->kind, "reward") == 0;
	run->directory = job_directory(job);
	start_engine(run);
	*engine = run->engine;
	*device = MemoryContextStrdup(
		TopMemoryContext,
		json_text(engine_capabilities(run->engine), "device"));
	job_load(run);
	name_models(run);
	if (run->is_evaluation)
		job_measure(run);
	else if (!run->has_method)
	{
		job_fit_value(run);
		directory = psprintf("%s/value", run->directory);
	}
	else
	{
		while (directory == NULL)
			directory = score_and_train(run);
	}
	save(run, directory);
}
