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
	const StepPart *part;
	const Dataset *dataset;
	Batch batch;
	const DatasetRow **row; /* [batch.sequences] */
	int32_t *offset;
	int32_t *target;
	int32_t *ids;
	int32_t *types; /* of a classifier's tokens */
	uint64_t *key;  /* [batch.sequences] for dropout */
	int32_t *group; /* [groups + 1] the first sequence of each */
	int groups;
	int labels;     /* of a classifier */
	int next;       /* the first group whose log-probabilities have not come */
	int64_t update; /* from 1 */
	double scale;   /* 1 / groups of the step */
	StepReport *report;

	GroupTables tables; /* of one group */
} MicroBatch;

/* Room for a step in one micro-batch. */
static bool
make_room(Arena *arena, MicroBatch *micro, int64_t sequences, int64_t tokens,
          Failure *failure)
{
	const ArenaTable tables[] = {
		{(void **) &micro->row, sequences, sizeof(DatasetRow *)},
		{(void **) &micro->offset, sequences + 1, sizeof(int32_t)},
		{(void **) &micro->target, sequences, sizeof(int32_t)},
		{(void **) &micro->ids, tokens, sizeof(int32_t)},
		{(void **) &micro->types, tokens, sizeof(int32_t)},
		{(void **) &micro->key, sequences, sizeof(uint64_t)},
		{(void **) &micro->group, sequences + 1, sizeof(int32_t)},
		{(void **) &micro->tables.place, sequences + 1, sizeof(int32_t)},
		{(void **) &micro->tables.ref_logp, tokens, sizeof(float)},
		{(void **) &micro->tables.reward, sequences, sizeof(double)},
		{(void **) &micro->tables.advantage, sequences, sizeof(double)},
	};

	return arena_try_tables(arena, tables, sizeof(tables) / sizeof(tables[0]),
	                        failure);
}

/* One more sequence; place tells it from the others of the step. */
static void
add_sequence(MicroBatch *micro, const DatasetRow *row, uint64_t place)
{
	uint64_t stream =
		random_stream(RANDOM_LORA_DROPOUT, (uint64_t) micro->update);
	int i = micro->batch.sequences++;
	int32_t at = micro->offset[i];

	micro->row[i] = row;
	micro->key[i] = random_bits(micro->options->seed, stream, place);
	micro->target[i] = at + row->prompt;
	micro->offset[i + 1] = at + row->tokens;
	memcpy(micro->ids + at, row->ids, (size_t) row->tokens * sizeof(int32_t));
	for (int32_t t = 0; t < row->tokens; t++)
		micro->types[at + t] = t >= row->prompt;
}

static void
fill_batch(MicroBatch *micro, const int32_t *order, int groups)
{
	const Groups *all = &micro->dataset->groups;
	const int32_t *drawn = micro->part->drawn;
	const int32_t *places = micro->part->place;

	micro->batch =
		(Batch){0, micro->offset, micro->target, micro->ids,
	            micro->options->critic == NULL ? NULL : micro->types};
	micro->groups = groups;
	micro->next = 0;
	for (int i = 0; i < groups; i++)
	{
		const int32_t *row = all->row + all->offset[drawn[order[i]]];
		int count =
			all->offset[drawn[order[i]] + 1] - all->offset[drawn[order[i]]];

		int32_t place = places == NULL ? order[i] : places[order[i]];

		/* A row may be drawn twice: its place in the step names it. */
		for (int j = 0; j < count; j++)
			add_sequence(micro, &micro->dataset->row[row[j]],
			             (uint64_t) place | (uint64_t) j << 32);
		micro->group[i + 1] = micro->batch.sequences;
	}
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
	while (micro->next < micro->groups &&
	       micro->group[micro->next] < first + count)
	{
		int begin = micro->group[micro->next++];
		int responses = micro->group[micro->next] - begin;
		ObjectiveGroup group = dataset_view_group(
			&micro->tables, micro->row + begin, responses, logp);
		int32_t predicted = group.offset[responses];
		double loss = options->objective->loss(
			&group, &options->objective_options, grad, &micro->report->stats);

		micro->report->loss += loss * micro->scale;
		for (int32_t t = 0; t < predicted; t++)
			grad[t] = (float) (grad[t] * micro->scale);
		for (int i = 0; i < responses; i++)
			add_to_report(micro->report, micro->row[begin + i],
			              logp + group.offset[i]);
		logp += predicted;
		grad += predicted;
	}
	return true;
}

/* LogitGradient of model_classify_accumulate(). */
static bool
critic_gradient(void *argument, int sequences, const float *logits, float *grad,
                Failure *failure)
{
	MicroBatch *micro = argument;
	const TrainOptions *options = micro->options;
	StepReport *report = micro->report;

	(void) failure;
	for (int i = 0; i < sequences; i++)
	{
		micro->tables.reward[i] = micro->row[i]->reward;
		report->responses++;
		report->tokens += micro->row[i]->tokens;
	}
	for (int g = 0; g < micro->groups; g++)
	{
		int begin = micro->group[g];
		CriticGroup group = {micro->group[g + 1] - begin, micro->labels,
		                     logits + (int64_t) begin * micro->labels,
		                     micro->tables.reward + begin};
		double loss = options->critic->loss(
			&group, grad + (int64_t) begin * micro->labels, &report->stats);

		report->loss += loss * micro->scale;
	}
	for (int64_t i = 0; i < (int64_t) sequences * micro->labels; i++)
		grad[i] = (float) (grad[i] * micro->scale);
	return true;
}

/* Forward and backward of the micro-batch, by the objective at hand. */
static bool
accumulate_batch(Model *model, MicroBatch *micro, Failure *failure)
{
	const DropoutKeys keys = {
		random_prompt_key(micro->options->seed, micro->update), micro->key};

	if (micro->options->critic != NULL)
		return model_classify_accumulate(model, &micro->batch, &keys,
		                                 critic_gradient, micro, failure);
	return model_accumulate(model, &micro->batch, micro->groups, micro->group,
	                        &keys, objective_gradient, micro, failure);
}

/* A group as something to pack, and how many sequences and tokens it adds. */
static bool
measure_group(const MicroBatch *micro, int32_t group, PackItem *item,
              int64_t *sequences, int64_t *tokens, Failure *failure)
{
	const Groups *groups = &micro->dataset->groups;
	const int32_t *member = groups->row + groups->offset[group];
	int32_t count = groups->offset[group + 1] - groups->offset[group];
	int32_t shared = INT32_MAX;
	int64_t all = dataset_group_tokens(micro->dataset, group);

	for (int32_t j = 0; j < count; j++)
	{
		int32_t before = micro->dataset->row[member[j]].prompt - 1;

		shared = before < shared ? before : shared;
	}
	if (all > INT32_MAX)
		return fail(failure, FAILURE_TOO_LONG,
		            "a group of %d responses has %lld tokens", count,
		            (long long) all);
	*sequences += count;
	*tokens += all;
	*item = (PackItem){.tokens = (int32_t) all};
	/* A classifier looks at all of a text anew. */
	if (micro->options->critic != NULL || shared < 1)
		return true;
	item->prompt = micro->dataset->row[member[0]].prompt_key;
	item->shared = shared;
	item->tokens -= (count - 1) * shared;
	return true;
}

/* Forward and backward of all micro-batches. */
static bool
accumulate(Arena *arena, Model *model, MicroBatch *micro, Failure *failure)
{
	int count = micro->part->count;
	size_t places = (size_t) count + 1;
	PackItem *item = arena_alloc(arena, places * sizeof(PackItem));
	int32_t *order = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *begin = arena_alloc(arena, places * sizeof(int32_t));
	int64_t tokens = 0, sequences = 0;
	int batches;

	for (int i = 0; i < count; i++)
	{
		if (!measure_group(micro, micro->part->drawn[i], &item[i], &sequences,
		                   &tokens, failure))
			return false;
	}
	batches = pack_items(item, count, micro->part->budget, order, begin);
	if (!make_room(arena, micro, sequences, tokens, failure))
		return false;
	for (int i = 0; i < batches; i++)
	{
		int groups = begin[i + 1] - begin[i];

		if (!poll_check(failure))
			return false;
		fill_batch(micro, order + begin[i], groups);
		if (!accumulate_batch(model, micro, failure))
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
		.beta1 = options->beta1,
		.beta2 = options->beta2,
		/* Never 0, which would divide what has no gradient by itself. */
		.eps = fmaxf((float) options->eps, FLT_MIN),
		.weight_decay = (float) options->weight_decay,
		.correction1 = (float) (1 - pow(options->beta1, (double) update)),
		.correction2 = (float) (1 - pow(options->beta2, (double) update)),
		.gradient_scale = (float) scale};
}

bool
step_settings(Model *model, const TrainOptions *options, int64_t update,
              double rate, double loss, double *grad_norm, AdamW *settings,
              Failure *failure)
{
	if (!model_gradient_norm(model, grad_norm, failure))
		return false;
	if (!isfinite(loss))
		return fail_diverged("loss", loss, update, failure);
	if (!isfinite(*grad_norm))
		return fail_diverged("norm of the gradient", *grad_norm, update,
		                     failure);
	*settings = adamw_settings(options, update, rate, *grad_norm);
	return true;
}

bool
step_update(Model *model, const TrainOptions *options, int64_t update,
            double rate, double loss, double *grad_norm, Failure *failure)
{
	AdamW settings;

	return step_settings(model, options, update, rate, loss, grad_norm,
	                     &settings, failure) &&
	       model_update(model, &settings, failure);
}

bool
step_accumulate(Model *model, const TrainOptions *options, const StepPart *part,
                StepReport *report, Failure *failure)
{
	Arena *arena = arena_create();
	MicroBatch micro = {.options = options,
	                    .part = part,
	                    .dataset = part->dataset,
	                    .labels = model_labels(model),
	                    .scale = part->scale,
	                    .update = part->update,
	                    .report = report};
	bool done;

	memset(report, 0, sizeof(StepReport));
	model_zero_gradients(model);
	done = accumulate(arena, model, &micro, failure);
	arena_destroy(arena);
	return done;
}

StepPart
step_whole(const Dataset *dataset, const int32_t *drawn, int count,
           int64_t budget, int64_t update)
{
	return (StepPart){.dataset = dataset,
	                  .drawn = drawn,
	                  .count = count,
	                  .scale = 1.0 / count,
	                  .budget = budget,
	                  .update = update};
}

bool
step_run(Model *model, const TrainOptions *options, const Dataset *dataset,
         const int32_t *drawn, int count, int64_t budget, int64_t update,
         double learning_rate, StepReport *report, Failure *failure)
{
	StepPart all = step_whole(dataset, drawn, count, budget, update);

	return step_accumulate(model, options, &all, report, failure) &&
	       step_update(model, options, update, learning_rate, report->loss,
	                   &report->grad_norm, failure);
}
