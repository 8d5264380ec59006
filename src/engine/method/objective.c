/*
 * objective.c
 *		The training objectives, one function each, and the table of them;
 *		those of pairs and lists are in preference.c.
 *
 * As in the paper (arXiv 2305.14718), with sums over tokens, not means.  A
 * difference l - r is formed token by token and summed in double, so that it
 * is exactly 0 where policy and reference are the same.
 */
#include "method/objective.h"

#include "method/preference.h"

#include <math.h>
#include <string.h>

/* Above this an unclipped ratio stops growing: exp(30) is 1e13. */
#define LOG_RATIO_MAX 30.0

static double
sum(const float *x, int count)
{
	double total = 0;

	for (int i = 0; i < count; i++)
		total += x[i];
	return total;
}

static double
sum_of_differences(const float *x, const float *y, int count)
{
	double total = 0;

	for (int i = 0; i < count; i++)
		total += (double) x[i] - y[i];
	return total;
}

static void
fill(float *grad, int count, double value)
{
	for (int i = 0; i < count; i++)
		grad[i] = (float) value;
}

/* clip(exp(log_ratio), 1 - eps, 1 + eps); notes what it saw in stats. */
static double
clip_ratio(double log_ratio, const ObjectiveOptions *options,
           ObjectiveStats *stats)
{
	double ratio = exp(fmin(log_ratio, LOG_RATIO_MAX));
	double clipped = ratio;

	if (options->clip_range >= 0)
		clipped =
			fmax(1 - options->clip_range, fmin(ratio, 1 + options->clip_range));
	stats->ratios++;
	stats->clipped += clipped != ratio;
	stats->ratio_sum += ratio;
	stats->ratio_squares += ratio * ratio;
	return clipped;
}

/* L = -weight * l, weight constant: every token gets the same gradient. */
static double
weighted_loss(const ObjectiveGroup *group, double weight, float *grad)
{
	int tokens = group->offset[1];

	fill(grad, tokens, -weight);
	return -weight * sum(group->logp, tokens);
}

/* nll: L = -l */
static double
nll_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
         float *grad, ObjectiveStats *stats)
{
	(void) options;
	(void) stats;
	return weighted_loss(group, 1, grad);
}

/* wbc, weighted behaviour cloning: L = -R * l */
static double
wbc_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
         float *grad, ObjectiveStats *stats)
{
	(void) options;
	(void) stats;
	return weighted_loss(group, group->reward[0], grad);
}

/* r_gold: L = -R * sum_t sg[max(pi(y_t), u)] * l_t */
static double
r_gold_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
            float *grad, ObjectiveStats *stats)
{
	double reward = group->reward[0];
	double loss = 0;

	(void) stats;
	for (int i = 0; i < group->offset[1]; i++)
	{
		double logp = group->logp[i];
		double weight = reward * fmax(exp(logp), options->gold_floor);

		grad[i] = (float) -weight;
		loss -= weight * logp;
	}
	return loss;
}

static double
ratio_of_response(const ObjectiveGroup *group, const ObjectiveOptions *options,
                  ObjectiveStats *stats)
{
	double log_ratio =
		sum_of_differences(group->logp, group->ref_logp, group->offset[1]);

	return clip_ratio(log_ratio, options, stats);
}

/* r_lol: L = -R * sg[clip(exp(l - r), 1 - eps, 1 + eps)] * l */
static double
r_lol_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
           float *grad, ObjectiveStats *stats)
{
	double ratio = ratio_of_response(group, options, stats);

	return weighted_loss(group, group->reward[0] * ratio, grad);
}

/* a_lol: L = -A * sg[clip(exp(l - r), 1 - eps, 1 + eps)] * l */
static double
a_lol_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
           float *grad, ObjectiveStats *stats)
{
	double ratio = ratio_of_response(group, options, stats);

	return weighted_loss(group, group->advantage[0] * ratio, grad);
}

/* a_lol_ref_free: L = -A * l */
static double
a_lol_ref_free_loss(const ObjectiveGroup *group,
                    const ObjectiveOptions *options, float *grad,
                    ObjectiveStats *stats)
{
	(void) options;
	(void) stats;
	return weighted_loss(group, group->advantage[0], grad);
}

/* a_lol_seq: L = -A * sum_t sg[clip(exp(l_t - r_t), 1 - eps, 1 + eps)] * l_t */
static double
a_lol_seq_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
               float *grad, ObjectiveStats *stats)
{
	double advantage = group->advantage[0];
	double loss = 0;

	for (int i = 0; i < group->offset[1]; i++)
	{
		double logp = group->logp[i];
		double ratio = clip_ratio(logp - group->ref_logp[i], options, stats);

		grad[i] = (float) (-advantage * ratio);
		loss -= advantage * ratio * logp;
	}
	return loss;
}

/*
 * a_lol_kl: L = -A * l + beta * (l - r), so that dL/dl_t = beta - A: a row
 * with A < beta loses probability.
 */
static double
a_lol_kl_loss(const ObjectiveGroup *group, const ObjectiveOptions *options,
              float *grad, ObjectiveStats *stats)
{
	int tokens = group->offset[1];
	double advantage = group->advantage[0];
	double difference =
		sum_of_differences(group->logp, group->ref_logp, tokens);

	(void) stats;
	fill(grad, tokens, options->beta - advantage);
	return -advantage * sum(group->logp, tokens) + options->beta * difference;
}

/* Name in SQL, rows to draw, whether r is read, function. */
static const Objective objectives[] = {
	{"nll", ROWS_ALL, false, nll_loss},
	{"wbc", ROWS_POSITIVE_REWARD, false, wbc_loss},
	{"r_gold", ROWS_POSITIVE_REWARD, false, r_gold_loss},
	{"r_lol", ROWS_POSITIVE_REWARD, true, r_lol_loss},
	{"a_lol", ROWS_POSITIVE_ADVANTAGE, true, a_lol_loss},
	{"a_lol_ref_free", ROWS_POSITIVE_ADVANTAGE, false, a_lol_ref_free_loss},
	{"a_lol_seq", ROWS_POSITIVE_ADVANTAGE, true, a_lol_seq_loss},
	{"a_lol_kl", ROWS_POSITIVE_ADVANTAGE, true, a_lol_kl_loss},
	{"dpo", ROWS_PAIRS, true, dpo_loss},
	{"dpo_ref_free", ROWS_PAIRS, false, dpo_ref_free_loss},
	{"pro", ROWS_LISTS, false, pro_loss},
	{"ppo", ROWS_PROMPTS, false, NULL},
};

void
objective_stats_add(ObjectiveStats *sum, const ObjectiveStats *more)
{
	sum->ratios += more->ratios;
	sum->clipped += more->clipped;
	sum->ratio_sum += more->ratio_sum;
	sum->ratio_squares += more->ratio_squares;
	sum->groups += more->groups;
	sum->compared += more->compared;
	sum->ordered += more->ordered;
	sum->best_score += more->best_score;
	sum->worst_score += more->worst_score;
	sum->best_logp += more->best_logp;
	sum->worst_logp += more->worst_logp;
	sum->classified += more->classified;
	sum->hits += more->hits;
}

const Objective *
objective_find(const char *name)
{
	for (int i = 0; i < objective_count(); i++)
		if (strcmp(objectives[i].name, name) == 0)
			return &objectives[i];
	return NULL;
}

int
objective_count(void)
{
	return (int) (sizeof(objectives) / sizeof(objectives[0]));
}

const Objective *
objective_at(int index)
{
	return &objectives[index];
}

const char *
objective_rows_name(ObjectiveRows rows)
{
	static const char *const names[] = {
		[ROWS_ALL] = "all",
		[ROWS_POSITIVE_REWARD] = "positive_reward",
		[ROWS_POSITIVE_ADVANTAGE] = "positive_advantage",
		[ROWS_PAIRS] = "pairs",
		[ROWS_LISTS] = "lists",
		[ROWS_PROMPTS] = "prompts",
	};

	return names[rows];
}

bool
objective_ranks(const Objective *objective)
{
	return objective->rows == ROWS_PAIRS || objective->rows == ROWS_LISTS;
}

bool
objective_rolls_out(const Objective *objective)
{
	return objective->rows == ROWS_PROMPTS;
}
