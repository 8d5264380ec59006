/*
 * ppo.h
 *		One step of method ppo: responses to a batch of prompts become several
 *		updates.
 *
 * Metrics have the names of TRL's PPOTrainer, release 0.7.
 */
#pragma once

#include "train/step.h"
#include "train/trainer.h"

#define PPO_METRICS 28

/* What a step was, beside a StepReport. */
typedef struct PpoReport
{
	PpoStats stats; /* of all updates */
	int epochs;     /* passes over the responses */
	int updates;
	int skipped; /* of them, for the sake of their ratios */
	int responses;
	double tokens; /* of the responses */
	double kl_coefficient;
	double kl;               /* mean of the responses */
	double surprise;         /* mean of -l' */
	double non_score_reward; /* mean of tokens */
	double score_mean;       /* as rewards came */
	double score_deviation;
	double target_mean; /* of V, what TRL calls returns */
	double target_variance;
	double value_mean; /* V' */
	double value_variance;
} PpoReport;

/*
 * Rolls out the prompts drawn[count] of the dataset, evaluates policy and
 * reference on the responses, and updates the weights options->ppo.epochs
 * times over them.  state: the run's, before and, where it succeeds, after,
 * but for the count of steps.
 */
extern bool ppo_step(Model *model, const TrainOptions *options,
                     const TrainEvents *events, const Dataset *dataset,
                     const int32_t *drawn, int count, double rate,
                     TrainState *state, StepReport *report, PpoReport *ppo,
                     Failure *failure);

/* The metrics of a step, metric[PPO_METRICS]; returns how many. */
extern int ppo_metrics(const PpoReport *report, TrainMetric *metric);
