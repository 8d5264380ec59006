/*
 * critic.h
 *		Objectives of classifiers: outputs of a head in, gradient out.
 *
 * Beside objective.h, whose objectives see log-probabilities.  z is what the
 * head says of a text, one number a label.
 */
#pragma once

#include "method/objective.h"

/* A text, or two that are compared, the better one first. */
typedef struct CriticGroup
{
	int count;           /* texts */
	int labels;          /* outputs of the head */
	const float *logits; /* [count, labels] */
	const double *label; /* [count] the index of one, or a number */
} CriticGroup;

/*
 * Loss of one group.  grad, shaped like logits and owned by the caller,
 * receives dLoss/dz; the caller divides by the groups of the step.  Cannot
 * fail: inputs are checked before.
 */
typedef double (*CriticLoss)(const CriticGroup *group, float *grad,
                             ObjectiveStats *stats);

typedef struct Critic
{
	Objective draws; /* name, and which rows make a group; its loss is NULL */
	CriticLoss loss;
	bool is_indexed;     /* labels are indexes of outputs */
	const char *measure; /* the metric of held-out rows that chooses the best
	                      * step: the higher the better */
	const char *problem; /* problem_type of config.json, or NULL */
} Critic;

/* "classification", "regression" or "pairwise"; NULL for other names. */
extern const Critic *critic_find(const char *name);

extern int critic_count(void);
extern const Critic *critic_at(int index);

/* The probabilities softmax(z) of count outputs. */
extern void critic_softmax(const float *logits, int count, double *probability);

/* 1 / (1 + exp(-x)) */
extern double critic_sigmoid(double x);
