/*
 * held.h
 *		What a classifier makes of rows that it is not trained on.
 */
#pragma once

#include "model/model.h"
#include "train/dataset.h"
#include "train/trainer.h"

#define HELD_METRICS 8

/* Held-out rows, and what says nothing of their texts would make of them. */
typedef struct Held
{
	const Critic *critic;
	Dataset dataset;
	double guess; /* the commonest label, or the mean one, of training */
} Held;

/*
 * Groups the rows of an open dataset as the options say, and takes the guess
 * from those that are trained on.  Lives in arena.
 */
extern bool held_open(Arena *arena, const TrainOptions *options,
                      const Dataset *trained, int labels, Held *held,
                      Failure *failure);

/*
 * Measures the model as it is: evaluation/loss and, of
 *		classification: accuracy, auc (macro, one label against the rest, where
 *		there are more than two), ece, brier, baseline_accuracy
 *		regression: mse, r2, pearson, spearman, baseline_mse
 *		pairwise: accuracy (ties half), ece, brier, baseline_accuracy
 * metric[HELD_METRICS]; what has no value on these rows is left out.  best is
 * the value that critic->measure names, less a trifle for the loss that decides
 * between equal ones; baseline is the guess's.
 */
extern bool held_measure(Model *model, const Held *held, TrainMetric *metric,
                         int *count, double *best, double *baseline,
                         Failure *failure);
