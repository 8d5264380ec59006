/*
 * critic.c
 *		The objectives of classifiers, one function each, and the table of
 *		them.
 */
#include "method/critic.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* The index of the largest, the first of equal ones. */
static int
largest(const float *logits, int count)
{
	int best = 0;

	for (int i = 1; i < count; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

static double
log_sum_exp(const float *logits, int count)
{
	double top = (double) logits[largest(logits, count)];
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += exp((double) logits[i] - top);
	return top + log(sum);
}

void
critic_softmax(const float *logits, int count, double *probability)
{
	double total = log_sum_exp(logits, count);

	for (int i = 0; i < count; i++)
		probability[i] = exp((double) logits[i] - total);
}

double
critic_sigmoid(double x)
{
	return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* L = -log softmax(z)[label] */
static double
classification_loss(const CriticGroup *group, float *grad,
                    ObjectiveStats *stats)
{
	const float *z = group->logits;
	int label = (int) group->label[0];
	double total = log_sum_exp(z, group->labels);

	for (int i = 0; i < group->labels; i++)
		grad[i] = (float) (exp((double) z[i] - total) - (i == label));
	stats->classified++;
	stats->hits += largest(z, group->labels) == label;
	return total - (double) z[label];
}

/* L = (z - label)^2 */
static double
regression_loss(const CriticGroup *group, float *grad, ObjectiveStats *stats)
{
	double error = (double) group->logits[0] - group->label[0];

	(void) stats;
	grad[0] = (float) (2 * error);
	return error * error;
}

/* Bradley-Terry: L = -log sigmoid(z_w - z_l) */
static double
pairwise_loss(const CriticGroup *group, float *grad, ObjectiveStats *stats)
{
	double better = (double) group->logits[0];
	double worse = (double) group->logits[1];
	double margin = better - worse;

	grad[0] = (float) -critic_sigmoid(-margin);
	grad[1] = -grad[0];
	stats->groups++;
	stats->compared++;
	stats->ordered += margin > 0;
	stats->best_score += better;
	stats->worst_score += worse;
	/* log(1 + exp(-x)), whose exponential must not overflow */
	return margin >= 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin;
}

static const Critic critics[] = {
	{{"classification", ROWS_ALL, false, NULL},
     classification_loss,
     true,
     "evaluation/accuracy",
     "single_label_classification"},
	{{"regression", ROWS_ALL, false, NULL},
     regression_loss,
     false,
     "evaluation/r2",
     "regression"},
	{{"pairwise", ROWS_PAIRS, false, NULL},
     pairwise_loss,
     false,
     "evaluation/accuracy",
     NULL},
};

int
critic_count(void)
{
	return (int) (sizeof(critics) / sizeof(critics[0]));
}

const Critic *
critic_at(int index)
{
	return &critics[index];
}

const Critic *
critic_find(const char *name)
{
	for (int i = 0; i < critic_count(); i++)
		if (strcmp(critics[i].draws.name, name) == 0)
			return &critics[i];
	return NULL;
}
