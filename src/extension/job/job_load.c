/*
 * job_load.c
 *		The first phase: source and validation become files.
 *
 * Both are read under one snapshot, which is let go with the transaction:
 * from here on the job does not depend on the tables, and a resumed job reads
 * the very same rows.  The source's file comes last, so that where it is all
 * is there.
 */
#include "alol.h"

#include <errno.h>

#include "common/file_perm.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "job/critic.h"
#include "job/job_record.h"
#include "job/job_run.h"
#include "job/job_source.h"

static char *
source_path(const JobRun *run)
{
	return psprintf("%s/source.spool", run->directory);
}

static char *
validation_path(const JobRun *run)
{
	return psprintf("%s/validation.spool", run->directory);
}

static Bitmapset *
add_column(Bitmapset *columns, AttrNumber column)
{
	return column == 0 ? columns : bms_add_member(columns, column);
}

/* The columns that the job reads; a wide table costs what is used of it. */
static Bitmapset *
columns_used(const Source *source, const Reward *reward, bool takes_pairs,
             AttrNumber label)
{
	Bitmapset *columns = NULL;

	columns = add_column(columns, source->key);
	columns = add_column(columns, source->prompt);
	columns = add_column(columns, source->response);
	if (takes_pairs)
	{
		columns = add_column(columns, source->chosen);
		columns = add_column(columns, source->rejected);
	}
	columns = add_column(columns, source->value);
	columns = add_column(columns, source->advantage);
	columns = add_column(columns, label);
	if (reward != NULL)
		columns = bms_add_members(columns, reward_columns(reward));
	return columns;
}

static void
write_spool(const char *path, const Source *source, const Reward *reward,
            bool takes_pairs, AttrNumber label)
{
	SpoolWriter *writer = spool_create(path, source->columns);

	spool_keep(writer, columns_used(source, reward, takes_pairs, label));
	spool_fill(writer, source->query);
	(void) spool_finish(writer);
}

static void
spool_sources(JobRun *run)
{
	Job *job = run->job;
	MemoryContext saved = job_begin_snapshot();
	const Method *method = run->has_method ? &run->method : NULL;
	JobSources sources;
	bool takes_pairs;

	job_sources_open(job->source, job->validation, job->reward, method,
	                 job->settings, &sources);
	takes_pairs = job_takes_pairs(method, sources.source);
	if (sources.validation != NULL)
	{
		Reward *reward = NULL;
		bool measures = job_measures_validation(
			method, sources.source, sources.validation, sources.reward);

		if (sources.reward != NULL &&
		    (sources.needs_value || !reward_is_stored(sources.reward) ||
		     (measures && !takes_pairs)))
			reward = reward_open(job->reward, sources.validation->columns,
			                     sources.validation);
		write_spool(validation_path(run), sources.validation, reward,
		            measures && takes_pairs, 0);
	}
	write_spool(source_path(run), sources.source, sources.reward, takes_pairs,
	            0);
	job_commit(saved);
}

/* A classifier reads texts and labels. */
static void
spool_texts(JobRun *run)
{
	Job *job = run->job;
	MemoryContext saved = job_begin_snapshot();
	JobSources sources;

	critic_sources_open(job->source, job->validation, job->settings, &sources);
	if (sources.validation != NULL)
		write_spool(validation_path(run), sources.validation, NULL, true,
		            critic_label(sources.validation, job->settings));
	write_spool(source_path(run), sources.source, NULL, true,
	            critic_label(sources.source, job->settings));
	job_commit(saved);
}

/* ------------------------------------------------------------- opening */

static void
open_source(JobRun *run)
{
	Job *job = run->job;
	const Method *method = run->has_method ? &run->method : NULL;
	const Source *names;

	run->rows = rows_open(source_path(run), job->settings);
	if (run->rows->count == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA), errmsg("source has no rows")));
	names = run->rows->names;
	run->has_pairs = job_takes_pairs(method, names);
	run->uses_reward = job_uses_reward(job->reward, method, names);
	run->uses_value =
		job_uses_value(method, names->advantage != 0, names->value != 0);
	if (run->uses_reward)
		run->can_evaluate =
			!reward_is_stored(reward_open(job->reward, names->columns, names));
}

/* The rows come with their advantages, chosen by the user. */
static bool
has_advantages(const JobRun *run)
{
	return run->has_method && run->rows->names->advantage != 0 &&
	       !method_ranks(&run->method) && !method_rolls_out(&run->method);
}

/*
 * The prompts for value, evaluation and samples: of the validation's own
 * rows, or of a part of the source, which is then not trained on.  Whoever
 * chose the rows with their advantages trains on exactly those.
 */
static void
open_validation(JobRun *run)
{
	Job *job = run->job;

	if (job->validation != NULL)
	{
		const Source *names = run->rows->names;

		run->validation = rows_open(validation_path(run), job->settings);
		run->prompts =
			rows_distinct(run->validation, false, &run->prompt_count);
		run->measures_validation = job_measures_validation(
			run->has_method ? &run->method : NULL, names,
			run->validation->names,
			run->uses_reward && !run->has_pairs
				? reward_open(job->reward, names->columns, names)
				: NULL);
		return;
	}
	run->validation = run->rows;
	/* All rows are measured, the same prompt twice if it is there twice. */
	if (run->is_evaluation)
		return;
	if (!run->has_method)
		run->prompts = rows_distinct(run->rows, false, &run->prompt_count);
	else if (!has_advantages(run))
	{
		rows_hold_out(run->rows);
		run->prompts = rows_distinct(run->rows, true, &run->prompt_count);
	}
	else if (!run->can_evaluate)
		run->prompts = rows_distinct(run->rows, false, &run->prompt_count);
}

/* The files of a classifier's job. */
static void
open_texts(JobRun *run)
{
	Job *job = run->job;

	run->rows = run->validation = rows_open(source_path(run), job->settings);
	if (job->validation != NULL)
		run->validation = rows_open(validation_path(run), job->settings);
	critic_open(run);
}

static void
say_what_is_missing(JobRun *run)
{
	if (run->is_evaluation || run->is_critic)
		return;
	if (run->has_method && run->uses_reward && !run->can_evaluate)
		job_record_notice(run->job, "notice",
		                  method_ranks(&run->method)
		                      ? "the reward is a stored column, which says "
		                        "nothing of new responses: the best step is "
		                        "told by the loss of what is held out"
		                      : "the reward is a stored column, which says "
		                        "nothing of new responses: the last step is "
		                        "kept, without evaluation");
	if (has_advantages(run) && !run->uses_reward)
		job_record_notice(run->job, "notice",
		                  "advantages are a stored column: the last step is "
		                  "kept, without evaluation");
}

void
job_load(JobRun *run)
{
	MemoryContext saved;

	job_record_phase(run->job, "loading");
	run->directory = job_directory(run->job);
	if (MakePGDirectory(run->directory) != 0 && errno != EEXIST)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create directory \"%s\": %m",
		                       run->directory)));
	if (!spool_exists(source_path(run)))
	{
		if (run->job->is_spooled)
			ereport(ERROR,
			        (errcode(ERRCODE_UNDEFINED_FILE),
			         errmsg("job " INT64_FORMAT " cannot go on: its files are "
			                "not on this server",
			                run->job->id)));
		if (run->is_critic)
			spool_texts(run);
		else
			spool_sources(run);
	}
	if (!run->job->is_spooled)
		job_record_spooled(run->job);
	saved = job_begin_read();
	MemoryContextSwitchTo(run->context);
	if (run->is_critic)
		open_texts(run);
	else
	{
		open_source(run);
		open_validation(run);
	}
	job_commit(saved);
	say_what_is_missing(run);
}
