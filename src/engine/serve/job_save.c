/*
 * job_save.c
 *		The model of a job into a directory: what training has made, and the
 *		policy of a step that becomes the reference of the next.
 */
#include "model/lora/lora.h"
#include "serve/job.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Makes an empty directory, or empties one of files. */
static bool
make_empty(const char *path, Failure *failure)
{
	Arena *arena;
	DIR *stream;
	struct dirent *entry;

	if (mkdir(path, 0700) == 0)
		return true;
	if (errno != EEXIST)
		return fail_errno(failure, "cannot create \"%s\"", path);
	stream = opendir(path);
	if (stream == NULL)
		return fail_errno(failure, "cannot read \"%s\"", path);
	arena = arena_create();
	while ((entry = readdir(stream)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlink(arena_printf(arena, "%s/%s", path, entry->d_name));
	closedir(stream);
	arena_destroy(arena);
	return true;
}

bool
job_save_model(Job *job, const float *weights, const char *path,
               Failure *failure)
{
	if (!make_empty(path, failure))
		return false;
	/* A classifier is one model: its adapter is merged. */
	return job->options.lora.rank > 0 && job->options.critic == NULL
	           ? adapter_save(job->model, weights, path, failure)
	           : model_save(job->model, weights, path, failure);
}

bool
job_refresh(Job *job, const TrainState *state, Failure *failure)
{
	return train_prepare(job->model, &job->options, failure) &&
	       checkpoint_load(job->directory, job->model, state, failure) &&
	       job_save_model(job, NULL, job_path(job, JOB_REFERENCE), failure);
}
