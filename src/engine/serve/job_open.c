/*
 * job_open.c
 *		Opening a job, new or interrupted: WIRE_JOB_OPEN.
 */
#include "serve/job.h"

#include "formats/json.h"
#include "model/lora/lora.h"
#include "model/pair.h"
#include "serve/ranks.h"
#include "serve/requests.h"

#include <stdlib.h>
#include <string.h>

Job *
job_of(Request *request, Failure *failure)
{
	if (request->serve->job == NULL)
		fail(failure, FAILURE_PROTOCOL, "a \"%s\" request without a job",
		     wire_type_name((uint16_t) request->type));
	return request->serve->job;
}

const char *
job_path(const Job *job, const char *name)
{
	return arena_printf(job->arena, "%s/%s", job->directory, name);
}

const char *
job_rows_path(const Job *job)
{
	return job_path(job, checkpoint_name(job->arena, JOB_ROWS, job->refreshed));
}

int64_t
job_steps(const Job *job)
{
	if (job->steps > 0 || !job->is_ready)
		return job->steps;
	return train_steps(&job->options, job->dataset.groups.count);
}

bool
job_open_rows(Job *job, const char *path, Failure *failure)
{
	bool ranks = objective_ranks(job->options.objective);

	if (!dataset_open(job->arena, path, &job->dataset, failure) ||
	    !dataset_group(job->arena, &job->dataset,
	                   ranks ? &job->options.group_options : NULL, failure))
		return false;
	/* What is trained is compared with the reference: on another machine, too,
	 * it multiplies likewise. */
	model_set_products(job->model, job->dataset.products);
	if (job->frozen != NULL)
		model_set_products(job->frozen, job->dataset.products);
	/* Where no two rows can be compared there is nothing to train on. */
	job->is_ready = job->dataset.groups.count > 0;
	return true;
}

static void
close_job(Serve *serve)
{
	Job *job = serve->job;

	serve->job = NULL;
	if (job == NULL)
		return;
	dataset_writer_close(&job->writer);
	dataset_writer_close(&job->held_writer);
	json_decref(job->settings);
	arena_destroy(job->arena);
}

/* The frame that holds the settings goes; the job stays. */
static bool
copy_head(Request *request, Job *job, Failure *failure)
{
	json_t *settings, *reference;
	const char *directory;

	if (!json_get_object(request->head, "settings", &settings, failure) ||
	    !json_get_object(request->head, "reference", &reference, failure) ||
	    !json_get_string(request->head, "directory", NULL, &directory, failure))
		return false;
	if (settings == NULL || directory == NULL)
		return fail(failure, FAILURE_PROTOCOL,
		            "a job needs settings and a directory");
	job->directory = arena_strdup(job->arena, directory);
	job->settings = json_incref(settings);
	if (reference != NULL)
	{
		char *text = json_dumps(reference, JSON_COMPACT);

		job->reference = arena_strdup(job->arena, text == NULL ? "" : text);
		free(text);
	}
	return train_options_read(settings, &job->options, failure) &&
	       json_get_int(request->head, "checkpoint", 0, 0, INT64_C(1) << 52,
	                    &job->options.known_checkpoint, failure);
}

/* A policy as it is, or any model as what a classifier is made of. */
static bool
open_base(Request *request, Job *job, const ModelRef *base, Model **model,
          Failure *failure)
{
	ModelFiles files = {base->path, base->tokenizer, base->forms, NULL};

	if (job->options.critic != NULL)
	{
		if (!critic_read_plan(request, job, failure))
			return false;
		files.plan = &job->plan;
	}
	return model_open_files(job->arena, request->serve->device, &files, model,
	                        failure);
}

/* Responses are of the policy's tokens: the reference must know them. */
static bool
check_alike(const Job *job, Failure *failure)
{
	int known = model_config(job->frozen)->vocabulary;
	int needed = model_config(job->model)->vocabulary;

	if (known < needed)
		return fail(failure, FAILURE_BAD_INPUT,
		            "the reference has a vocabulary of %d, the model one of %d",
		            known, needed);
	if (model_config(job->frozen)->context < model_config(job->model)->context)
		return fail(failure, FAILURE_BAD_INPUT,
		            "the reference has a context of %d, the model one of %d",
		            model_config(job->frozen)->context,
		            model_config(job->model)->context);
	return true;
}

/* The model that the request calls `key`, to be trained or to be like it. */
static bool
open_model(Request *request, Job *job, const char *key, DType quantize,
           Model **model, Failure *failure)
{
	ModelKind kind =
		job->options.critic == NULL ? MODEL_LANGUAGE : MODEL_CLASSIFIER;
	ModelRef ref, base;
	bool is_adapter, done;

	if (!model_ref_of(request, key, &ref, failure))
		return false;
	base = ref;
	is_adapter = adapter_is_at(ref.path);
	if (is_adapter && !model_ref_base(&ref, &base, failure))
		return false;
	done =
		open_base(request, job, &base, model, failure) &&
		(quantize == DTYPE_F32 || model_quantize(*model, quantize, failure)) &&
		(!is_adapter ||
	     adapter_open(job->arena, *model, ref.path, model, failure)) &&
		model_require(*model, kind, failure);
	if (!done)
		return fail_while(failure, "loading model \"%s\"", ref.name);
	model_set_products(*model, ref.products);
	return true;
}

/* Before rows are scored for hours. */
static bool
plan_memory(Job *job, Failure *failure)
{
	PairLimits limits = pair_limits(job->model, job->options.max_prompt_tokens,
	                                job->options.max_response_tokens);

	if (job->options.codes_moments)
		model_code_moments(job->model);
	return model_plan_training(job->model, job->options.lora.rank > 0,
	                           limits.prompt + limits.response, failure);
}

/*
 * What is trained, and where it rolls out what its new responses are compared
 * to: it a second time, which shares the files' memory, or the reference.
 */
static bool
open_models(Request *request, Job *job, Failure *failure)
{
	DType quantize = job->options.quantize;

	if (!open_model(request, job, "model", quantize, &job->model, failure) ||
	    !plan_memory(job, failure))
		return false;
	if (!objective_rolls_out(job->options.objective))
		return true;
	if (job->reference == NULL)
		return open_model(request, job, "model", quantize, &job->frozen,
		                  failure);
	return open_model(request, job, "reference", DTYPE_F32, &job->frozen,
	                  failure) &&
	       check_alike(job, failure);
}

/* The rows that an earlier run has scored, if they are there. */
static void
find_rows(Job *job, char *notice, size_t size)
{
	Failure failure = {0};

	if (file_exists(job_rows_path(job)) &&
	    !job_open_rows(job, job_rows_path(job), &failure))
		snprintf(notice, size, "the rows are scored again: %s",
		         failure.message);
}

/* Training begins anew, with the first reference. */
static void
start_over(Job *job, TrainState *state)
{
	memset(state, 0, sizeof(TrainState));
	job->options.known_checkpoint = 0;
	job->refreshed = 0;
	job->is_ready = false;
	job->dataset = (Dataset){0};
}

/*
 * Looks for what an earlier run left: a checkpoint, and the rows that belong
 * to it.  At the step of a new reference these may be still to come; later
 * ones, too, can be scored again by the first reference, but by no other.
 * What cannot be used is told, not an error: the job then starts over.
 */
static void
find_earlier(Job *job, TrainState *state, char *notice, size_t size)
{
	Failure ignored = {0};

	notice[0] = '\0';
	checkpoint_find(job->directory, job->options.known_checkpoint, state,
	                &ignored);
	job->refreshed = state->refreshed_step;
	find_rows(job, notice, size);
	if (state->step > state->refreshed_step &&
	    (job->is_ready ? state->rows_checksum != job->dataset.checksum
	                   : job->refreshed > 0))
	{
		snprintf(notice, size,
		         "the checkpoint of step %lld belongs to other rows: training "
		         "starts over",
		         (long long) state->step);
		start_over(job, state);
		find_rows(job, notice, size);
	}
	job->steps = state->steps;
}

/* Has the other ranks open the same model meanwhile. */
static bool
open_on_ranks(Request *request, const Job *job, Failure *failure)
{
	Team *team;
	char *text;
	bool done;

	if (request->serve->ranks == NULL)
		return true;
	team = ranks_team(request->serve->ranks);
	if (objective_rolls_out(job->options.objective))
		return fail(failure, FAILURE_UNSUPPORTED,
		            "method \"%s\" trains on one device, not on %d",
		            job->options.objective->name, team->ranks);
	text = json_dumps(request->head, JSON_COMPACT);
	if (text == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for the job");
	done = team_open(team, text, failure);
	free(text);
	return done;
}

static bool
open_job(Request *request, Job *job, json_t **reply, Failure *failure)
{
	TrainState state;
	char notice[FAILURE_TEXT + 64];

	if (!copy_head(request, job, failure) ||
	    !open_on_ranks(request, job, failure) ||
	    !open_models(request, job, failure))
		return false;
	find_earlier(job, &state, notice, sizeof(notice));
	job->is_recorded = job->is_ready;
	if (!job->is_ready && job->refreshed > 0 &&
	    !job_refresh(job, &state, failure))
		return fail_while(failure,
		                  "making the policy of step %lld the "
		                  "reference",
		                  (long long) job->refreshed);
	if (!job->is_ready)
	{
		if (!dataset_writer_open(&job->writer, job_path(job, JOB_ROWS_SCORED),
		                         model_products(job->model), failure))
			return false;
		job->is_writing = true;
		if ((job->options.critic != NULL ||
		     objective_ranks(job->options.objective)) &&
		    !job_held_begin(job, failure))
			return false;
	}
	*reply = json_pack(
		"{s:b, s:I, s:I, s:I, s:I, s:s?, s:I, s:s, s:o, s:o}", "rows_ready",
		(int) job->is_ready, "rows", (json_int_t) job->dataset.rows, "selected",
		(json_int_t) job->dataset.selected, "step", (json_int_t) state.step,
		"steps", (json_int_t) job_steps(job), "notice",
		notice[0] == '\0' ? NULL : notice, "refreshed",
		(json_int_t) job->refreshed, "reference", job_path(job, JOB_REFERENCE),
		"reference_reward", json_number_or_null(state.reference_reward),
		"start_reward", json_number_or_null(state.start_reward));
	return true;
}

/* An empty one, in place of the one before. */
static void
begin_job(Serve *serve)
{
	Arena *arena;

	models_rest(serve);
	close_job(serve);
	arena = arena_create();
	serve->job = arena_alloc(arena, sizeof(Job));
	serve->job->arena = arena;
}

bool
job_open_policy(Request *request, Failure *failure)
{
	Job *job;

	begin_job(request->serve);
	job = request->serve->job;
	return copy_head(request, job, failure) &&
	       open_model(request, job, "model", job->options.quantize, &job->model,
	                  failure) &&
	       train_prepare(job->model, &job->options, failure);
}

bool
handle_job_open(Request *request, Failure *failure)
{
	Serve *serve = request->serve;
	json_t *reply;

	begin_job(serve);
	if (!open_job(request, serve->job, &reply, failure))
	{
		close_job(serve);
		return fail_while(failure, "opening the job");
	}
	return reply_send(request, WIRE_RESULT, reply, failure);
}
