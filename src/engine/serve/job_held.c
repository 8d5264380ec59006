/*
 * job_held.c
 *		Rows of a job that are measured, not trained on.
 */
#include "serve/job.h"

#include <unistd.h>

static const char *
held_path(const Job *job)
{
	return job_path(job, checkpoint_name(job->arena, JOB_HELD, job->refreshed));
}

bool
job_held_begin(Job *job, Failure *failure)
{
	const char *path = held_path(job);

	/* Of an earlier run whose rows are not used. */
	unlink(path);
	return dataset_writer_open(&job->held_writer, path,
	                           model_products(job->model), failure);
}

bool
job_held_finish(Job *job, Failure *failure)
{
	int64_t held = job->held_writer.selected;

	if (held > 0)
		return dataset_finish(&job->held_writer, held, failure);
	dataset_writer_close(&job->held_writer);
	return true;
}

bool
job_held_open(Job *job, Failure *failure)
{
	const TrainOptions *options = &job->options;
	Dataset *dataset = &job->held.dataset;
	const char *path = held_path(job);
	bool done;

	job->has_held = false;
	if (!job->is_ready || !file_exists(path))
		return true;
	done = dataset_open(job->arena, path, dataset, failure) &&
	       (options->critic != NULL
	            ? held_open(job->arena, options, &job->dataset,
	                        job->plan.labels, &job->held, failure)
	            : dataset_group(job->arena, dataset, &options->group_options,
	                            failure));
	job->has_held = done && dataset->groups.count > 0;
	return done;
}
