/*
 * trainer.h
 *		The training loop: rows in, better weights out.
 *
 * Draws -> micro-batches -> log-probabilities -> objective -> gradient ->
 * norm -> AdamW; and between the steps metrics, evaluations, checkpoints.
 * Everything that leaves goes through TrainEvents, so that the loop knows
 * nothing of the wire.
 */
#pragma once

#include "train/checkpoint.h"
#include "train/dataset.h"
#include "train/options.h"
#include "train/rollout.h"

typedef struct TrainMetric
{
	const char *name;
	double value;
} TrainMetric;

/* What the loop tells; argument goes to each.  Those that return bool may
 * fail, which ends the run. */
typedef struct TrainEvents
{
	void *argument;
	bool (*progress)(void *argument, int64_t step, int64_t steps,
	                 double tokens_per_second, double loss, Failure *failure);
	bool (*metrics)(void *argument, int64_t step, const TrainMetric *metric,
	                int count, Failure *failure);
	/* The checkpoint of step is on disk. */
	bool (*checkpoint)(void *argument, int64_t step, Failure *failure);
	bool (*warning)(void *argument, const char *message, Failure *failure);
	/* The mean reward of the policy as it is, NaN if it has none; NULL: no
	 * evaluation. */
	bool (*evaluate)(void *argument, int64_t step, double *reward,
	                 Failure *failure);
	/* Of methods that roll out; else unused. */
	RolloutFunction rollout;
	Model *reference; /* the policy as it was */
} TrainEvents;

typedef struct TrainResult
{
	int64_t step; /* whose weights are best */
	int64_t steps;
	double best_reward;      /* NaN without evaluation */
	double reference_reward; /* NaN without evaluation */
	const float *weights;    /* mapped, lives in arena; NULL: the model's own */
} TrainResult;

/* How many steps a run over so many groups takes. */
extern int64_t train_steps(const TrainOptions *options, int64_t groups);

/* A measure of held-out rows for messages: without the trifle that decides
 * between equal ones (held.h). */
extern double train_shown(double measure);

/* What this process would compute with; without a token budget. */
extern TrainPlan train_plan(const Model *model);

/*
 * Trains the model on the groups of rows (at least one), from the newest
 * checkpoint in directory if that belongs to these rows, and leaves
 * checkpoints there.  Asks poll_check() between micro-batches.
 */
extern bool train_run(Arena *arena, Model *model, const char *directory,
                      const TrainOptions *options, const Dataset *dataset,
                      const TrainEvents *events, TrainResult *result,
                      Failure *failure);
