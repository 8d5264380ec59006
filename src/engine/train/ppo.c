/*
 * ppo.c
 *		One step of method ppo: responses to a batch of prompts become several
 *		updates.
 *
 * All random numbers have addresses (base/random.h), so that a step done again
 * after a crash repeats its responses.
 */
#include "train/ppo.h"

#include "base/poll.h"
#include "base/streams.h"
#include "method/measure.h"
#include "train/pack.h"

#include <math.h>
#include <string.h>

/* The responses of a step; T is the tokens of all of them, prompts left out. */
typedef struct PpoStep
{
	Arena *arena;
	Model *model;
	const TrainOptions *options;
	TrainState *state;
	double rate;
	int count;
	Rollout *rollout;  /* [count] */
	int32_t *place;    /* [count + 1] the first of T of each */
	Batch batch;       /* of all */
	float *logp;       /* [T] l' */
	float *value;      /* [T] V' */
	float *ref_logp;   /* [T] r */
	double *advantage; /* [T] */
	double *target;    /* [T] of V */
	PpoStats last;     /* of the last update */
	StepReport *report;
	PpoReport *ppo;
} PpoStep;

/* Some of the responses, as one micro-batch of an update. */
typedef struct MicroBatch
{
	const PpoStep *step;
	Batch batch;
	int32_t *offset;
	int32_t *target;
	int32_t *ids;
	int32_t *group;  /* [sequences + 1] 0, 1, 2, ... */
	uint64_t *key;   /* [sequences] for dropout */
	int32_t *chosen; /* [sequences] which responses */
	double scale;    /* 1 / tokens of the update */
	PpoStats *stats;
} MicroBatch;

/* ------------------------------------------------------------- responses */

static bool
count_tokens(const PpoStep *step, int64_t *tokens, Failure *failure)
{
	*tokens = 0;
	for (int i = 0; i < step->count; i++)
		*tokens += step->rollout[i].prompt->tokens + step->rollout[i].tokens;
	return *tokens <= INT32_MAX / 4 ||
	       fail(failure, FAILURE_BAD_INPUT,
	            "%lld tokens of one step are too many", (long long) *tokens);
}

static bool
make_room(Arena *arena, MicroBatch *micro, int sequences, int64_t tokens,
          Failure *failure)
{
	const ArenaTable tables[] = {
		{(void **) &micro->offset, sequences + 1, sizeof(int32_t)},
		{(void **) &micro->target, sequences, sizeof(int32_t)},
		{(void **) &micro->ids, tokens, sizeof(int32_t)},
		{(void **) &micro->group, sequences + 1, sizeof(int32_t)},
		{(void **) &micro->key, sequences, sizeof(uint64_t)},
		{(void **) &micro->chosen, sequences, sizeof(int32_t)},
	};

	return arena_try_tables(arena, tables, sizeof(tables) / sizeof(tables[0]),
	                        failure);
}

/* Prompt and response of these, one after the other. */
static void
fill_batch(MicroBatch *micro, const int32_t *chosen, int count)
{
	const PpoStep *step = micro->step;
	uint64_t stream =
		random_stream(RANDOM_LORA_DROPOUT, (uint64_t) step->state->updates);

	for (int i = 0; i < count; i++)
	{
		const Rollout *rollout = &step->rollout[chosen[i]];
		int32_t prompt = rollout->prompt->tokens;
		int32_t *ids = micro->ids + micro->offset[i];

		memcpy(ids, rollout->prompt->ids, (size_t) prompt * sizeof(int32_t));
		memcpy(ids + prompt, rollout->ids,
		       (size_t) rollout->tokens * sizeof(int32_t));
		micro->target[i] = micro->offset[i] + prompt;
		micro->offset[i + 1] = micro->target[i] + rollout->tokens;
		micro->group[i + 1] = i + 1;
		micro->key[i] =
			random_bits(step->options->seed, stream, (uint64_t) chosen[i]);
		micro->chosen[i] = chosen[i];
	}
	micro->batch =
		(Batch){count, micro->offset, micro->target, micro->ids, NULL};
}

static bool
roll_out(PpoStep *step, const TrainEvents *events, const Dataset *dataset,
         const int32_t *drawn, Failure *failure)
{
	const Groups *groups = &dataset->groups;
	size_t count = (size_t) step->count;

	step->rollout = arena_try(step->arena, count, sizeof(Rollout), failure);
	step->place = arena_try(step->arena, count + 1, sizeof(int32_t), failure);
	if (step->rollout == NULL || step->place == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		step->rollout[i].prompt =
			&dataset->row[groups->row[groups->offset[drawn[i]]]];
	if (!events->rollout(events->argument, step->arena, step->state->step + 1,
	                     step->count, step->rollout, failure))
		return false;
	for (size_t i = 0; i < count; i++)
		step->place[i + 1] = step->place[i] + step->rollout[i].tokens;
	return true;
}

/* l', V' and r of all responses. */
static bool
evaluate(PpoStep *step, Model *reference, Failure *failure)
{
	Arena *arena = step->arena;
	size_t targets = (size_t) step->place[step->count];
	MicroBatch all = {.step = step};
	int64_t tokens;
	float *valued = arena_try(arena, 2 * targets, sizeof(float), failure);
	int32_t *chosen;

	step->logp = arena_try(arena, targets, sizeof(float), failure);
	step->value = arena_try(arena, targets, sizeof(float), failure);
	step->ref_logp = arena_try(arena, targets, sizeof(float), failure);
	if (valued == NULL || step->logp == NULL || step->value == NULL ||
	    step->ref_logp == NULL || !count_tokens(step, &tokens, failure) ||
	    !make_room(arena, &all, step->count, tokens, failure))
		return false;
	chosen = arena_alloc(arena, ((size_t) step->count + 1) * sizeof(int32_t));
	for (int i = 0; i < step->count; i++)
		chosen[i] = i;
	fill_batch(&all, chosen, step->count);
	step->batch = all.batch;
	if (!model_valued(step->model, &step->batch, valued, failure) ||
	    !model_logprobs(reference, &step->batch, step->ref_logp, failure))
		return false;
	for (size_t t = 0; t < targets; t++)
	{
		step->logp[t] = valued[2 * t];
		step->value[t] = valued[2 * t + 1];
	}
	return true;
}

/* ------------------------------------------------------------ advantages */

/* Mean, and unbiased variance (0 of fewer than two). */
static void
describe(const double *number, int count, double *mean, double *variance)
{
	*mean = measure_mean(number, count);
	*variance =
		count < 2 ? 0
				  : measure_spread(number, *mean, count) * count / (count - 1);
}

static void
report_tokens(PpoStep *step, double *scratch)
{
	PpoReport *ppo = step->ppo;
	StepReport *report = step->report;
	int32_t targets = step->place[step->count];

	for (int32_t t = 0; t < targets; t++)
	{
		report->logp += step->logp[t];
		report->ref_logp += step->ref_logp[t];
		scratch[t] = step->value[t];
	}
	report->predicted = targets;
	report->tokens = step->batch.offset[step->count];
	describe(scratch, targets, &ppo->value_mean, &ppo->value_variance);
	describe(step->target, targets, &ppo->target_mean, &ppo->target_variance);
	ppo->tokens = targets;
	ppo->kl = (report->logp - report->ref_logp) / step->count;
	ppo->surprise = -report->logp / step->count;
}

/* The scores as they are trained on, score[count]. */
static void
take_scores(PpoStep *step, double *score)
{
	ScoreMoments *moments = &step->state->scores;
	double variance;

	for (int i = 0; i < step->count; i++)
	{
		score[i] = step->rollout[i].score;
		step->report->reward += score[i];
	}
	describe(score, step->count, &step->ppo->score_mean, &variance);
	step->ppo->score_deviation = sqrt(variance);
	score_moments_add(moments, score, step->count);
	for (int i = 0; i < step->count; i++)
		score[i] = ppo_score(moments, &step->options->ppo, score[i]);
}

/* Advantages of all tokens, whitened, and what V should be. */
static bool
set_advantages(PpoStep *step, Failure *failure)
{
	Arena *arena = step->arena;
	const PpoOptions *options = &step->options->ppo;
	size_t targets = (size_t) step->place[step->count];
	double *reward = arena_try(arena, targets, sizeof(double), failure);
	double *score =
		arena_try(arena, (size_t) step->count, sizeof(double), failure);
	double coefficient = step->state->kl_coefficient;
	double penalty = 0;

	step->advantage = arena_try(arena, targets, sizeof(double), failure);
	step->target = arena_try(arena, targets, sizeof(double), failure);
	if (reward == NULL || score == NULL || step->advantage == NULL ||
	    step->target == NULL)
		return false;
	take_scores(step, score);
	for (int i = 0; i < step->count; i++)
	{
		int32_t at = step->place[i];
		int tokens = step->rollout[i].tokens;

		penalty += ppo_rewards(step->logp + at, step->ref_logp + at, tokens,
		                       coefficient, score[i], reward + at);
		ppo_advantages(options, reward + at, step->value + at, tokens,
		               step->advantage + at, step->target + at);
	}
	ppo_whiten(step->advantage, (int64_t) targets);
	report_tokens(step, reward);
	step->ppo->non_score_reward = penalty / (double) targets;
	step->ppo->kl_coefficient = coefficient;
	step->state->kl_coefficient = ppo_next_kl_coefficient(
		options, coefficient, step->ppo->kl, step->count);
	return true;
}

/* --------------------------------------------------------------- updates */

/* ValuedGradient of model_accumulate_valued(). */
static bool
gradient(void *argument, int first, int count, const float *logp,
         const float *value, float *dlogp, float *dvalue, Failure *failure)
{
	MicroBatch *micro = argument;
	const PpoStep *step = micro->step;

	(void) failure;
	for (int i = first; i < first + count; i++)
	{
		int32_t at = step->place[micro->chosen[i]];
		int tokens = step->rollout[micro->chosen[i]].tokens;
		PpoTokens group = {tokens,
		                   logp,
		                   value,
		                   step->logp + at,
		                   step->value + at,
		                   step->advantage + at,
		                   step->target + at};

		(void) ppo_loss(&group, &step->options->ppo, dlogp, dvalue,
		                micro->stats);
		for (int t = 0; t < tokens; t++)
		{
			dlogp[t] = (float) (dlogp[t] * micro->scale);
			dvalue[t] = (float) (dvalue[t] * micro->scale);
		}
		logp += tokens;
		value += tokens;
		dlogp += tokens;
		dvalue += tokens;
	}
	return true;
}

/* Forward and backward of the responses chosen[count]. */
static bool
accumulate(PpoStep *step, Arena *arena, const int32_t *chosen, int count,
           PpoStats *stats, Failure *failure)
{
	size_t places = (size_t) count + 1;
	PackItem *item = arena_alloc(arena, places * sizeof(PackItem));
	int32_t *order = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *begin = arena_alloc(arena, places * sizeof(int32_t));
	MicroBatch micro = {.step = step, .stats = stats};
	DropoutKeys keys;
	int64_t tokens = 0, targets = 0;
	int batches;

	for (int i = 0; i < count; i++)
	{
		const Rollout *rollout = &step->rollout[chosen[i]];

		item[i] = (PackItem){rollout->prompt->tokens + rollout->tokens,
		                     rollout->prompt->tokens - 1,
		                     rollout->prompt->prompt_key};
		tokens += item[i].tokens;
		targets += rollout->tokens;
	}
	micro.scale = 1 / (double) targets;
	batches =
		pack_items(item, count, step->state->plan.token_budget, order, begin);
	for (int i = 0; i < count; i++)
		order[i] = chosen[order[i]];
	if (!make_room(arena, &micro, count, tokens, failure))
		return false;
	keys = (DropoutKeys){
		random_prompt_key(step->options->seed, step->state->updates),
		micro.key};
	for (int i = 0; i < batches; i++)
	{
		if (!poll_check(failure))
			return false;
		fill_batch(&micro, order + begin[i], begin[i + 1] - begin[i]);
		if (!model_accumulate_valued(step->model, &micro.batch,
		                             micro.batch.sequences, micro.group, &keys,
		                             gradient, &micro, failure))
			return false;
	}
	return true;
}

static void
add_stats(PpoStats *sum, const PpoStats *stats)
{
	sum->tokens += stats->tokens;
	sum->policy_loss += stats->policy_loss;
	sum->value_loss += stats->value_loss;
	sum->ratio += stats->ratio;
	sum->clipped += stats->clipped;
	sum->value_clipped += stats->value_clipped;
	sum->kl += stats->kl;
	sum->square_kl += stats->square_kl;
	sum->value += stats->value;
	sum->value_error += stats->value_error;
}

static bool
update(PpoStep *step, const int32_t *chosen, int count, Failure *failure)
{
	Arena *arena = arena_create();
	PpoStats stats = {0};
	double loss, norm = 0;
	bool done;

	model_zero_gradients(step->model);
	done = accumulate(step, arena, chosen, count, &stats, failure);
	arena_destroy(arena);
	if (!done)
		return false;
	loss = (stats.policy_loss +
	        step->options->ppo.value_weight * stats.value_loss) /
	       (double) stats.tokens;
	/* As TRL has it: AdamW goes on by what it remembers. */
	if (stats.ratio > PPO_RATIO_MAX * (double) stats.tokens)
	{
		model_zero_gradients(step->model);
		loss = 0;
		step->ppo->skipped++;
	}
	if (!step_update(step->model, step->options, step->state->updates + 1,
	                 step->rate, loss, &norm, failure))
		return false;
	step->state->updates++;
	step->ppo->updates++;
	step->report->loss += loss;
	step->report->grad_norm += norm;
	add_stats(&step->ppo->stats, &stats);
	step->last = stats;
	return true;
}

/* All responses once, in an order of their own. */
static bool
epoch(PpoStep *step, int32_t *order, Failure *failure)
{
	int size = step->options->ppo.mini_batch;

	if (size == 0 || size > step->count)
		size = step->count;
	for (int i = 0; i < step->count; i++)
		order[i] = i;
	random_shuffle(
		step->options->seed,
		random_stream(RANDOM_ROLLOUT_SHUFFLE, (uint64_t) step->state->updates),
		order, step->count);
	for (int first = 0; first < step->count; first += size)
	{
		int left = step->count - first;

		if (!update(step, order + first, left < size ? left : size, failure))
			return false;
	}
	return true;
}

static bool
run_epochs(PpoStep *step, Failure *failure)
{
	int32_t *order =
		arena_try(step->arena, (size_t) step->count, sizeof(int32_t), failure);

	if (order == NULL)
		return false;
	while (step->ppo->epochs < step->options->ppo.epochs &&
	       !ppo_stops(&step->options->ppo, &step->last))
	{
		if (!epoch(step, order, failure))
			return false;
		step->ppo->epochs++;
	}
	step->report->loss /= step->ppo->updates;
	step->report->grad_norm /= step->ppo->updates;
	return true;
}

bool
ppo_step(Model *model, const TrainOptions *options, const TrainEvents *events,
         const Dataset *dataset, const int32_t *drawn, int count, double rate,
         TrainState *state, StepReport *report, PpoReport *ppo,
         Failure *failure)
{
	PpoStep step = {.arena = arena_create(),
	                .model = model,
	                .options = options,
	                .state = state,
	                .rate = rate,
	                .count = count,
	                .report = report,
	                .ppo = ppo};
	bool done;

	*report = (StepReport){.responses = count, .advantage = NAN};
	*ppo = (PpoReport){.responses = count};
	done = roll_out(&step, events, dataset, drawn, failure) &&
	       evaluate(&step, events->reference, failure) &&
	       set_advantages(&step, failure) && run_epochs(&step, failure);
	arena_destroy(step.arena);
	return done;
}

/* --------------------------------------------------------------- metrics */

int
ppo_metrics(const PpoReport *report, TrainMetric *metric)
{
	const PpoStats *stats = &report->stats;
	double tokens = (double) stats->tokens;
	double value_error = stats->value_error / tokens;
	int count = 0;

#define ADD(name, value) metric[count++] = (TrainMetric){name, value}
	ADD("objective/kl", report->kl);
	ADD("objective/kl_coef", report->kl_coefficient);
	ADD("objective/entropy", report->surprise);
	ADD("env/reward_mean", report->score_mean);
	ADD("env/reward_std", report->score_deviation);
	ADD("ppo/mean_non_score_reward", report->non_score_reward);
	ADD("ppo/loss/policy", stats->policy_loss / tokens);
	ADD("ppo/loss/value", stats->value_loss / tokens);
	ADD("ppo/policy/clipfrac", (double) stats->clipped / tokens);
	ADD("ppo/policy/approxkl", stats->square_kl / tokens);
	ADD("ppo/policy/policykl", stats->kl / tokens);
	ADD("ppo/policy/ratio", stats->ratio / tokens);
	ADD("ppo/policy/skipped", report->skipped);
	ADD("ppo/epochs", report->epochs);
	ADD("ppo/returns/mean", report->target_mean);
	ADD("ppo/returns/var", report->target_variance);
	ADD("ppo/val/vpred", stats->value / tokens);
	ADD("ppo/val/error", value_error);
	ADD("ppo/val/clipfrac", (double) stats->value_clipped / tokens);
	ADD("ppo/val/mean", report->value_mean);
	ADD("ppo/val/var", report->value_variance);
	if (report->target_variance > 0)
		ADD("ppo/val/var_explained", 1 - value_error / report->target_variance);
	ADD("tokens/responses_len_mean", report->tokens / report->responses);
#undef ADD
	return count;
}
