/*
 * ppo.c
 *		Proximal policy optimisation: from rewards of whole responses to losses
 *		of tokens.
 */
#include "method/ppo.h"

#include <float.h>
#include <math.h>

/* The coefficient changes by at most this part of a horizon's share. */
#define KL_ERROR_MAX 0.2

/* What whitening adds to the variance. */
#define WHITEN_EPSILON 1e-8

/* Passes go on until their KL is so many times the limit. */
#define STOP_MARGIN 1.5

/* exp() of no more: the update is not made anyway. */
#define LOG_RATIO_MAX 30.0

static double
clamp(double x, double low, double high)
{
	return fmin(fmax(x, low), high);
}

void
score_moments_add(ScoreMoments *moments, const double *score, int count)
{
	double mean = 0, squares = 0, delta, total;

	for (int i = 0; i < count; i++)
		mean += score[i] / count;
	for (int i = 0; i < count; i++)
		squares += (score[i] - mean) * (score[i] - mean);
	delta = mean - moments->mean;
	total = moments->count + count;
	squares += moments->variance * moments->count +
	           delta * delta * moments->count * count / total;
	moments->mean += delta * count / total;
	moments->variance = squares / total;
	moments->count = total;
}

double
ppo_score(const ScoreMoments *moments, const PpoOptions *options, double score)
{
	double n = moments->count;
	double deviation = n < 2 ? 1 : sqrt(moments->variance * n / (n - 1));

	if (options->normalizes_scores)
		score -= moments->mean;
	if (options->normalizes_scores || options->scales_scores)
		score /= deviation + (double) FLT_EPSILON;
	if (options->score_clip > 0)
		score = clamp(score, -options->score_clip, options->score_clip);
	return score;
}

double
ppo_next_kl_coefficient(const PpoOptions *options, double coefficient,
                        double kl, int responses)
{
	double error =
		clamp(kl / options->kl_target - 1, -KL_ERROR_MAX, KL_ERROR_MAX);

	return coefficient * (1 + error * responses / options->kl_horizon);
}

double
ppo_rewards(const float *logp, const float *ref_logp, int tokens,
            double coefficient, double score, double *reward)
{
	double total = 0;

	for (int t = 0; t < tokens; t++)
	{
		reward[t] = -coefficient * ((double) logp[t] - (double) ref_logp[t]);
		total += reward[t];
	}
	reward[tokens - 1] += score;
	return total;
}

void
ppo_advantages(const PpoOptions *options, const double *reward,
               const float *value, int tokens, double *advantage,
               double *target)
{
	double next_value = 0, next_advantage = 0;

	for (int t = tokens - 1; t >= 0; t--)
	{
		double delta = reward[t] + options->gamma * next_value - value[t];

		advantage[t] =
			delta + options->gamma * options->lambda * next_advantage;
		target[t] = advantage[t] + value[t];
		next_value = value[t];
		next_advantage = advantage[t];
	}
}

void
ppo_whiten(double *number, int64_t count)
{
	double mean = 0, squares = 0, scale;

	if (count < 2)
		return;
	for (int64_t i = 0; i < count; i++)
		mean += number[i] / (double) count;
	for (int64_t i = 0; i < count; i++)
		squares += (number[i] - mean) * (number[i] - mean);
	scale = 1 / sqrt(squares / (double) (count - 1) + WHITEN_EPSILON);
	for (int64_t i = 0; i < count; i++)
		number[i] = (number[i] - mean) * scale;
}

/* Where clipping is the greater loss there is nothing to gain: no gradient. */
static double
policy_loss(const PpoTokens *tokens, int t, const PpoOptions *options,
            double *gradient, PpoStats *stats)
{
	double difference = (double) tokens->logp[t] - (double) tokens->old_logp[t];
	double ratio = exp(fmin(difference, LOG_RATIO_MAX));
	double free_loss = -tokens->advantage[t] * ratio;
	double clipped_loss = free_loss;
	bool is_clipped;

	if (options->clip_range >= 0)
		clipped_loss =
			-tokens->advantage[t] *
			clamp(ratio, 1 - options->clip_range, 1 + options->clip_range);
	is_clipped = clipped_loss > free_loss;
	*gradient = is_clipped ? 0 : free_loss;
	stats->ratio += ratio;
	stats->clipped += is_clipped;
	stats->kl -= difference;
	stats->square_kl += difference * difference / 2;
	return is_clipped ? clipped_loss : free_loss;
}

static double
value_loss(const PpoTokens *tokens, int t, const PpoOptions *options,
           double *gradient, PpoStats *stats)
{
	double value = tokens->value[t], old = tokens->old_value[t];
	double bounded =
		clamp(value, old - options->clip_value, old + options->clip_value);
	double error = value - tokens->target[t];
	double bounded_error = bounded - tokens->target[t];
	bool is_clipped = bounded_error * bounded_error > error * error;

	*gradient = is_clipped ? 0 : error;
	stats->value_clipped += is_clipped;
	stats->value += value;
	stats->value_error += error * error;
	return 0.5 * (is_clipped ? bounded_error * bounded_error : error * error);
}

double
ppo_loss(const PpoTokens *tokens, const PpoOptions *options, float *dlogp,
         float *dvalue, PpoStats *stats)
{
	double total = 0;

	for (int t = 0; t < tokens->count; t++)
	{
		double policy_gradient, value_gradient;
		double policy =
			policy_loss(tokens, t, options, &policy_gradient, stats);
		double value = value_loss(tokens, t, options, &value_gradient, stats);

		dlogp[t] = (float) policy_gradient;
		dvalue[t] = (float) (options->value_weight * value_gradient);
		stats->policy_loss += policy;
		stats->value_loss += value;
		total += policy + options->value_weight * value;
	}
	stats->tokens += tokens->count;
	return total;
}

bool
ppo_stops(const PpoOptions *options, const PpoStats *last)
{
	return options->stop_kl > 0 &&
	       last->kl > STOP_MARGIN * options->stop_kl * (double) last->tokens;
}
