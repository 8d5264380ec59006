/*
 * step.h
 *		One step of training: a batch of rows becomes an update.
 */
#pragma once

#include "model/model.h"
#include "train/dataset.h"
#include "train/options.h"

/* What a step was, for metrics: sums over its responses. */
typedef struct StepReport
{
	int responses;
	int64_t tokens;    /* prompts and responses */
	int64_t predicted; /* response tokens */
	double loss;       /* mean over the groups */
	double grad_norm;  /* before clipping */
	double logp;       /* sum of l */
	double ref_logp;   /* sum of r; NaN without a reference */
	double reward;     /* sum of R; NaN where rows have none */
	double advantage;  /* sum of A; NaN where rows have none */
	ObjectiveStats stats;
} StepReport;

/* Groups of a step that are computed together: all, or a rank's. */
typedef struct StepPart
{
	const Dataset *dataset;
	const int32_t *drawn; /* [count] groups of the dataset */
	const int32_t *place; /* [count] of each in the step, which tells those
	                       * drawn twice apart; NULL: 0, 1, 2, ... */
	int count;
	double scale; /* 1 / groups of the whole step */
	int64_t budget;
	int64_t update; /* from 1 */
} StepPart;

/* All groups of a step; update counts from 1. */
extern StepPart step_whole(const Dataset *dataset, const int32_t *drawn,
                           int count, int64_t budget, int64_t update);

/*
 * Sets the gradient to that of the part, in micro-batches of at most budget
 * tokens (or one group), and report to what it was.
 */
extern bool step_accumulate(Model *model, const TrainOptions *options,
                            const StepPart *part, StepReport *report,
                            Failure *failure);

/*
 * Zeroes the gradient, accumulates that of the groups drawn[count] in
 * micro-batches of at most budget tokens (or one group), and updates the
 * weights at this learning rate.  update counts from 1.  Fails, before the update, when loss
 * or gradient is not finite.
 */
extern bool step_run(Model *model, const TrainOptions *options,
                     const Dataset *dataset, const int32_t *drawn, int count,
                     int64_t budget, int64_t update, double learning_rate,
                     StepReport *report, Failure *failure);

/* How the gradient that is there, whose norm it gives, is to update the
 * weights: see step_update(). */
extern bool step_settings(Model *model, const TrainOptions *options,
                          int64_t update, double rate, double loss,
                          double *grad_norm, AdamW *settings, Failure *failure);

/*
 * Updates the weights by the gradient that is there, whose norm it gives, at
 * this learning rate; update counts from 1.  Fails, before the update, when
 * loss or gradient is not finite.
 */
extern bool step_update(Model *model, const TrainOptions *options,
                        int64_t update, double rate, double loss,
                        double *grad_norm, Failure *failure);
