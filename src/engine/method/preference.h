/*
 * preference.h
 *		The objectives of pairs and lists, for the table in objective.c.
 */
#pragma once

#include "method/objective.h"

/* Groups of two, the chosen response first. */
extern double dpo_loss(const ObjectiveGroup *group,
                       const ObjectiveOptions *options, float *grad,
                       ObjectiveStats *stats);
extern double dpo_ref_free_loss(const ObjectiveGroup *group,
                                const ObjectiveOptions *options, float *grad,
                                ObjectiveStats *stats);

/* Groups of 2 to OBJECTIVE_LIST_MAX, by falling reward. */
extern double pro_loss(const ObjectiveGroup *group,
                       const ObjectiveOptions *options, float *grad,
                       ObjectiveStats *stats);
