/*
 * preference.c
 *		Objectives of pairs and ranked lists: DPO (arXiv 2305.18290) and PRO
 *		(arXiv 2306.17492).
 *
 * Every exponential is taken of a difference to the greatest, so that no
 * reward and no log-probability overflows.
 */
#include "method/preference.h"

#include <math.h>
#include <stddef.h>

/* l - r of response i, formed token by token; l where there is no r. */
static double
log_ratio(const ObjectiveGroup *group, const float *ref_logp, int i)
{
	double total = 0;

	for (int t = group->offset[i]; t < group->offset[i + 1]; t++)
		total += (double) group->logp[t] - (ref_logp == NULL ? 0 : ref_logp[t]);
	return total;
}

static void
fill(const ObjectiveGroup *group, int i, double value, float *grad)
{
	for (int t = group->offset[i]; t < group->offset[i + 1]; t++)
		grad[t] = (float) value;
}

/* What metrics say of a group whose best and worst have these scores. */
static void
note_group(const ObjectiveGroup *group, double best, double worst,
           ObjectiveStats *stats)
{
	stats->groups++;
	stats->best_score += best;
	stats->worst_score += worst;
	stats->best_logp += log_ratio(group, NULL, 0);
	stats->worst_logp += log_ratio(group, NULL, group->count - 1);
}

/*
 * L = -log sigma(x), x = beta * [(l_w - r_w) - (l_l - r_l)], and so
 * dL/dl_w = -beta * sigma(-x), dL/dl_l = beta * sigma(-x).
 */
static double
pair_loss(const ObjectiveGroup *group, const float *ref_logp, double beta,
          float *grad, ObjectiveStats *stats)
{
	double chosen = beta * log_ratio(group, ref_logp, 0);
	double rejected = beta * log_ratio(group, ref_logp, 1);
	double x = chosen - rejected;
	double small = exp(-fabs(x)); /* at most 1 */
	double wrong = x > 0 ? small / (1 + small) : 1 / (1 + small);

	fill(group, 0, -beta * wrong, grad);
	fill(group, 1, beta * wrong, grad);
	note_group(group, chosen, rejected, stats);
	stats->compared++;
	stats->ordered += x > 0;
	return fmax(-x, 0) + log1p(small);
}

double
dpo_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
         float *grad, ObjectiveStats *stats)
{
	return pair_loss(group, group->ref_logp, options->beta, grad, stats);
}

/* dpo with r = 0 */
double
dpo_ref_free_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
                  float *grad, ObjectiveStats *stats)
{
	return pair_loss(group, NULL, options->beta, grad, stats);
}

/*
 * log(e^(s_k tau) + sum_{j>k} e^(s_j (R_k - R_j))) - s_k tau, with tau the
 * largest R_k - R_j, which the last has.  Adds to dscore = dL/ds.  Equal
 * rewards have a difference of 0 and no gradient between each other.
 */
static double
term_loss(const double *reward, const double *score, int k, int count,
          double *dscore)
{
	double tau = reward[k] - reward[count - 1];
	double own = score[k] * tau;
	double greatest = own;
	double total;

	for (int j = k + 1; j < count; j++)
		greatest = fmax(greatest, score[j] * (reward[k] - reward[j]));
	total = exp(own - greatest);
	for (int j = k + 1; j < count; j++)
		total += exp(score[j] * (reward[k] - reward[j]) - greatest);
	dscore[k] += tau * (exp(own - greatest) / total - 1);
	for (int j = k + 1; j < count; j++)
	{
		double gap = reward[k] - reward[j];

		dscore[j] += gap * exp(score[j] * gap - greatest) / total;
	}
	return greatest + log(total) - own;
}

static void
note_order(const double *reward, const double *score, int count,
           ObjectiveStats *stats)
{
	for (int k = 0; k < count - 1; k++)
	{
		for (int j = k + 1; j < count; j++)
		{
			if (reward[k] == reward[j])
				continue;
			stats->compared++;
			stats->ordered += score[k] > score[j];
		}
	}
}

/*
 * L = sum_k [log(e^(s_k tau_k) + sum_{j>k} e^(s_j (R_k - R_j))) - s_k tau_k]
 *     - w * (n - 1)^2 * l_best, s = l / |y|, w = sft_weight, n responses
 */
double
pro_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
         float *grad, ObjectiveStats *stats)
{
	int count = group->count;
	double score[OBJECTIVE_LIST_MAX] = {0};
	double dscore[OBJECTIVE_LIST_MAX] = {0};
	double sft = options->sft_weight * (count - 1) * (count - 1);
	double loss = 0;

	for (int i = 0; i < count; i++)
		score[i] = log_ratio(group, NULL, i) /
		           (group->offset[i + 1] - group->offset[i]);
	for (int k = 0; k < count - 1; k++)
		loss += term_loss(group->reward, score, k, count, dscore);
	for (int i = 0; i < count; i++)
	{
		int tokens = group->offset[i + 1] - group->offset[i];

		fill(group, i, dscore[i] / tokens - (i == 0 ? sft : 0), grad);
	}
	note_group(group, score[0], score[count - 1], stats);
	note_order(group->reward, score, count, stats);
	return loss - sft * log_ratio(group, NULL, 0);
}
