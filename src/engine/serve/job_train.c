/*
 * job_train.c
 *		Training: WIRE_JOB_TRAIN.
 *
 * The loop itself is train/trainer.c.  Here its events become frames, and an
 * evaluation becomes responses to the evaluation prompts, a question to the
 * other side (which may ask this engine things before it answers), and the
 * mean of the rewards.
 */
#include "formats/json.h"
#include "model/pair.h"
#include "serve/generation.h"
#include "serve/job.h"
#include "serve/ranks.h"
#include "serve/requests.h"
#include "train/held_groups.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Training
{
	Request *request;
	Job *job;
	bool evaluates;    /* asks for rewards */
	int count;         /* prompts that get responses */
	TokenList *prompt; /* [count] */
	uint32_t *number;  /* [count] of each among the request's prompts */
	double baseline;   /* of a classifier: what a constant would score */
} Training;

static bool
send_progress(void *argument, int64_t step, int64_t steps,
              double tokens_per_second, double loss, Failure *failure)
{
	Training *training = argument;

	(void) failure;
	reply_progress(training->request, "training", step, steps,
	               tokens_per_second, loss);
	return true;
}

static bool
send_metrics(void *argument, int64_t step, const TrainMetric *metric, int count,
             Failure *failure)
{
	Training *training = argument;
	WireBuffer *reply =
		reply_begin(training->request, WIRE_METRICS,
	                json_pack("{s:I}", "step", (json_int_t) step));

	wire_put_u32(reply, (uint32_t) count);
	for (int i = 0; i < count; i++)
	{
		wire_put_text(reply, metric[i].name, strlen(metric[i].name));
		wire_put_f64(reply, metric[i].value);
	}
	return reply_end(training->request, failure);
}

/* Sent, and recorded by the other side when this returns. */
static bool
send_checkpoint(void *argument, int64_t step, Failure *failure)
{
	Training *training = argument;
	Frame *answer;

	if (!reply_send(training->request, WIRE_CHECKPOINT,
	                json_pack("{s:I}", "step", (json_int_t) step), failure))
		return false;
	answer = serve_await(training->request, failure);
	if (answer == NULL)
		return false;
	frame_free(answer);
	return true;
}

static bool
send_warning(void *argument, const char *message, Failure *failure)
{
	Training *training = argument;

	return reply_send(
		training->request, WIRE_NOTICE,
		json_pack("{s:s, s:s}", "severity", "warning", "message", message),
		failure);
}

/* ----------------------------------------------------------- evaluation */

static bool
send_samples(Training *training, int64_t step, const Generation *results,
             Failure *failure)
{
	WireBuffer *reply =
		reply_begin(training->request, WIRE_SAMPLES,
	                json_pack("{s:I}", "step", (json_int_t) step));

	put_responses(reply, training->count, training->number, results);
	return reply_end(training->request, failure);
}

/* The mean of the rewards that are there; NaN if none is. */
static bool
ask_mean(Training *training, Arena *arena, int64_t step,
         const Generation *results, double *mean, Failure *failure)
{
	double *reward =
		arena_try(arena, (size_t) training->count, sizeof(double), failure);
	double total = 0;
	int rewards = 0;

	if (reward == NULL ||
	    !job_ask_rewards(training->request, "reward", step, training->count,
	                     training->number, results, reward, failure))
		return false;
	for (int i = 0; i < training->count; i++)
	{
		if (isnan(reward[i]))
			continue;
		total += reward[i];
		rewards++;
	}
	*mean = rewards > 0 ? total / rewards : NAN;
	return true;
}

static bool
evaluate(void *argument, int64_t step, double *reward, Failure *failure)
{
	Training *training = argument;
	Arena *arena = arena_create();
	ShownGeneration shown = {training->request, "evaluating", clock_ms()};
	GenerateOptions options;
	Generation *results =
		arena_try(arena, (size_t) training->count, sizeof(Generation), failure);
	bool done = results != NULL &&
	            job_read_generation(training->job, arena, 0, &options, failure);

	*reward = NAN;
	done = done && generate(training->job->model, arena, &options,
	                        training->count, training->prompt, results,
	                        generation_show, &shown, failure);
	if (done && training->evaluates)
		done = ask_mean(training, arena, step, results, reward, failure);
	else if (done)
		done = send_samples(training, step, results, failure);
	arena_destroy(arena);
	return done;
}

static bool
roll_out(void *argument, Arena *arena, int64_t step, int count,
         Rollout *rollouts, Failure *failure)
{
	Training *training = argument;

	return job_roll_out(training->request, arena, step, count, rollouts,
	                    failure);
}

/* What the policy makes of held-out pairs or lists, whose loss tells how good it
 * is where no reward does. */
static bool
evaluate_groups(void *argument, int64_t step, double *value, Failure *failure)
{
	Training *training = argument;
	Job *job = training->job;
	TrainMetric metric[HELD_GROUP_METRICS];
	double loss;
	int count;

	*value = NAN;
	if (training->count > 0 && !evaluate(argument, step, value, failure))
		return false;
	if (!held_groups_measure(job->model, &job->options, &job->held.dataset,
	                         metric, &count, &loss, failure) ||
	    !send_metrics(training, step, metric, count, failure))
		return false;
	if (!training->evaluates || training->count == 0)
		*value = -loss;
	return true;
}

/* What a classifier makes of the held-out rows. */
static bool
evaluate_critic(void *argument, int64_t step, double *value, Failure *failure)
{
	Training *training = argument;
	Job *job = training->job;
	TrainMetric metric[HELD_METRICS];
	int count;

	reply_progress(training->request, "evaluating", 0,
	               job->held.dataset.selected, 0, NAN);
	return held_measure(job->model, &job->held, metric, &count, value,
	                    &training->baseline, failure) &&
	       send_metrics(training, step, metric, count, failure);
}

/* Better than what ignores the texts? */
static bool
compare_to_baseline(Training *training, const TrainResult *result,
                    Failure *failure)
{
	const Critic *critic = training->job->options.critic;
	char message[256];

	if (critic == NULL || !isfinite(result->best_reward) ||
	    !isfinite(training->baseline) ||
	    result->best_reward > training->baseline)
		return true;
	snprintf(message, sizeof(message),
	         "the classifier is not better than a constant answer on %d "
	         "held-out rows: %s is %.4g, that of the constant %.4g",
	         training->job->held.dataset.selected, critic->measure,
	         train_shown(result->best_reward), training->baseline);
	return send_warning(training, message, failure);
}

/* ------------------------------------------------------ beginning and end */

static bool
read_prompts(Training *training, Failure *failure)
{
	Request *request = training->request;
	const TrainOptions *options = &training->job->options;
	Model *model = training->job->model;
	PairLimits limits = pair_limits(model, options->max_prompt_tokens,
	                                options->max_response_tokens);
	uint32_t count = wire_get_count(&request->items, sizeof(uint32_t));
	int64_t samples;

	if (!json_get_bool(request->head, "evaluate", false, &training->evaluates,
	                   failure) ||
	    !json_get_int(request->head, "samples", 0, 0, INT32_MAX, &samples,
	                  failure))
		return false;
	training->prompt =
		arena_try(request->arena, count, sizeof(TokenList), failure);
	training->number =
		arena_try(request->arena, count, sizeof(uint32_t), failure);
	if (training->prompt == NULL || training->number == NULL)
		return false;
	for (uint32_t i = 0; i < count; i++)
	{
		size_t length;
		const char *text = wire_get_text(&request->items, &length);

		if (request->items.broken ||
		    (!training->evaluates && training->count >= samples))
			break;
		if (!prompt_encode(model, request->arena, limits.prompt, true, text,
		                   length, &training->prompt[training->count], failure))
			return false;
		if (training->prompt[training->count].count > 0)
			training->number[training->count++] = i;
	}
	return !request->items.broken || fail_items(request, failure);
}

static bool
save(Training *training, const TrainResult *result, const char *directory,
     Failure *failure)
{
	reply_progress(training->request, "saving", result->steps, result->steps, 0,
	               NAN);
	return job_save_model(training->job, result->weights, directory, failure);
}

/* See JOB_ROWS. */
static bool
name_rows(Job *job, Failure *failure)
{
	if (job->is_ready && !job->is_recorded &&
	    rename(job_path(job, JOB_ROWS_SCORED), job_rows_path(job)) != 0)
		return fail_errno(failure, "cannot rename \"%s\"",
		                  job_path(job, JOB_ROWS_SCORED));
	job->is_recorded = true;
	return true;
}

/* By what the best step is known. */
static void
choose_evaluation(const Training *training, TrainEvents *events)
{
	const Job *job = training->job;
	const Critic *critic = job->options.critic;

	events->evaluate = training->count > 0 ? evaluate : NULL;
	if (critic != NULL)
	{
		events->evaluate = job->has_held ? evaluate_critic : NULL;
		events->measure = critic->measure;
	}
	else if (job->has_held)
	{
		events->evaluate = evaluate_groups;
		events->measure =
			training->evaluates && training->count > 0 ? NULL : "eval_loss";
		events->is_loss = events->measure != NULL;
	}
}

bool
handle_job_train(Request *request, Failure *failure)
{
	Training training = {.request = request, .baseline = NAN};
	TrainEvents events = {.argument = &training,
	                      .progress = send_progress,
	                      .metrics = send_metrics,
	                      .checkpoint = send_checkpoint,
	                      .warning = send_warning,
	                      .rollout = roll_out};
	TrainResult result;
	const char *directory;
	Job *job = training.job = job_of(request, failure);

	if (job == NULL)
		return false;
	models_rest(request->serve);
	/* A new reference may leave no row to train on: then this is the end. */
	if (!job->is_ready && (job->is_writing || job->refreshed == 0))
		return fail(failure, FAILURE_PROTOCOL, "a job without rows");
	if (job->has_trained)
		return fail(failure, FAILURE_PROTOCOL, "a job is trained twice");
	job->has_trained = true;
	if (!name_rows(job, failure) || !read_prompts(&training, failure))
		return false;
	events.reference = job->frozen;
	if (request->serve->ranks != NULL)
		events.team = ranks_team(request->serve->ranks);
	if (!job_held_open(job, failure))
		return false;
	choose_evaluation(&training, &events);
	directory = job_path(job, "model");
	if (!train_run(request->arena, job->model, job->directory, &job->options,
	               &job->dataset, &events, &result, failure))
	{
		/* They may be in the midst of a step that nobody ends. */
		if (request->serve->ranks != NULL)
			ranks_end(request->serve->ranks);
		return false;
	}
	if (result.is_refreshed)
		return reply_send(request, WIRE_RESULT,
		                  json_pack("{s:b}", "is_refreshed", 1), failure);
	if (!compare_to_baseline(&training, &result, failure) ||
	    !save(&training, &result, directory, failure))
		return false;
	return reply_send(
		request, WIRE_RESULT,
		json_pack("{s:s, s:I, s:I, s:o, s:o}", "directory", directory, "step",
	              (json_int_t) result.step, "steps", (json_int_t) result.steps,
	              "best_reward", json_number_or_null(result.best_reward),
	              "start_reward", json_number_or_null(result.start_reward)),
		failure);
}
