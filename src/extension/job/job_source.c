/*
 * job_source.c
 *		The sources of a job as its caller gave them, opened and checked.
 */
#include "alol.h"

#include "job/job_source.h"

bool
job_takes_pairs(const Method *method, const Source *source)
{
	return method != NULL && method->rows == METHOD_PAIRS &&
	       source_has_pairs(source);
}

bool
job_measures_validation(const Method *method, const Source *source,
                        const Source *validation, const Reward *reward)
{
	Bitmapset *columns;
	int column = -1;

	if (method == NULL || validation == NULL || !method_ranks(method))
		return false;
	if (job_takes_pairs(method, source))
		return source_has_pairs(validation);
	columns = reward == NULL ? NULL : reward_columns(reward);
	while ((column = bms_next_member(columns, column)) >= 0)
	{
		Form_pg_attribute used = TupleDescAttr(source->columns, column - 1);

		if (source_find_column(validation->columns, NameStr(used->attname)) ==
		    0)
			return false;
	}
	return reward != NULL && validation->response != 0;
}

bool
job_uses_reward(const char *reward, const Method *method, const Source *source)
{
	if (reward != NULL || method == NULL)
		return true;
	if (method->rows == METHOD_POSITIVE_ADVANTAGE)
		return source->advantage == 0;
	if (method_ranks(method))
		return !job_takes_pairs(method, source);
	if (method_rolls_out(method))
		return true;
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

	if (!job_uses_reward(reward, method, source))
		return;
	sources->reward = reward_open(reward, source->columns, source);
	if (method != NULL && method->only_prompts &&
	    reward_is_stored(sources->reward))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("reward says nothing of new responses"),
		         errdetail("It reads columns of the row, but not its response "
		                   "\"%s\", in whose place the model's own comes.",
		                   source->response_column),
		         method_rolls_out(method)
		             ? errhint("Method ppo trains on new responses: give an "
		                       "expression over their text as reward.")
		             : 0));
	/* The same rows with another response must make sense to it, too. */
	if (sources->validation != NULL &&
	    (sources->needs_value || !reward_is_stored(sources->reward)))
		(void) reward_open(reward, sources->validation->columns,
		                   sources->validation);
}

/* Says what the method takes where the usual column is not there. */
static void
require_responses(const Source *source, const Method *method)
{
	const char *missing =
		source->chosen == 0 ? source->chosen_column : source->rejected_column;

	if (source->response == 0 && method->rows == METHOD_PAIRS)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_COLUMN),
		         errmsg("source has neither column \"%s\" nor column \"%s\"",
		                missing, source->response_column),
		         errhint("Pairs are columns prompt, chosen and rejected; they "
		                 "are also made of rows with prompt, response and a "
		                 "reward.")));
	if (source->response == 0 && source_has_pairs(source))
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_COLUMN),
		         errmsg("source has no column \"%s\"", source->response_column),
		         errhint("Its pairs, columns \"%s\" and \"%s\", serve "
		                 "methods of pairs only, such as dpo.",
		                 source->chosen_column, source->rejected_column)));
	source_require(source, true);
}

/* Pairs with a reward for new responses get a place for these. */
static Source *
open_source(const char *text, const char *reward, const Method *method,
            Jsonb *settings)
{
	Source *source;

	if (method == NULL || method->only_prompts)
	{
		source = open_prompts(text, "source", settings);
		source_require(source, true);
		return source;
	}
	source = source_open(text, "source", settings);
	if (!job_takes_pairs(method, source))
		require_responses(source, method);
	else
	{
		source_require_pairs(source);
		if (reward != NULL)
			source = open_prompts(text, "source", settings);
	}
	return source;
}

void
job_sources_open(const char *source, const char *validation, const char *reward,
                 const Method *method, Jsonb *settings, JobSources *sources)
{
	memset(sources, 0, sizeof(*sources));
	sources->source = open_source(source, reward, method, settings);
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
