/*
 * step.c
 *		One step of training: a batch of rows becomes an update.
 */
#include "train/step.h"

#include "base/poll.h"
#include "base/streams.h"
#include "train/pack.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* torch.nn.utils.clip_grad_norm_ divides by the norm plus this. */
#define NORM_EPSILON 1e-6

/* One micro-batch, and what its gradient callback adds to. */
typedef struct MicroBatch
{
	const TrainOptions *options;
	const DatasetRow **row; /* [batch.sequences] */
	Batch batch;
	int32_t *offset;
	int32_t *target;
	int32_t *ids;
	int32_t *group; /* [batch.sequences + 1] one sequence a group */
	uint64_t *key;  /* [batch.sequences] for dropout */
	int64_t update; /* from 1 */
	double scale;   /* 1 / responses of the step */
	StepReport *report;
} MicroBatch;

/* Room for the largest micro-batch of a step. */
static bool
make_room(Arena *arena, MicroBatch *micro, int sequences, int64_t tokens,
          Failure *failure)
{
	size_t count = (size_t) sequences + 1;

	micro->row = arena_try(arena, count, sizeof(DatasetRow *), failure);
	if (micro->row != NULL)
		micro->offset = arena_try(arena, count, sizeof(int32_t), failure);
	if (micro->offset != NULL)
		micro->target = arena_try(arena, count, sizeof(int32_t), failure);
	if (micro->target != NULL)
		micro->group = arena_try(arena, count, sizeof(int32_t), failure);
	if (micro->group != NULL)
		micro->key = arena_try(arena, count, sizeof(uint64_t), failure);
	if (micro->key != NULL)
		micro->ids =
			arena_try(arena, (size_t) tokens, sizeof(int32_t), failure);
	return micro->ids != NULL;
}

static void
fill_batch(MicroBatch *micro, const Dataset *dataset, const int32_t *drawn,
           const int32_t *order, int count)
{
	uint64_t stream =
		random_stream(RANDOM_LORA_DROPOUT, (uint64_t) micro->update);
	int32_t at = 0;

	for (int i = 0; i < count; i++)
	{
		const DatasetRow *row = &dataset->row[drawn[order[i]]];

		/* By its place in the step: a row may be drawn twice. */
		micro->key[i] =
			random_bits(micro->options->seed, stream, (uint64_t) order[i]);
		micro->row[i] = row;
		micro->group[i] = i;
		micro->offset[i] = at;
		micro->target[i] = at + row->prompt;
		memcpy(micro->ids + at, row->ids,
		       (size_t) row->tokens * sizeof(int32_t));
		at += row->tokens;
	}
	micro->group[count] = count;
	micro->offset[count] = at;
	micro->batch = (Batch){count, micro->offset, micro->target, micro->ids};
}

static void
add_to_report(StepReport *report, const DatasetRow *row, const float *logp)
{
	int predicted = row->tokens - row->prompt;

	report->responses++;
	report->tokens += row->tokens;
	report->predicted += predicted;
	report->reward += row->reward;
	report->advantage += row->advantage;
	for (int t = 0; t < predicted; t++)
	{
		report->logp += logp[t];
		report->ref_logp += row->ref_logp == NULL ? NAN : row->ref_logp[t];
	}
}

/* LogprobGradient of model_accumulate(). */
static bool
objective_gradient(void *argument, int first, int count, const float *logp,
                   float *grad, Failure *failure)
{
	MicroBatch *micro = argument;
	const TrainOptions *options = micro->options;

	(void) failure;
	for (int i = first; i < first + count; i++)
	{
		const DatasetRow *row = micro->row[i];
		const int32_t offset[] = {0, row->tokens - row->prompt};
		const ObjectiveGroup group = {
			1, offset, logp, row->ref_logp, &row->reward, &row->advantage};
		double loss = options->objective->loss(
			&group, &options->objective_options, grad, &micro->report->stats);

		micro->report->loss += loss * micro->scale;
		for (int t = 0; t < offset[1]; t++)
			grad[t] = (float) (grad[t] * micro->scale);
		add_to_report(micro->report, row, logp);
		logp += offset[1];
		grad += offset[1];
	}
	return true;
}

/* Forward and backward of all micro-batches. */
static bool
accumulate(Arena *arena, Model *model, MicroBatch *micro,
           const Dataset *dataset, const int32_t *drawn, int count,
           int64_t budget, Failure *failure)
{
	size_t places = (size_t) count + 1;
	int32_t *length = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *order = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *begin = arena_alloc(arena, places * sizeof(int32_t));
	int64_t tokens = 0;
	int batches;

	for (int i = 0; i < count; i++)
	{
		length[i] = dataset->row[drawn[i]].tokens;
		tokens += length[i];
	}
	batches = pack_rows(length, count, budget, order, begin);
	if (!make_room(arena, micro, count, tokens, failure))
		return false;
	for (int i = 0; i < batches; i++)
	{
		int sequences = begin[i + 1] - begin[i];

		if (!poll_check(failure))
			return false;
		fill_batch(micro, dataset, drawn, order + begin[i], sequences);
		if (!model_accumulate(model, &micro->batch, sequences, micro->group,
		                      micro->key, objective_gradient, micro, failure))
			return false;
	}
	return true;
}

static bool
fail_diverged(const char *what, double value, int64_t update, Failure *failure)
{
	fail(failure, FAILURE_BAD_INPUT, "the %s is %g at step %lld", what, value,
	     (long long) update);
	return fail_hint(failure, "A lower learning_rate, a warm-up or rewards of "
	                          "about 1 may help.");
}

static AdamW
adamw_settings(const TrainOptions *options, int64_t update, double rate,
               double norm)
{
	double scale = 1;

	if (options->max_grad_norm > 0)
		scale = fmin(1, options->max_grad_norm / (norm + NORM_EPSILON));
	return (AdamW){
		.learning_rate = (float) rate,
		.beta1 = (float) options->beta1,
		.beta2 = (float) options->beta2,
		/* Never 0, which would divide what has no gradient by itself. */
		.eps = fmaxf((float) options->eps, FLT_MIN),
		.weight_decay = (float) options->weight_decay,
		.correction1 = (float) (1 - pow(options->beta1, (double) update)),
		.correction2 = (float) (1 - pow(options->beta2, (double) update)),
		.gradient_scale = (float) scale};
}

bool
step_run(Model *model, const TrainOptions *options, const Dataset *dataset,
         const int32_t *drawn, int count, int64_t budget, int64_t update,
         double learning_rate, StepReport *report, Failure *failure)
{
	Arena *arena = arena_create();
	MicroBatch micro = {.options = options,
	                    .scale = 1.0 / count,
	                    .update = update,
	                    .report = report};
	bool done;
	AdamW settings;

	memset(report, 0, sizeof(StepReport));
	model_zero_gradients(model);
	done = accumulate(arena, model, &micro, dataset, drawn, count, budget,
	                  failure) &&
	       model_gradient_norm(model, &report->grad_norm, failure);
	arena_destroy(arena);
	if (!done)
		return false;
	if (!isfinite(report->loss))
		return fail_diverged("loss", report->loss, update, failure);
	if (!isfinite(report->grad_norm))
		return fail_diverged("norm of the gradient", report->grad_norm, update,
		                     failure);
	settings =
		adamw_settings(options, update, learning_rate, report->grad_norm);
	return model_update(model, &settings, failure);
}
