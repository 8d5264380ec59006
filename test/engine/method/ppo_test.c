/*
 * ppo_test.c
 *		Method ppo against a reference in double (test/golden/make_ppo.py), by
 *		finite differences, and where its bounds begin.
 */
#include "near.h"

#include "method/ppo.h"

#define TOKENS 16
#define RESPONSES 8

static const PpoOptions defaults = {.epochs = 4,
                                    .clip_range = 0.2,
                                    .clip_value = 0.2,
                                    .value_weight = 0.1,
                                    .gamma = 1,
                                    .lambda = 0.95,
                                    .kl_coefficient = 0.2,
                                    .kl_target = 6,
                                    .kl_horizon = 10000,
                                    .normalizes_scores = true};

static double
number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static int
read_doubles(const json_t *object, const char *key, double *target)
{
	const json_t *array = json_object_get(object, key);

	assert_true(json_array_size(array) <= TOKENS);
	for (size_t i = 0; i < json_array_size(array); i++)
		target[i] = json_number_value(json_array_get(array, i));
	return (int) json_array_size(array);
}

static void
read_floats(const json_t *object, const char *key, float *target)
{
	double wide[TOKENS];
	int count = read_doubles(object, key, wide);

	for (int i = 0; i < count; i++)
		target[i] = (float) wide[i];
}

static PpoOptions
read_options(const json_t *json)
{
	const json_t *clip = json_object_get(json, "clip_range");
	PpoOptions options = {
		.clip_range = json_is_null(clip) ? -1 : json_number_value(clip),
		.clip_value = number(json, "cliprange_value"),
		.value_weight = number(json, "vf_coef"),
		.gamma = number(json, "gamma"),
		.lambda = number(json, "lam"),
		.kl_coefficient = number(json, "init_kl_coef"),
		.kl_target = number(json, "target_kl"),
		.kl_horizon = number(json, "kl_horizon"),
		.normalizes_scores = json_is_true(json_object_get(json, "score_norm")),
		.scales_scores = json_is_true(json_object_get(json, "score_scaling")),
		.score_clip = number(json, "score_clip")};

	return options;
}

/* One response, from its score to its advantages; returns its KL. */
static double
check_advantages(const PpoOptions *options, const json_t *response,
                 double coefficient, double score, double *advantage)
{
	float logp[TOKENS], ref_logp[TOKENS], value[TOKENS];
	double reward[TOKENS], target[TOKENS], expected[TOKENS];
	int tokens = read_doubles(response, "target", expected);
	double kl = 0;

	read_floats(response, "old_logp", logp);
	read_floats(response, "ref_logp", ref_logp);
	read_floats(response, "old_value", value);
	for (int t = 0; t < tokens; t++)
		kl += (double) logp[t] - (double) ref_logp[t];
	assert_near(ppo_rewards(logp, ref_logp, tokens, coefficient, score, reward),
	            -coefficient * kl, 1e-12);
	ppo_advantages(options, reward, value, tokens, advantage, target);
	for (int t = 0; t < tokens; t++)
		assert_near(target[t], expected[t], 1e-12);
	return kl;
}

static void
check_loss(const PpoOptions *options, const json_t *response)
{
	float logp[TOKENS], value[TOKENS], old_logp[TOKENS], old_value[TOKENS];
	double advantage[TOKENS], target[TOKENS], dlogp[TOKENS], dvalue[TOKENS];
	float got_dlogp[TOKENS], got_dvalue[TOKENS];
	PpoTokens tokens = {.count = read_doubles(response, "target", target),
	                    .logp = logp,
	                    .value = value,
	                    .old_logp = old_logp,
	                    .old_value = old_value,
	                    .advantage = advantage,
	                    .target = target};
	PpoStats stats = {0};

	read_floats(response, "logp", logp);
	read_floats(response, "value", value);
	read_floats(response, "old_logp", old_logp);
	read_floats(response, "old_value", old_value);
	read_doubles(response, "advantage", advantage);
	read_doubles(response, "dlogp", dlogp);
	read_doubles(response, "dvalue", dvalue);
	assert_near(ppo_loss(&tokens, options, got_dlogp, got_dvalue, &stats),
	            number(response, "policy_loss") +
	                options->value_weight * number(response, "value_loss"),
	            1e-11);
	assert_near(stats.policy_loss, number(response, "policy_loss"), 1e-11);
	assert_near(stats.value_loss, number(response, "value_loss"), 1e-11);
	assert_int_equal(stats.tokens, tokens.count);
	for (int t = 0; t < tokens.count; t++)
	{
		assert_near(got_dlogp[t], dlogp[t], 1e-7 * fabs(dlogp[t]));
		assert_near(got_dvalue[t], dvalue[t], 1e-7 * fabs(dvalue[t]));
	}
}

/* Returns the coefficient of the next step. */
static double
check_step(const PpoOptions *options, const json_t *step, ScoreMoments *moments,
           double coefficient)
{
	const json_t *responses = json_object_get(step, "responses");
	double score[TOKENS], used[TOKENS], expected[TOKENS];
	double advantage[RESPONSES * TOKENS];
	int count = read_doubles(step, "scores", score);
	int place = 0;
	double kl = 0;

	read_doubles(step, "used", used);
	score_moments_add(moments, score, count);
	assert_near(coefficient, number(step, "kl_coef"), 1e-14);
	for (int i = 0; i < count; i++)
	{
		const json_t *response = json_array_get(responses, (size_t) i);

		assert_near(ppo_score(moments, options, score[i]), used[i], 1e-12);
		kl += check_advantages(options, response, coefficient, used[i],
		                       advantage + place);
		place += (int) json_array_size(json_object_get(response, "target"));
		check_loss(options, response);
	}
	ppo_whiten(advantage, place);
	place = 0;
	for (int i = 0; i < count; i++)
	{
		int tokens = read_doubles(json_array_get(responses, (size_t) i),
		                          "advantage", expected);

		for (int t = 0; t < tokens; t++)
			assert_near(advantage[place++], expected[t], 1e-11);
	}
	assert_near(kl / count, number(step, "kl"), 1e-12);
	coefficient =
		ppo_next_kl_coefficient(options, coefficient, kl / count, count);
	assert_near(coefficient, number(step, "next_kl_coef"), 1e-14);
	return coefficient;
}

static void
steps_are_those_of_the_reference(void **state)
{
	Arena *arena = arena_create();
	json_t *cases = json_object_get(
		test_read_json(arena, test_golden_path(arena, "ppo"), "cases.json"),
		"cases");

	(void) state;
	assert_true(json_array_size(cases) > 0);
	for (size_t i = 0; i < json_array_size(cases); i++)
	{
		const json_t *one = json_array_get(cases, i);
		const json_t *steps = json_object_get(one, "steps");
		PpoOptions options = read_options(json_object_get(one, "options"));
		ScoreMoments moments = {0};
		double coefficient = options.kl_coefficient;

		for (size_t j = 0; j < json_array_size(steps); j++)
			coefficient = check_step(&options, json_array_get(steps, j),
			                         &moments, coefficient);
	}
	arena_destroy(arena);
}

/* ------------------------------------------------------------ one token */

typedef struct OneToken
{
	float logp, value, old_logp, old_value;
	double advantage, target;
	float dlogp, dvalue;
	PpoStats stats;
} OneToken;

static double
loss_of(OneToken *at)
{
	PpoTokens tokens = {1,
	                    &at->logp,
	                    &at->value,
	                    &at->old_logp,
	                    &at->old_value,
	                    &at->advantage,
	                    &at->target};

	memset(&at->stats, 0, sizeof(at->stats));
	return ppo_loss(&tokens, &defaults, &at->dlogp, &at->dvalue, &at->stats);
}

static void
what_has_gained_enough_gains_no_more(void **state)
{
	OneToken at = {.logp = -1, .old_logp = -1.5F, .advantage = 2};

	(void) state;
	assert_near(loss_of(&at), -2 * 1.2, 1e-12);
	assert_near(at.dlogp, 0, 0);
	assert_int_equal(at.stats.clipped, 1);
	/* But a token that went the wrong way is brought back. */
	at.logp = -2;
	assert_near(loss_of(&at), -2 * exp(-0.5), 1e-12);
	assert_near(at.dlogp, -2 * exp(-0.5), 1e-7);
	assert_int_equal(at.stats.clipped, 0);
}

static void
what_has_lost_enough_loses_no_more(void **state)
{
	OneToken at = {.logp = -2, .old_logp = -1.5F, .advantage = -2};

	(void) state;
	assert_near(loss_of(&at), 2 * 0.8, 1e-12);
	assert_near(at.dlogp, 0, 0);
	at.logp = -1;
	assert_near(loss_of(&at), 2 * exp(0.5), 1e-12);
	assert_near(at.dlogp, 2 * exp(0.5), 1e-6);
}

static void
values_are_clipped_around_the_old_ones(void **state)
{
	OneToken at = {.value = 1, .old_value = 0.5F, .target = 1.25};

	(void) state;
	/* 0.7 is further from the target than 1: its loss, and no gradient. */
	assert_near(loss_of(&at), 0.1 * 0.5 * 0.55 * 0.55, 1e-12);
	assert_near(at.dvalue, 0, 0);
	assert_int_equal(at.stats.value_clipped, 1);
	at.target = 0;
	assert_near(loss_of(&at), 0.1 * 0.5, 1e-12);
	assert_near(at.dvalue, 0.1, 1e-8);
}

static void
gradients_are_those_of_the_loss(void **state)
{
	const float step = 1e-3F;

	(void) state;
	for (int i = 0; i < 60; i++)
	{
		OneToken at = {.logp = -1 + 0.01F * (float) (i % 13),
		               .value = 0.03F * (float) (i % 7),
		               .old_logp = -1 + 0.05F * (float) (i % 5),
		               .old_value = 0.1F * (float) (i % 3),
		               .advantage = i % 4 - 1.5,
		               .target = 0.37 * (i % 6) - 0.5};
		OneToken up = at, down = at;
		float dlogp, dvalue;

		loss_of(&at);
		dlogp = at.dlogp;
		dvalue = at.dvalue;
		up.logp += step;
		down.logp -= step;
		/* Not across an edge. */
		if (loss_of(&up), loss_of(&down),
		    up.stats.clipped == down.stats.clipped)
			assert_near((loss_of(&up) - loss_of(&down)) /
			                ((double) up.logp - (double) down.logp),
			            dlogp, 1e-5);
		up = down = at;
		up.value += step;
		down.value -= step;
		if (loss_of(&up), loss_of(&down),
		    up.stats.value_clipped == down.stats.value_clipped)
			assert_near((loss_of(&up) - loss_of(&down)) /
			                ((double) up.value - (double) down.value),
			            dvalue, 1e-5);
	}
}

static void
no_ratio_overflows(void **state)
{
	OneToken at = {.logp = 0, .old_logp = -1e4F, .advantage = -1};

	(void) state;
	assert_true(isfinite(loss_of(&at)));
	assert_true(isfinite(at.dlogp));
	assert_true(at.stats.ratio > PPO_RATIO_MAX);
}

static void
too_few_scores_have_no_deviation(void **state)
{
	const double score[] = {3, 3, 3};
	ScoreMoments moments = {0};

	(void) state;
	score_moments_add(&moments, score, 1);
	assert_near(ppo_score(&moments, &defaults, 4), 1, 1e-6);
	score_moments_add(&moments, score, 3);
	assert_near(ppo_score(&moments, &defaults, 3), 0, 0);
}

/* Half as far again as the limit is too far. */
static void
passes_end_far_from_where_they_began(void **state)
{
	PpoOptions options = defaults;
	PpoStats last = {.tokens = 10, .kl = 3.1};

	(void) state;
	assert_false(ppo_stops(&options, &last));
	options.stop_kl = 0.2;
	assert_true(ppo_stops(&options, &last));
	last.kl = 2.9;
	assert_false(ppo_stops(&options, &last));
	assert_false(ppo_stops(&options, &(PpoStats){0}));
}

static void
one_number_is_not_whitened(void **state)
{
	double number[] = {7, 7};

	(void) state;
	ppo_whiten(number, 1);
	assert_near(number[0], 7, 0);
	ppo_whiten(number, 2);
	assert_near(number[0], 0, 0);
}

static void
the_coefficient_moves_by_a_fifth_of_a_share(void **state)
{
	(void) state;
	assert_near(ppo_next_kl_coefficient(&defaults, 0.2, 600, 100),
	            0.2 * (1 + 0.2 * 0.01), 1e-15);
	assert_near(ppo_next_kl_coefficient(&defaults, 0.2, -600, 100),
	            0.2 * (1 - 0.2 * 0.01), 1e-15);
	assert_near(ppo_next_kl_coefficient(&defaults, 0.2, 6.6, 100),
	            0.2 * (1 + 0.1 * 0.01), 1e-15);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_those_of_the_reference),
		cmocka_unit_test(what_has_gained_enough_gains_no_more),
		cmocka_unit_test(what_has_lost_enough_loses_no_more),
		cmocka_unit_test(values_are_clipped_around_the_old_ones),
		cmocka_unit_test(gradients_are_those_of_the_loss),
		cmocka_unit_test(no_ratio_overflows),
		cmocka_unit_test(too_few_scores_have_no_deviation),
		cmocka_unit_test(passes_end_far_from_where_they_began),
		cmocka_unit_test(one_number_is_not_whitened),
		cmocka_unit_test(the_coefficient_moves_by_a_fifth_of_a_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
