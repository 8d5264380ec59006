/*
 * job_refresh.c
 *		A policy that has learned enough becomes the reference.
 */
#include "alol.h"

#include <math.h>

#include "utils/memutils.h"

#include "job/job_record.h"
#include "job/job_refresh.h"
#include "base/json.h"

/* ------------------------------------------------------------- the call */

static void
refuse(const char *what, const char *why)
{
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("option \"refresh_reference\" does not go with %s", what),
	         errdetail("%s", why)));
}

static void
check_method(const char *name, const Method *method)
{
	char *what = psprintf("method %s", name);

	if (method_rolls_out(method))
		refuse(what, "Its penalty is what keeps the policy near the "
		             "reference; option target_kl says how near.");
	if (!method->uses_value && !method->uses_reference)
		refuse(what, "This method has neither a reference policy nor a value.");
}

static void
check_columns(const Method *method, const JobSources *sources)
{
	const char *column =
		sources->source->advantage != 0 ? "advantage" : "value";

	if (method->uses_value && !sources->needs_value)
		refuse(psprintf("column \"%s\" of the source", column),
		       "It says what the rows are worth to the first reference, not to "
		       "another.");
}

void
refresh_check(const char *method_name, const Method *method, Jsonb *settings,
              const JobSources *sources)
{
	if (isnan(json_float(settings, "refresh_reference", NAN)))
		return;
	check_method(method_name, method);
	check_columns(method, sources);
	if (json_text(settings, "reference") != NULL)
		refuse("option \"reference\"",
		       "Only the model that training starts from is evaluated, so that "
		       "nothing is known to beat another reference.");
	if (sources->reward == NULL || reward_is_stored(sources->reward))
		refuse("a stored reward",
		       "Which step is better than the reference is told by a reward "
		       "that can judge new responses.");
	if (json_int(settings, "evaluation_prompts", 0) == 0)
		refuse("evaluation_prompts 0",
		       "Without evaluation no step is known to be better than the "
		       "reference.");
}

/* ----------------------------------------------------------- the worker */

static char *
describe_reference(const JobRun *run, const char *directory)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_text(
		&json, "name",
		psprintf("%s at step " INT64_FORMAT, run->job->output, run->refreshed));
	json_add_text(&json, "path", directory);
	if (run->base_ref != NULL)
		json_add_json(&json, "base", run->base_ref);
	json_add_text(&json, "dtype", json_text(run->job->settings, "dtype"));
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
report(JobRun *run, Jsonb *opened)
{
	double reward = json_float(opened, "reference_reward", NAN);

	job_record_metric(run->job, run->refreshed, "reference/reward", reward);
	job_record_flush(run->job);
	job_record_notice(
		run->job, "notice",
		psprintf("the policy of step " INT64_FORMAT " is the reference from "
	             "here on: validation reward %.4g, %.4g before training",
	             run->refreshed, reward,
	             json_float(opened, "start_reward", NAN)));
}

void
refresh_take(JobRun *run, Jsonb *opened, bool is_scored)
{
	char *directory = json_text(opened, "reference");
	MemoryContext saved;

	run->refreshed = json_int(opened, "refreshed", 0);
	if (run->refreshed == 0 || is_scored)
		return;
	if (directory == NULL)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine does not say where the reference "
		                       "is")));
	saved = MemoryContextSwitchTo(run->context);
	run->answering_ref = describe_reference(run, directory);
	MemoryContextSwitchTo(saved);
	/* Whatever value there was is that of the reference before. */
	run->value_ref = NULL;
	report(run, opened);
}

char *
refresh_value_directory(const JobRun *run)
{
	if (run->refreshed == 0)
		return psprintf("%s/value", run->directory);
	return psprintf("%s/value-" INT64_FORMAT, run->directory, run->refreshed);
}

void
refresh_end(JobRun *run)
{
	if (run->refreshed > 0)
		directory_remove(refresh_value_directory(run));
}
