/*
 * ppo.h
 *		Proximal policy optimisation (arXiv 1707.06347) as TRL 0.7 does it:
 *		from rewards of whole responses to losses of tokens.
 *
 * l_t is a token's log-probability, V_t the value of what precedes it, both of
 * the policy as it is; l'_t and V'_t are those of the policy that gave the
 * response, r_t is the reference's.  KL = sum (l'_t - r_t) of a response.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct PpoOptions
{
	int epochs;             /* over the responses of a step */
	int mini_batch;         /* responses of an update; 0: all of a step */
	double clip_range;      /* of the ratio; negative: no clipping */
	double clip_value;      /* of V around V' */
	double value_weight;    /* of its loss */
	double gamma;           /* discount of later rewards */
	double lambda;          /* of generalised advantages */
	double kl_coefficient;  /* of the first step */
	double kl_target;       /* KL towards which it is steered, nats */
	double kl_horizon;      /* responses until it is much changed */
	bool normalizes_scores; /* to mean 0 and deviation 1 */
	bool scales_scores;     /* else: to deviation 1 */
	double score_clip;      /* what is left is at most so large; 0: no limit */
	double stop_kl;         /* no more passes beyond it; 0: no limit */
} PpoOptions;

/* Mean and variance of all scores so far. */
typedef struct ScoreMoments
{
	double count;
	double mean;
	double variance; /* sum of squares / count */
} ScoreMoments;

/* Scores of one step more, merged in without a second look at the others
 * (Chan, Golub and LeVeque 1979). */
extern void score_moments_add(ScoreMoments *moments, const double *score,
                              int count);

/* As it is trained on: less the mean, by the (unbiased) deviation (fewer than
 * two have none, and then it is 1), and clipped, as the options say. */
extern double ppo_score(const ScoreMoments *moments, const PpoOptions *options,
                        double score);

/*
 * The coefficient of the next step, after one over so many responses whose
 * mean KL was kl: proportional control, by at most a fifth of the error
 * (arXiv 1909.08593, section 2.2).
 */
extern double ppo_next_kl_coefficient(const PpoOptions *options,
                                      double coefficient, double kl,
                                      int responses);

/*
 * reward[tokens]: -coefficient * (l'_t - r_t), and the score on the last.
 * Returns the sum without the score.
 */
extern double ppo_rewards(const float *logp, const float *ref_logp, int tokens,
                          double coefficient, double score, double *reward);

/*
 * Generalised advantages (arXiv 1506.02438) of one response:
 * advantage_t = sum_k (gamma lambda)^k delta_(t+k), delta_t = reward_t + gamma
 * V'_(t+1) - V'_t, nothing behind the end; target_t = advantage_t + V'_t.
 */
extern void ppo_advantages(const PpoOptions *options, const double *reward,
                           const float *value, int tokens, double *advantage,
                           double *target);

/* To mean 0 and (unbiased) variance 1; fewer than two stay as they are. */
extern void ppo_whiten(double *number, int64_t count);

/* Tokens of an update. */
typedef struct PpoTokens
{
	int count;
	const float *logp;       /* [count] l */
	const float *value;      /* [count] V */
	const float *old_logp;   /* [count] l' */
	const float *old_value;  /* [count] V' */
	const double *advantage; /* [count] whitened */
	const double *target;    /* [count] of V */
} PpoTokens;

/* Sums over tokens; added to by ppo_loss(). */
typedef struct PpoStats
{
	int64_t tokens;
	double policy_loss;
	double value_loss; /* without value_weight */
	double ratio;
	int64_t clipped;       /* by the range of the ratio */
	int64_t value_clipped; /* by that of values */
	double kl;             /* l' - l */
	double square_kl;      /* (l - l')^2 / 2 */
	double value;          /* V */
	double value_error;    /* (V - target)^2 */
} PpoStats;

/* An update whose mean ratio is beyond this is not made. */
#define PPO_RATIO_MAX 10.0

/*
 * Sum over the tokens of
 *		max(-A e^(l-l'), -A clip(e^(l-l'), 1-eps, 1+eps))
 *		+ value_weight / 2 * max((V - target)^2, (clip(V, V'-c, V'+c) - target)^2)
 * and its gradients dlogp[count] and dvalue[count]; the caller divides by the
 * tokens of the update.
 */
extern double ppo_loss(const PpoTokens *tokens, const PpoOptions *options,
                       float *dlogp, float *dvalue, PpoStats *stats);

/* Whether the policy has gone so far from the one that gave the responses, by
 * the last update over them, that they have no more to say: TRL's margin is
 * half of stop_kl. */
extern bool ppo_stops(const PpoOptions *options, const PpoStats *last);
