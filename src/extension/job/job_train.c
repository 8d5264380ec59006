/*
 * job_train.c
 *		The training phase: the engine trains, and asks for rewards.
 *
 * All this while the worker has no transaction open, but for the moments in
 * which it writes down what the engine tells, or evaluates the reward of
 * generated responses.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "job/critic.h"
#include "evaluation/job_evaluate.h"
#include "job/job_record.h"
#include "base/json.h"

typedef struct Training
{
	JobRun *run;
	bool evaluates;
	int64 *prompts; /* evaluation prompts: rows of validation, from 0 */
	int count;
	int samples; /* the first so many are shown */
	TimestampTz started_at;
	double loss;   /* of the last step */
	double tokens; /* trained on so far */
	double tokens_per_second;
} Training;

/* ------------------------------------------------------------- responses */

/* The responses in an event's items: to rows of the source, or by evaluation
 * prompt. */
static Response *
read_responses(Training *training, EngineFrame *event, bool is_rollout,
               uint32 **number, uint32 *count)
{
	Response *responses;
	int64 known = is_rollout ? training->run->rows->count : training->count;

	*count = wire_get_count(&event->items, 4 + 4);
	responses = palloc((*count + 1) * sizeof(Response));
	*number = palloc((*count + 1) * sizeof(uint32));
	for (uint32 i = 0; i < *count; i++)
	{
		(*number)[i] = wire_get_u32(&event->items);
		responses[i].utf8 = wire_get_text(&event->items, &responses[i].length);
		if (event->items.broken || (int64) (*number)[i] >= known)
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
			                errmsg("the engine sent broken responses")));
		responses[i].row =
			is_rollout ? (*number)[i] : training->prompts[(*number)[i]];
	}
	return responses;
}

/* rewards may be NULL: there are none. */
static void
store_samples(Training *training, int64 step, const Response *responses,
              const uint32 *number, uint32 count, const double *rewards)
{
	JobRows *rows = training->run->validation;
	MemoryContext saved;

	if (training->samples == 0)
		return;
	saved = job_begin_write();
	for (uint32 i = 0; i < count; i++)
	{
		HeapTuple row;

		if (number[i] >= (uint32) training->samples)
			continue;
		row = spool_row(rows->spool, responses[i].row);
		job_insert_sample(
			training->run->job, step, (int) number[i], rows_prompt(rows, row),
			text_from_utf8(responses[i].utf8, responses[i].length),
			rewards == NULL ? NAN : rewards[i]);
	}
	job_commit(saved);
}

/* ---------------------------------------------------------------- events */

static void
answer(Training *training, Engine *engine, EngineFrame *event)
{
	JobRun *run = training->run;
	int64 step = json_int(event->head, "step", 0);
	char *kind = json_text(event->head, "kind");
	bool is_rollout = kind != NULL && strcmp(kind, "rollout") == 0;
	uint32 count;
	uint32 *number;
	Response *responses =
		read_responses(training, event, is_rollout, &number, &count);
	double *rewards = palloc((count + 1) * sizeof(double));
	WireBuffer payload;

	job_record_flush(run->job);
	evaluate_responses(run, is_rollout ? run->rows : run->validation, responses,
	                   (int) count, rewards, NULL);
	if (!is_rollout)
		store_samples(training, step, responses, number, count, rewards);
	payload = engine_payload("{}");
	wire_put_u32(&payload, count);
	for (uint32 i = 0; i < count; i++)
		wire_put_f64(&payload, rewards[i]);
	engine_answer(engine, event, &payload);
}

/* Remembers what the last line of progress will say. */
static void
take_metrics(Training *training, EngineFrame *event)
{
	WireReader items = event->items;
	uint32 count = wire_get_count(&items, 4 + 8);

	for (uint32 i = 0; i < count; i++)
	{
		size_t length;
		const char *name = wire_get_text(&items, &length);
		double value = wire_get_f64(&items);

		if (length == 4 && strncmp(name, "loss", 4) == 0)
			training->loss = value;
		if (length == 10 && strncmp(name, "num_tokens", 10) == 0)
			training->tokens = value;
	}
	job_record_metrics_frame(training->run->job, event);
}

static void
show_training(Training *training, EngineFrame *event)
{
	JobProgress progress = JOB_PROGRESS_NONE;
	char *phase = json_text(event->head, "phase");

	progress.phase = phase == NULL ? "training" : phase;
	progress.done = json_int(event->head, "done", -1);
	progress.total = json_int(event->head, "total", -1);
	progress.memory_bytes = json_int(event->head, "memory", -1);
	/* The speed and loss of a job are those of its training. */
	if (strcmp(progress.phase, "training") == 0)
	{
		progress.step = progress.done;
		progress.steps = progress.total;
		progress.tokens_per_second =
			json_float(event->head, "tokens_per_second", NAN);
		progress.loss = json_float(event->head, "loss", NAN);
		if (!isnan(progress.tokens_per_second))
			training->tokens_per_second = progress.tokens_per_second;
	}
	job_record_progress(training->run->job, &progress);
}

static void
take_samples(Training *training, EngineFrame *event)
{
	uint32 count;
	uint32 *number;
	Response *responses =
		read_responses(training, event, false, &number, &count);

	store_samples(training, json_int(event->head, "step", 0), responses, number,
	              count, NULL);
}

/* The engine goes on when the checkpoint is recorded. */
static void
take_checkpoint(Job *job, Engine *engine, EngineFrame *event)
{
	WireBuffer payload = engine_payload("{}");

	job_record_checkpoint(job, json_int(event->head, "step", 0));
	engine_answer(engine, event, &payload);
}

static void
take_event(Engine *engine, EngineFrame *event, void *argument)
{
	Training *training = argument;
	Job *job = training->run->job;

	switch (event->type)
	{
		case WIRE_PROGRESS:
			show_training(training, event);
			break;
		case WIRE_METRICS:
			take_metrics(training, event);
			break;
		case WIRE_CHECKPOINT:
			take_checkpoint(job, engine, event);
			break;
		case WIRE_NOTICE:
			job_record_notice(job, json_text(event->head, "severity"),
			                  json_text(event->head, "message"));
			break;
		case WIRE_SAMPLES:
			take_samples(training, event);
			break;
		case WIRE_ASK:
			answer(training, engine, event);
			break;
		default:
			break;
	}
}

/* ------------------------------------------------------------- the call */

static void
choose_prompts(Training *training)
{
	JobRun *run = training->run;
	Jsonb *settings = run->job->settings;
	int limit = (int) json_int(settings, "evaluation_prompts", 256);
	MemoryContext saved;

	training->samples = (int) json_int(settings, "sample_prompts", 8);
	training->count = run->prompt_count;
	training->evaluates = run->can_evaluate && training->count > 0 && limit > 0;
	if (run->prompts == NULL || training->count == 0)
		return;
	training->prompts = palloc(training->count * sizeof(int64));
	memcpy(training->prompts, run->prompts, training->count * sizeof(int64));
	saved = job_begin_read();
	rows_draw(run->validation, training->prompts, &training->count,
	          training->evaluates ? limit
	                              : Min(training->samples, training->count));
	job_commit(saved);
}

static WireBuffer
train_payload(Training *training)
{
	JobRun *run = training->run;
	StringInfoData json;
	WireBuffer payload;
	MemoryContext saved;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_bool(&json, "evaluate", training->evaluates);
	json_add_int(&json, "samples", training->samples);
	appendStringInfoChar(&json, '}');
	payload = engine_payload(json.data);
	wire_put_u32(&payload, (uint32) training->count);
	saved = job_begin_read();
	for (int i = 0; i < training->count; i++)
		rows_put_prompt(run->validation, training->prompts[i], &payload);
	job_commit(saved);
	return payload;
}

/* The last step's line, which the once-a-second rule may have left out. */
static void
report_end(Training *training, Jsonb *result)
{
	JobProgress progress = JOB_PROGRESS_NONE;
	double seconds =
		(double) (GetCurrentTimestamp() - training->started_at) / USECS_PER_SEC;

	progress.phase = "training";
	progress.step = progress.steps = json_int(result, "steps", -1);
	progress.done = progress.total = progress.steps;
	progress.loss = training->loss;
	progress.tokens_per_second = training->tokens_per_second;
	if (isnan(progress.tokens_per_second) && seconds > 0)
		progress.tokens_per_second = training->tokens / seconds;
	job_record_flush(training->run->job);
	job_record_progress(training->run->job, &progress);
}

static void
report_best(Training *training, Jsonb *result)
{
	double best = json_float(result, "best_reward", NAN);
	double reference = json_float(result, "start_reward", NAN);
	int64 step = json_int(result, "step", 0);

	if (isnan(best) || isnan(reference) || !(best > reference) ||
	    !json_bool(training->run->job->settings, "keep_best", true))
		return;
	/* Without rewards it is the loss of held-out pairs or lists, less being
	 * more. */
	if (!training->evaluates && method_ranks(&training->run->method))
		job_record_notice(training->run->job, "notice",
		                  psprintf("the weights of step " INT64_FORMAT
		                           " are kept: eval_loss %.4g on held-out %s, "
		                           "%.4g before training",
		                           step, -best,
		                           training->run->method.rows == METHOD_PAIRS
		                               ? "pairs"
		                               : "lists",
		                           -reference));
	else if (training->evaluates)
		job_record_notice(
			training->run->job, "notice",
			psprintf("the weights of step " INT64_FORMAT " are kept: "
		             "validation reward %.4g, %.4g before training",
		             step, best, reference));
}

char *
job_train(JobRun *run)
{
	Training training = {.run = run,
	                     .started_at = GetCurrentTimestamp(),
	                     .loss = NAN,
	                     .tokens = NAN,
	                     .tokens_per_second = NAN};
	EngineCall call = {
		.type = WIRE_JOB_TRAIN, .on_event = take_event, .argument = &training};
	EngineFrame result;
	char *directory;

	job_record_phase(run->job, "training");
	choose_prompts(&training);
	if (run->can_evaluate && !training.evaluates)
		job_record_notice(run->job, "notice",
		                  "there are no validation prompts: the last step is "
		                  "kept, without evaluation");
	call.payload = train_payload(&training);
	engine_call(run->engine, &call, &result);
	if (json_bool(result.head, "is_refreshed", false))
	{
		job_record_flush(run->job);
		return NULL;
	}
	report_end(&training, result.head);
	report_best(&training, result.head);
	if (run->is_critic)
		critic_report(run, result.head);
	directory = json_text(result.head, "directory");
	if (directory == NULL)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine does not say where the model is")));
	return directory;
}
