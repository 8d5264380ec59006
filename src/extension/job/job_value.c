/*
 * job_value.c
 *		The value phase: what reward the reference policy earns at a prompt.
 *
 * Targets are the rewards of the policy's own responses to the validation
 * prompts: one greedy response each, or the mean over several at temperature
 * 1.  Where the reward is a stored column they are the stored rewards.  The
 * head is never fitted on rows that are trained on.
 */
#include "alol.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "evaluation/job_evaluate.h"
#include "job/job_record.h"
#include "job/job_refresh.h"
#include "base/json.h"

/* Prompts that are generated for in one request. */
#define CHUNK 256

#define R2_POOR 0.02

/* A prompt and what it is worth. */
typedef struct Targets
{
	int count;
	int64 *row; /* in run->validation, from 0 */
	double *target;
} Targets;

/* ----------------------------------------------------------- generating */

typedef struct Progress
{
	JobRun *run;
	int64 before; /* responses that are done */
	int64 total;
} Progress;

static void
show_generation(Engine *engine, EngineFrame *event, void *argument)
{
	Progress *shown = argument;
	JobProgress progress = JOB_PROGRESS_NONE;

	if (event->type != WIRE_PROGRESS)
		return;
	progress.phase = "value";
	progress.done = shown->before + json_int(event->head, "done", 0);
	progress.total = shown->total;
	progress.tokens_per_second =
		json_float(event->head, "tokens_per_second", NAN);
	progress.memory_bytes = json_int(event->head, "memory", -1);
	job_record_progress(shown->run->job, &progress);
}

/* Generates for prompts [first, first + count): their rewards. */
static void
generate_chunk(Progress *shown, int first, int count, int sample, int samples,
               double *reward)
{
	JobRun *run = shown->run;
	Generating how = {
		.is_greedy = samples == 1,
		.seed = json_int(run->job->settings, "seed", 0) + sample,
		.on_event = show_generation,
		.argument = shown,
	};
	Response *responses = palloc(count * sizeof(Response));

	generate_responses(run, &how, run->prompts + first, count, responses);
	evaluate_responses(run, run->validation, responses, count, reward, NULL);
	shown->before += count;
}

/* The mean reward of each prompt's responses; prompts whose every reward is
 * NULL are left out. */
static void
targets_by_generating(JobRun *run, Targets *targets)
{
	int samples = (int) json_int(run->job->settings, "value_samples", 1);
	int total = run->prompt_count;
	double *sum = palloc0(Max(total, 1) * sizeof(double));
	int *count = palloc0(Max(total, 1) * sizeof(int));
	Progress shown = {.run = run, .total = (int64) total * samples};
	double reward[CHUNK];

	for (int sample = 0; sample < samples; sample++)
	{
		for (int first = 0; first < total; first += CHUNK)
		{
			MemoryContext chunk =
				AllocSetContextCreate(CurrentMemoryContext, "alol generation",
			                          ALLOCSET_DEFAULT_SIZES);
			MemoryContext saved = MemoryContextSwitchTo(chunk);
			int size = Min(CHUNK, total - first);

			generate_chunk(&shown, first, size, sample, samples, reward);
			MemoryContextSwitchTo(saved);
			MemoryContextDelete(chunk);
			for (int i = 0; i < size; i++)
			{
				if (isnan(reward[i]))
					continue;
				sum[first + i] += reward[i];
				count[first + i]++;
			}
		}
	}
	for (int i = 0; i < total; i++)
	{
		if (count[i] == 0)
			continue;
		targets->row[targets->count] = run->prompts[i];
		targets->target[targets->count++] = sum[i] / count[i];
	}
}

/* ------------------------------------------------------- stored rewards */

/* The data policy: each validation row's own reward. */
static void
targets_from_rows(JobRun *run, Targets *targets)
{
	JobRows *rows = run->validation;

	for (int64 first = 0; first < rows->count; first += CHUNK)
	{
		int size = (int) Min(CHUNK, rows->count - first);
		MemoryContext saved = job_begin_read();
		double reward[CHUNK];

		evaluate_stored(run, rows, first, size, reward);
		for (int i = 0; i < size; i++)
		{
			HeapTuple row = spool_row(rows->spool, first + i);
			char *prompt = rows_prompt(rows, row);
			bool is_used = prompt != NULL && !isnan(reward[i]);

			if (rows == run->rows && run->has_method)
				is_used = is_used && rows_is_held(rows, prompt);
			if (!is_used)
				continue;
			targets->row[targets->count] = first + i;
			targets->target[targets->count++] = reward[i];
		}
		job_commit(saved);
	}
}

static void
make_targets(JobRun *run, Targets *targets)
{
	int64 most = run->can_evaluate ? run->prompt_count : run->validation->count;

	targets->count = 0;
	targets->row = MemoryContextAllocHuge(CurrentMemoryContext,
	                                      (Size) Max(most, 1) * sizeof(int64));
	targets->target = MemoryContextAllocHuge(
		CurrentMemoryContext, (Size) Max(most, 1) * sizeof(double));
	if (run->can_evaluate)
		targets_by_generating(run, targets);
	else
	{
		job_record_notice(run->job, "notice",
		                  "the value is fitted on the stored rewards of the "
		                  "validation rows (the data policy), as the reward "
		                  "is a stored column");
		targets_from_rows(run, targets);
	}
	if (targets->count == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA),
		         errmsg("there is no validation prompt with a reward to fit "
		                "the value on"),
		         errhint("Give more prompts as validation, or a value.")));
}

/* -------------------------------------------------------------- fitting */

/* Widens the range by the rewards of the first rows of the source. */
static void
look_at_rows(JobRun *run, double *low, double *high)
{
	int count = (int) Min(CHUNK, run->rows->count);
	MemoryContext saved = job_begin_read();
	double reward[CHUNK];

	evaluate_stored(run, run->rows, 0, count, reward);
	for (int i = 0; i < count; i++)
	{
		if (isnan(reward[i]))
			continue;
		*low = Min(*low, reward[i]);
		*high = Max(*high, reward[i]);
	}
	job_commit(saved);
}

/*
 * [0, 1] if every reward lies in it, else from the least to the greatest.  A
 * policy may earn the same everywhere; the reward is constant only if the
 * first rows, too, all have the same.
 */
static void
find_range(JobRun *run, const Targets *targets, double *low, double *high)
{
	*low = *high = targets->target[0];
	for (int i = 1; i < targets->count; i++)
	{
		*low = Min(*low, targets->target[i]);
		*high = Max(*high, targets->target[i]);
	}
	if (*low == *high)
		look_at_rows(run, low, high);
	if (*low == *high)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("the reward is constant: it is %g for all validation "
		                "prompts (%d) and for the first rows of the source",
		                *low, targets->count),
		         errhint("A constant reward prefers no response to another.")));
	if (*low >= 0 && *high <= 1)
	{
		*low = 0;
		*high = 1;
	}
}

static void
show_fit(Engine *engine, EngineFrame *event, void *argument)
{
	JobRun *run = argument;
	JobProgress progress = JOB_PROGRESS_NONE;

	/* Steps are epochs here, those of the first fit. */
	if (event->type == WIRE_METRICS && run->refreshed == 0)
		job_record_metrics_frame(run->job, event);
	if (event->type != WIRE_PROGRESS)
		return;
	progress.phase = "value";
	progress.memory_bytes = json_int(event->head, "memory", -1);
	if (!run->has_method)
	{
		progress.done = json_int(event->head, "done", -1);
		progress.total = json_int(event->head, "total", -1);
	}
	job_record_progress(run->job, &progress);
}

static char *
fit_head(JobRun *run, const Targets *targets, const char *directory)
{
	Jsonb *settings = run->job->settings;
	StringInfoData json;
	double low;
	double high;

	find_range(run, targets, &low, &high);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", run->answering_ref);
	json_add_text(&json, "directory", directory);
	json_add_float(&json, "low", low);
	json_add_float(&json, "high", high);
	json_add_int(&json, "epochs", json_int(settings, "value_epochs", 50));
	json_add_float(&json, "learning_rate",
	               json_float(settings, "value_learning_rate", 1e-3));
	json_add_int(&json, "seed", json_int(settings, "seed", 0));
	json_add_int(&json, "max_prompt_tokens",
	             json_int(settings, "max_prompt_tokens", 640));
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
report_fit(JobRun *run, Jsonb *result)
{
	int64 epoch = json_int(result, "epoch", 0);
	int64 held_out = json_int(result, "held_out", 0);
	double r2 = json_float(result, "r2", NAN);
	double mse = json_float(result, "mse", NAN);

	if (run->refreshed > 0)
	{
		job_record_metric(run->job, run->refreshed, "reference/value_mse", mse);
		job_record_metric(run->job, run->refreshed, "reference/value_r2", r2);
	}
	else
	{
		job_record_metric(run->job, epoch, "value/mse", mse);
		job_record_metric(run->job, epoch, "value/baseline_mse",
		                  json_float(result, "baseline_mse", NAN));
		job_record_metric(run->job, epoch, "value/r2", r2);
		job_record_metric(run->job, epoch, "value/prompts",
		                  (double) json_int(result, "prompts", 0));
	}
	job_record_flush(run->job);
	if (held_out == 0)
		job_record_notice(run->job, "warning",
		                  psprintf("the value is hardly more than the mean "
		                           "reward of " INT64_FORMAT " validation "
		                           "prompts: they are too few to check it",
		                           json_int(result, "prompts", 0)));
	else if (r2 < R2_POOR)
		job_record_notice(
			run->job, "warning",
			psprintf("the value explains hardly anything of the reward (R2 "
		             "%.3f, MSE %.3g on " INT64_FORMAT " held-out prompts): "
		             "it is about the constant mean",
		             r2, mse, held_out));
}

static void
fit(JobRun *run, const Targets *targets, const char *directory)
{
	EngineCall call = {
		.type = WIRE_FIT_VALUE, .on_event = show_fit, .argument = run};
	EngineFrame result;
	MemoryContext saved;

	call.payload = job_payload(fit_head(run, targets, directory));
	wire_put_u32(&call.payload, (uint32) targets->count);
	saved = job_begin_read();
	for (int i = 0; i < targets->count; i++)
	{
		rows_put_prompt(run->validation, targets->row[i], &call.payload);
		wire_put_f64(&call.payload, targets->target[i]);
	}
	job_commit(saved);
	job_call_for_room(run, &call, &result);
	job_found_room(run);
	report_fit(run, result.head);
}

static void
name_value(JobRun *run, const char *directory)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_text(&json, "name", psprintf("value of %s", run->job->model));
	json_add_text(&json, "path", directory);
	json_add_json(&json, "base", run->answering_ref);
	json_add_text(&json, "dtype", json_text(run->job->settings, "dtype"));
	appendStringInfoChar(&json, '}');
	run->value_ref = json.data;
}

void
job_fit_value(JobRun *run)
{
	char *directory = refresh_value_directory(run);
	char *unfinished = psprintf("%s/value.new", run->directory);
	struct stat status;
	Targets targets;

	/* It has its name only when it is whole. */
	if (stat(directory, &status) != 0)
	{
		job_record_phase(run->job, "value");
		make_targets(run, &targets);
		directory_remove(unfinished);
		fit(run, &targets, unfinished);
		if (rename(unfinished, directory) != 0)
			ereport(ERROR, (errcode_for_file_access(),
			                errmsg("could not rename \"%s\" to \"%s\": %m",
			                       unfinished, directory)));
	}
	name_value(run, directory);
}
