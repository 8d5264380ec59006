/*
 * trainer.c
 *		The training loop: rows in, better weights out.
 *
 * Steps are counted by the updates that are done: the metrics of step k are
 * those of the k-th update, with the loss before it; an evaluation or a
 * checkpoint of step k is of the weights after it.
 */
#include "train/trainer.h"

#include "base/poll.h"
#include "method/sampler.h"
#include "train/ppo.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A checkpoint may take at most this share of the time between two. */
#define CHECKPOINT_SHARE 0.1

/* How fast the shown speed forgets, in s. */
#define SPEED_MEMORY 5.0

/* a_lol_kl warns when more than this part of the rows is unlearned. */
#define UNLEARNED_MAX 0.25

/* pro warns when rewards of one list differ by more. */
#define TEMPERATURE_MAX 10.0

typedef struct Run
{
	Arena *arena;
	Model *model;
	const char *directory;
	const TrainOptions *options;
	const Dataset *dataset;
	const TrainEvents *events;
	Sampler *sampler;
	int32_t *drawn; /* [batch_size] */
	int64_t steps;
	bool is_refreshed; /* and waits for rows */
	TrainState state;
	int64_t checkpoint_step; /* of the last checkpoint on disk */
	double checkpoint_time;  /* when it was written, s */
	double checkpoint_cost;  /* how long that took, s */
	double speed;            /* tokens per second, smoothed */
} Run;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + (double) time.tv_nsec * 1e-9;
}

int64_t
train_steps(const TrainOptions *options, int64_t groups)
{
	if (options->steps > 0)
		return options->steps;
	return schedule_steps(options->epochs, groups, options->batch_size);
}

double
train_shown(double measure)
{
	/* Adding 0 makes of -0 what it is. */
	return rint(measure * 1e6) / 1e6 + 0;
}

TrainPlan
train_plan(const Model *model, const Team *team)
{
	const Device *device = model_device(model);
	TrainPlan plan = {.threads = device->threads};

	/* Which of equal devices it is does not matter. */
	snprintf(plan.description, sizeof(plan.description),
	         "%.*s, %s, %s, alol %s", (int) strcspn(device->name, ":"),
	         device->name, device->description,
	         dtype_name(model_products(model)), ALOL_VERSION);
	if (team != NULL)
	{
		size_t used = strlen(plan.description);

		snprintf(plan.description + used, sizeof(plan.description) - used,
		         ", %d ranks by %s", team->ranks, team->collective->name);
	}
	return plan;
}

/* ------------------------------------------------------------ beginning */

/* Rows that a new reference has scored are drawn from their beginning, in
 * another order than those before. */
static bool
make_sampler(Run *run, Failure *failure)
{
	const TrainOptions *options = run->options;
	const Dataset *dataset = run->dataset;
	int64_t refreshed = run->state.refreshed_step;
	bool by_reward = options->objective->rows == ROWS_POSITIVE_REWARD;
	int64_t draws = (run->steps - refreshed) * options->batch_size;
	double *weight = NULL;

	if (dataset->groups.count == 0)
		return true;
	/* Only where the epochs end the run is its last batch short. */
	if (options->is_uniform && options->steps == 0 && refreshed == 0)
		draws = (int64_t) fmin(
			ceil(options->epochs * (double) dataset->groups.count),
			(double) draws);
	if (draws < 1)
		draws = 1;
	/* Only where each row is a group are groups drawn by weight. */
	if (!options->is_uniform)
	{
		weight = arena_try(run->arena, (size_t) dataset->selected,
		                   sizeof(double), failure);
		if (weight == NULL)
			return false;
		for (int32_t i = 0; i < dataset->selected; i++)
			weight[i] =
				by_reward ? dataset->row[i].reward : dataset->row[i].advantage;
	}
	run->drawn =
		arena_alloc(run->arena, (size_t) options->batch_size * sizeof(int32_t));
	return sampler_create(
		run->arena, options->is_uniform ? SAMPLER_UNIFORM : SAMPLER_PRIORITY,
		weight, dataset->groups.count, options->batch_size, draws,
		options->seed + (uint64_t) refreshed, &run->sampler, failure);
}

/* Threads, which only the host has, and what else matters. */
static void
describe_plan(const TrainPlan *plan, char *text, size_t size)
{
	if (plan->threads > 0)
		snprintf(text, size, "%d thread%s, %s", plan->threads,
		         plan->threads == 1 ? "" : "s", plan->description);
	else
		snprintf(text, size, "%s", plan->description);
}

static bool
warn_of_other_plan(Run *run, const TrainPlan *plan, Failure *failure)
{
	char message[512], before[160], now_it_is[160];

	if (run->state.plan.threads == plan->threads &&
	    strcmp(run->state.plan.description, plan->description) == 0)
		return true;
	describe_plan(&run->state.plan, before, sizeof(before));
	describe_plan(plan, now_it_is, sizeof(now_it_is));
	snprintf(message, sizeof(message),
	         "the checkpoint of step %lld was computed with %s, this run goes "
	         "on with %s: results will differ by rounding",
	         (long long) run->state.step, before, now_it_is);
	snprintf(run->state.plan.description, sizeof(plan->description), "%s",
	         plan->description);
	run->state.plan.threads = plan->threads;
	return run->events->warning(run->events->argument, message, failure);
}

/* Memory as it was planned: other parts would give other roundings.  Less only
 * where there is not so much any more. */
static void
limit_passes(Run *run)
{
	TrainPlan *plan = &run->state.plan;
	uint64_t room = model_pass_room(run->model);

	/* All of it, if need be. */
	if (room > 0 &&
	    (plan->pass_bytes == 0 || plan->pass_bytes > room + room / 9))
		plan->pass_bytes = room;
	model_limit_passes(run->model, plan->pass_bytes);
}

/* Sets the state: that of a checkpoint, loaded, or that of the beginning. */
static bool
begin(Run *run, Failure *failure)
{
	Team *team = run->events->team;
	TrainPlan plan = train_plan(run->model, team);

	plan.token_budget = model_token_budget(run->model, true);
	plan.pass_bytes = model_pass_room(run->model);
	if (team != NULL && !team_ready(team, &plan.token_budget, failure))
		return false;
	checkpoint_find(run->directory, run->options->known_checkpoint, &run->state,
	                failure);
	if (run->state.step > 0 &&
	    (run->state.rows_checksum == run->dataset->checksum ||
	     run->state.refreshed_step == run->state.step))
	{
		run->checkpoint_step = run->state.step;
		run->state.rows_checksum = run->dataset->checksum;
		run->steps = run->dataset->groups.count == 0 ? run->state.step
		                                             : run->state.steps;
		return checkpoint_load(run->directory, run->model, &run->state,
		                       failure) &&
		       warn_of_other_plan(run, &plan, failure);
	}
	run->steps = train_steps(run->options, run->dataset->groups.count);
	run->state =
		(TrainState){.steps = run->steps,
	                 .evaluated_step = -1,
	                 .best_step = -1,
	                 .best_reward = NAN,
	                 .start_reward = NAN,
	                 .reference_reward = NAN,
	                 .rows_checksum = run->dataset->checksum,
	                 .kl_coefficient = run->options->ppo.kl_coefficient,
	                 .plan = plan};
	return true;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

/*
 * a_lol_kl's gradient is -(A - beta): rows with A < beta lose probability
 * without bound.  Kept as published, but not in silence.
 */
static bool
report_unlearned(Run *run, Failure *failure)
{
	const TrainEvents *events = run->events;
	double beta = run->options->objective_options.beta;
	int32_t count = run->dataset->selected;
	double *sorted =
		arena_try(run->arena, (size_t) count, sizeof(double), failure);
	TrainMetric metric = {"kl/unlearned_fraction", 0};
	char message[256];

	if (sorted == NULL)
		return false;
	for (int32_t i = 0; i < count; i++)
	{
		sorted[i] = run->dataset->row[i].advantage;
		metric.value += (sorted[i] < beta) / (double) count;
	}
	if (!events->metrics(events->argument, run->state.step, &metric, 1,
	                     failure))
		return false;
	if (metric.value <= UNLEARNED_MAX)
		return true;
	qsort(sorted, (size_t) count, sizeof(double), compare_doubles);
	snprintf(message, sizeof(message),
	         "a_lol_kl unlearns %.0f %% of its rows, those with an advantage "
	         "below beta = %g; the median positive advantage is %.3g",
	         100 * metric.value, beta, sorted[count / 2]);
	return events->warning(events->argument, message, failure);
}

/*
 * pro takes the gaps of rewards as temperatures: where they are large its
 * softmax sees the closest rivals alone.
 */
static bool
report_temperature(Run *run, Failure *failure)
{
	const TrainEvents *events = run->events;
	const Groups *groups = &run->dataset->groups;
	TrainMetric metric = {"tau/max", 0};
	char message[256];

	for (int32_t i = 0; i < groups->count; i++)
	{
		const int32_t *row = groups->row + groups->offset[i];
		int32_t last = groups->offset[i + 1] - groups->offset[i] - 1;

		metric.value =
			fmax(metric.value, run->dataset->row[row[0]].reward -
		                           run->dataset->row[row[last]].reward);
	}
	if (!events->metrics(events->argument, 0, &metric, 1, failure))
		return false;
	if (metric.value <= TEMPERATURE_MAX)
		return true;
	snprintf(message, sizeof(message),
	         "rewards of one list differ by up to %.4g, and method pro takes "
	         "differences as temperatures, which should not be above %g; "
	         "rewards scaled to [0, 1] suit it",
	         metric.value, TEMPERATURE_MAX);
	return events->warning(events->argument, message, failure);
}

/* What of the rows should be known before the first step on them. */
static bool
report_rows(Run *run, Failure *failure)
{
	if (run->state.step != run->state.refreshed_step ||
	    run->dataset->groups.count == 0)
		return true;
	if (run->options->objective->rows == ROWS_LISTS)
		return report_temperature(run, failure);
	return strcmp(run->options->objective->name, "a_lol_kl") != 0 ||
	       report_unlearned(run, failure);
}

/* -------------------------------------------------------------- between */

static bool
write_checkpoint(Run *run, Failure *failure)
{
	const TrainEvents *events = run->events;
	double started = now();

	if (!checkpoint_write(run->directory, run->model, &run->state, failure))
		return fail_while(failure, "writing the checkpoint of step %lld",
		                  (long long) run->state.step);
	run->checkpoint_step = run->state.step;
	run->checkpoint_time = now();
	run->checkpoint_cost = run->checkpoint_time - started;
	return events->checkpoint(events->argument, run->state.step, failure);
}

static bool
checkpoint_is_due(const Run *run)
{
	int64_t every = run->options->checkpoint_every;
	double waited = now() - run->checkpoint_time;

	if (every > 0)
		return run->state.step % every == 0;
	return waited >= run->options->checkpoint_interval &&
	       run->checkpoint_cost <= CHECKPOINT_SHARE * waited;
}

/* Epochs that are done, of whatever rows. */
static double
epochs_done(const Run *run)
{
	const TrainState *state = &run->state;

	return state->epochs + (double) (state->step - state->refreshed_step) *
	                           run->options->batch_size /
	                           run->dataset->groups.count;
}

/* Where the policy as it is has become good enough it is the reference of what
 * is left to do: its rows are then to be scored, and come in another run. */
static void
refresh(Run *run)
{
	TrainState *state = &run->state;
	double gain = run->options->refresh_reference;

	if (gain == 0 || run->events->measure != NULL ||
	    state->best_step != state->step || state->step == 0 ||
	    state->step >= run->steps ||
	    !(state->best_reward - state->reference_reward >= gain))
		return;
	state->epochs = epochs_done(run);
	state->refreshed_step = state->step;
	state->reference_reward = state->best_reward;
	run->is_refreshed = true;
}

/*
 * Asks for the reward of the policy as it is, keeps the weights if they are
 * the best so far (ties to the earlier), and leaves a checkpoint.
 */
static bool
evaluate(Run *run, Failure *failure)
{
	const TrainEvents *events = run->events;
	TrainState *state = &run->state;
	TrainMetric metric = {"evaluation/reward", NAN};

	if (!events->evaluate(events->argument, state->step, &metric.value,
	                      failure))
		return false;
	state->evaluated_step = state->step;
	if (isfinite(metric.value))
	{
		/* Numbers of held-out rows are several, and out already. */
		if (events->measure == NULL &&
		    !events->metrics(events->argument, state->step, &metric, 1,
		                     failure))
			return false;
		if (state->step == 0)
			state->start_reward = state->reference_reward = metric.value;
		if (!(state->best_reward >= metric.value))
		{
			state->best_reward = metric.value;
			state->best_step = state->step;
			if (state->step > 0 && run->options->keep_best &&
			    !best_write(run->directory, run->model, state->step, failure))
				return false;
		}
	}
	refresh(run);
	/* The beginning can be had again for the asking. */
	return state->step == 0 || write_checkpoint(run, failure);
}

/* What a policy, but no classifier, has: log-probabilities and rewards. */
static int
policy_metrics(const StepReport *report, TrainMetric *metric)
{
	double n = report->responses;
	int count = 0;

#define ADD(name, value) metric[count++] = (TrainMetric){name, value}
	ADD("logps/policy", report->logp / n);
	if (isfinite(report->ref_logp))
	{
		ADD("logps/reference", report->ref_logp / n);
		ADD("kl", (report->logp - report->ref_logp) / n);
	}
	if (isfinite(report->reward))
		ADD("rewards/mean", report->reward / n);
	if (isfinite(report->advantage))
		ADD("advantage/mean", report->advantage / n);
	return count;
}

static bool
send_metrics(Run *run, const StepReport *report, const PpoReport *ppo,
             double rate, Failure *failure)
{
	const ObjectiveStats *stats = &report->stats;
	bool is_policy = run->options->critic == NULL;
	TrainMetric metric[24 + PPO_METRICS];
	int count = 0;

	ADD("loss", report->loss);
	ADD("grad_norm", report->grad_norm);
	ADD("learning_rate", rate);
	ADD("epoch", epochs_done(run));
	ADD("num_tokens", (double) run->state.tokens);
	if (is_policy)
		count += policy_metrics(report, metric + count);
	if (stats->classified > 0)
		ADD("accuracy", (double) stats->hits / (double) stats->classified);
	if (stats->ratios > 0)
	{
		ADD("clip_ratio", (double) stats->clipped / (double) stats->ratios);
		ADD("ratio/mean", stats->ratio_sum / (double) stats->ratios);
		ADD("ratio/ess", stats->ratio_sum * stats->ratio_sum /
		                     (stats->ratio_squares * (double) stats->ratios));
	}
	if (stats->groups > 0)
	{
		double groups = (double) stats->groups;

		ADD("rewards/chosen", stats->best_score / groups);
		ADD("rewards/rejected", stats->worst_score / groups);
		ADD("rewards/margins",
		    (stats->best_score - stats->worst_score) / groups);
		ADD("rewards/accuracies",
		    (double) stats->ordered / (double) stats->compared);
	}
	if (stats->groups > 0 && is_policy)
	{
		ADD("logps/chosen", stats->best_logp / (double) stats->groups);
		ADD("logps/rejected", stats->worst_logp / (double) stats->groups);
	}
	if (objective_rolls_out(run->options->objective))
		count += ppo_metrics(ppo, metric + count);
#undef ADD
	return run->events->metrics(run->events->argument, run->state.step, metric,
	                            count, failure);
}

static void
measure_speed(Run *run, const StepReport *report, double seconds)
{
	double speed = (double) report->tokens / fmax(seconds, 1e-6);
	double kept = exp(-seconds / SPEED_MEMORY);

	run->speed =
		run->speed == 0 ? speed : kept * run->speed + (1 - kept) * speed;
}

static bool
one_step(Run *run, Failure *failure)
{
	const TrainOptions *options = run->options;
	const TrainEvents *events = run->events;
	double started = now();
	double rate = options->learning_rate *
	              schedule_factor(options->schedule, run->state.step,
	                              run->steps, options->warmup_steps);
	int count = sampler_draw(
		run->sampler, run->state.step - run->state.refreshed_step, run->drawn);
	StepReport report;
	PpoReport ppo = {0};
	bool done;

	if (count == 0)
		return fail(failure, FAILURE_INTERNAL, "no rows for step %lld",
		            (long long) run->state.step + 1);
	if (objective_rolls_out(options->objective))
		done = ppo_step(run->model, options, events, run->dataset, run->drawn,
		                count, rate, &run->state, &report, &ppo, failure);
	else if (events->team != NULL)
		done = team_step(events->team, run->model, options, run->dataset,
		                 run->drawn, count, run->state.plan.token_budget,
		                 run->state.step + 1, rate, &report, failure);
	else
		done = step_run(run->model, options, run->dataset, run->drawn, count,
		                run->state.plan.token_budget, run->state.step + 1, rate,
		                &report, failure);
	if (!done)
		return false;
	run->state.step++;
	run->state.tokens += report.tokens;
	measure_speed(run, &report, now() - started);
	if ((run->state.step % options->log_every == 0 ||
	     run->state.step == run->steps) &&
	    !send_metrics(run, &report, &ppo, rate, failure))
		return false;
	return events->progress(events->argument, run->state.step, run->steps,
	                        run->speed, report.loss, failure);
}

/* ------------------------------------------------------------------ end */

/* Whose weights the run gives: the best that beat the reference, or the last. */
static bool
choose(Run *run, TrainResult *result, Failure *failure)
{
	const TrainState *state = &run->state;
	char message[256];

	result->step = state->step;
	result->steps = run->steps;
	result->best_reward = state->best_reward;
	result->start_reward = state->start_reward;
	result->is_refreshed = run->is_refreshed;
	result->weights = NULL;
	if (run->is_refreshed || !run->options->keep_best || state->best_step < 0 ||
	    state->best_step == state->step)
		return true;
	if (state->best_step > 0)
	{
		result->step = state->best_step;
		return best_open(run->arena, run->directory, run->model,
		                 state->best_step, &result->weights, failure);
	}
	if (run->events->measure != NULL)
		snprintf(message, sizeof(message),
		         "no step was better on held-out rows than the beginning (%s "
		         "%.4g); the weights are those of the last step",
		         run->events->measure,
		         train_shown(run->events->is_loss ? -state->start_reward
		                                          : state->start_reward));
	else
		snprintf(message, sizeof(message),
		         "no step earned more reward than the reference (%.4g); the "
		         "weights are those of the last step",
		         state->start_reward);
	return run->events->warning(run->events->argument, message, failure);
}

static bool
loop(Run *run, Failure *failure)
{
	const TrainEvents *events = run->events;

	for (;;)
	{
		if (!poll_check(failure))
			return false;
		if (events->evaluate != NULL &&
		    run->state.evaluated_step != run->state.step &&
		    schedule_evaluates(run->state.step, run->steps,
		                       run->options->evaluate_every))
		{
			if (!evaluate(run, failure))
				return false;
		}
		else if (run->state.step > run->checkpoint_step &&
		         checkpoint_is_due(run) && !write_checkpoint(run, failure))
			return false;
		if (run->is_refreshed || run->state.step >= run->steps)
			return true;
		if (!one_step(run, failure))
			return false;
	}
}

bool
train_prepare(Model *model, const TrainOptions *options, Failure *failure)
{
	if (model_is_trainable(model))
		return true;
	if (objective_rolls_out(options->objective))
		model_add_values(model);
	if (options->codes_moments)
		model_code_moments(model);
	return model_make_trainable(
		model, options->lora.rank > 0 ? &options->lora : NULL, failure);
}

bool
train_run(Arena *arena, Model *model, const char *directory,
          const TrainOptions *options, const Dataset *dataset,
          const TrainEvents *events, TrainResult *result, Failure *failure)
{
	Run run = {.arena = arena,
	           .model = model,
	           .directory = directory,
	           .options = options,
	           .dataset = dataset,
	           .events = events,
	           .checkpoint_time = now()};

	return train_prepare(model, options, failure) && begin(&run, failure) &&
	       (limit_passes(&run), true) &&
	       model_reserve_budget(model, run.state.plan.token_budget, failure) &&
	       (events->team == NULL || team_begin(events->team, model, failure)) &&
	       make_sampler(&run, failure) && report_rows(&run, failure) &&
	       loop(&run, failure) && choose(&run, result, failure);
}
