/*
 * job_source.c
 *		The sources of a job as its caller gave them, opened and checked.
 */
#include "alol.h"

#include "job_source.h"

bool
job_uses_reward(const char *reward, const Method *method, bool has_advantage)
{
	if (reward != NULL || method == NULL)
		return true;
	if (method->rows == METHOD_POSITIVE_ADVANTAGE)
		return !has_advantage;
	return method->rows == METHOD_POSITIVE_REWARD;
}

bool
job_uses_value(const Method *method, bool has_advantage, bool has_value)
{
	if (method == NULL)
		return true;
	return method->uses_value && !has_advantage && !has_value;
}

/*
 * Rows that serve as prompts need no response: where there is none the reward
 * sees a NULL in its place until one is generated.
 */
static Source *
open_prompts(const char *text, const char *argument, Jsonb *settings)
{
	Source *source = source_open(text, argument, settings);
	Source *widened;

	if (source->response != 0 || source->response_column == NULL)
		return source;
	source_require(source, false);
	widened = source_open(
		psprintf("SELECT alol_prompts.*, NULL::pg_catalog.text AS %s FROM "
	             "(\n%s\n) alol_prompts",
	             quote_identifier(source->response_column), source->query),
		argument, settings);
	widened->text = source->text;
	return widened;
}

static void
open_rewards(const char *reward, const Method *method, JobSources *sources)
{
	Source *source = sources->source;

	if (!job_uses_reward(reward, method, source->advantage != 0))
		return;
	sources->reward = reward_open(reward, source->columns, source);
	if (method != NULL && method->only_prompts &&
	    reward_is_stored(sources->reward))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("reward says nothing of new responses"),
		         errdetail("It reads columns of the row, but not its response "
		                   "\"%s\", in whose place the model's own comes.",
		                   source->response_column)));
	/* The same rows with another response must make sense to it, too. */
	if (sources->validation != NULL &&
	    (sources->needs_value || !reward_is_stored(sources->reward)))
		(void) reward_open(reward, sources->validation->columns,
		                   sources->validation);
}

void
job_sources_open(const char *source, const char *validation, const char *reward,
                 const Method *method, Jsonb *settings, JobSources *sources)
{
	memset(sources, 0, sizeof(*sources));
	if (method == NULL || method->only_prompts)
		sources->source = open_prompts(source, "source", settings);
	else
		sources->source = source_open(source, "source", settings);
	source_require(sources->source, true);
	if (validation != NULL)
	{
		sources->validation = open_prompts(validation, "validation", settings);
		source_require(sources->validation, true);
	}
	if (method != NULL && method->rows == METHOD_POSITIVE_ADVANTAGE)
	{
		if (sources->source->advantage != 0)
			source_require_number(sources->source, sources->source->advantage,
			                      "advantage");
		else if (sources->source->value != 0)
			source_require_number(sources->source, sources->source->value,
			                      "value");
	}
	sources->needs_value = job_uses_value(
		method, sources->source->advantage != 0, sources->source->value != 0);
	open_rewards(reward, method, sources);
}
