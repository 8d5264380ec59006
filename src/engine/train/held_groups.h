/*
 * held_groups.h
 *		What a policy makes of pairs and lists that it is not trained on.
 */
#pragma once

#include "model/model.h"
#include "train/dataset.h"
#include "train/trainer.h"

#define HELD_GROUP_METRICS 7

/*
 * Measures the model as it is on the groups of an open dataset (at least one):
 * eval_loss, the objective's mean over the groups, and, named as in training,
 * eval_rewards/chosen, /rejected, /margins, /accuracies, eval_logps/chosen and
 * /rejected.  metric[HELD_GROUP_METRICS].
 */
extern bool held_groups_measure(Model *model, const TrainOptions *options,
                                const Dataset *held, TrainMetric *metric,
                                int *count, double *loss, Failure *failure);
