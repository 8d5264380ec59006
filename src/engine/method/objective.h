/*
 * objective.h
 *		Training objectives: token log-probabilities in, gradient out.
 *
 * x is the prompt, y the response with its EOS, l_t = log pi(y_t | x, y_<t),
 * l = sum l_t; r_t and r the same under the frozen reference policy.  R is the
 * reward, V the value of the reference policy at x, A = R - V.  sg[] holds its
 * argument constant, eps is clip_range.  arXiv 2305.14718.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A response, a pair or a list, the best first: i owns the tokens
 * [offset[i], offset[i + 1]). */
typedef struct ObjectiveGroup
{
	int count;               /* responses */
	const int32_t *offset;   /* [count + 1] */
	const float *logp;       /* [offset[count]] policy, nats */
	const float *ref_logp;   /* [offset[count]] reference; NULL if not needed */
	const double *reward;    /* [count] */
	const double *advantage; /* [count] reward minus value */
} ObjectiveGroup;

/* The longest list that an objective takes. */
#define OBJECTIVE_LIST_MAX 1024

typedef struct ObjectiveOptions
{
	double clip_range; /* eps; negative: no clipping */
	double beta;       /* of a_lol_kl and dpo */
	double gold_floor; /* u of r_gold */
	double sft_weight; /* of pro's best response */
} ObjectiveOptions;

/* What the importance ratios and the rankings of a step were; added to by
 * each loss. */
typedef struct ObjectiveStats
{
	int64_t ratios;   /* responses, or tokens where each has its own */
	int64_t clipped;  /* of them, outside [1 - eps, 1 + eps] */
	double ratio_sum; /* before clipping, exp(min(l - r, 30)) */
	double ratio_squares;

	/* Pairs and lists; a response's score is beta * (l - r) for dpo, l / |y|
	 * for pro. */
	int64_t groups;
	int64_t compared;   /* two responses of a group whose rewards differ */
	int64_t ordered;    /* of these, those that the scores order alike */
	double best_score;  /* sums over the groups: of the best response, */
	double worst_score; /* of the worst, */
	double best_logp;   /* and their l */
	double worst_logp;

	/* Classifiers: texts with a label, and those that got it. */
	int64_t classified;
	int64_t hits;
} ObjectiveStats;

/* Adds what other groups were. */
extern void objective_stats_add(ObjectiveStats *sum,
                                const ObjectiveStats *more);

/*
 * Loss of one group.  grad, shaped like logp and owned by the caller, receives
 * dLoss/dlogp; the caller divides by the groups of the step.  Cannot fail:
 * inputs are checked before.
 */
typedef double (*ObjectiveLoss)(const ObjectiveGroup *group,
                                const ObjectiveOptions *options, float *grad,
                                ObjectiveStats *stats);

/* Rows that a method trains on, and by what they are drawn. */
typedef enum ObjectiveRows
{
	ROWS_ALL,                /* uniformly */
	ROWS_POSITIVE_REWARD,    /* R > 0, in proportion to R */
	ROWS_POSITIVE_ADVANTAGE, /* A > 0, in proportion to A */
	ROWS_PAIRS,              /* two responses to a prompt, uniformly */
	ROWS_LISTS,              /* two or more, by falling reward, uniformly */
	ROWS_PROMPTS             /* uniformly; responses are the policy's own */
} ObjectiveRows;

typedef struct Objective
{
	const char *name; /* in SQL */
	ObjectiveRows rows;
	bool needs_reference; /* reads ref_logp */
	ObjectiveLoss loss;   /* NULL where rows are prompts: see ppo.h */
} Objective;

/* The objective that SQL calls `name`, in static storage, or NULL. */
extern const Objective *objective_find(const char *name);

extern int objective_count(void);
extern const Objective *objective_at(int index);

/* "all", "positive_reward", "positive_advantage", "pairs", "lists",
 * "prompts". */
extern const char *objective_rows_name(ObjectiveRows rows);

/* True where a group is more than one response. */
extern bool objective_ranks(const Objective *objective);

/* True where the policy's own responses are trained on, step by step. */
extern bool objective_rolls_out(const Objective *objective);
