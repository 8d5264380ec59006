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
#include "train/team.h"

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
	/* The checkpoint of step is on disk; returns when whoever resumes the run
	 * knows of it, as the next one takes the place of the one before. */
	bool (*checkpoint)(void *argument, int64_t step, Failure *failure);
	bool (*warning)(void *argument, const char *message, Failure *failure);
	/* How good the policy is as it is, the more the better: its mean reward,
	 * NaN if it has none; NULL: no evaluation. */
	bool (*evaluate)(void *argument, int64_t step, double *reward,
	                 Failure *failure);
	/* Where it is told by held-out rows instead: what of them, for messages;
	 * is_loss: the less the better, so that its negative is given. */
	const char *measure;
	bool is_loss;
	/* Of methods that roll out; else unused. */
	RolloutFunction rollout;
	Model *reference; /* the policy as it was */
	Team *team;       /* who share the steps; NULL: this process alone */
} TrainEvents;

typedef struct TrainResult
{
	int64_t step; /* whose weights are best */
	int64_t steps;
	double best_reward;   /* as evaluated; NaN without evaluation */
	double start_reward;  /* before the first step; NaN without evaluation */
	const float *weights; /* mapped, lives in arena; NULL: the model's own */
	bool is_refreshed;    /* the run has not ended: its last checkpoint waits
	                       * for rows that a new reference has scored */
} TrainResult;

/* How many steps a run over so many groups takes. */
extern int64_t train_steps(const TrainOptions *options, int64_t groups);

/* A measure of held-out rows for messages: without the trifle that decides
 * between equal ones (held.h). */
extern double train_shown(double measure);

/* What this process would compute with; without a token budget. */
extern TrainPlan train_plan(const Model *model, const Team *team);

/* Makes the model trainable as the options say, unless it is: what
 * train_run() does first. */
extern bool train_prepare(Model *model, const TrainOptions *options,
                          Failure *failure);

/*
 * Trains the model on the groups of rows, from the newest checkpoint in
 * directory if that belongs to these rows or waits for them, and leaves
 * checkpoints there.  Asks poll_check() between micro-batches.  Without any
 * group a run that waits for rows ends where it is.
 */
extern bool train_run(Arena *arena, Model *model, const char *directory,
                      const TrainOptions *options, const Dataset *dataset,
                      const TrainEvents *events, TrainResult *result,
                      Failure *failure);
