/*
 * preference_test.c
 *		Losses and gradients of pairs and lists by numbers one can check, by
 *		finite differences, and at the ends of the number range.
 */
#include "near.h"

#include "method/objective.h"

static const ObjectiveOptions defaults = {0.9, 0.1, 0.1, 0.05};

#define TOKENS 64

/* A group of `count` responses with two tokens each and these rewards. */
typedef struct Case
{
	int count;
	double reward[8];
	float logp[TOKENS];
	float ref_logp[TOKENS];
	float grad[TOKENS];
	ObjectiveStats stats;
} Case;

static double
loss_of(Case *at, const char *method, const ObjectiveOptions *options)
{
	const int32_t offset[] = {0, 2, 4, 6, 8, 10, 12, 14, 16};
	const double advantage[8] = {0};
	const ObjectiveGroup group = {at->count,    offset,     at->logp,
	                              at->ref_logp, at->reward, advantage};

	memset(&at->stats, 0, sizeof(at->stats));
	return objective_find(method)->loss(&group, options, at->grad, &at->stats);
}

/* l_w = -3, l_l = -5, r_w = -2, r_l = -6: x = 0.1 * (-1 - 1) */
static Case
pair(void)
{
	return (Case){
		.count = 2, .logp = {-1, -2, -2, -3}, .ref_logp = {-1, -1, -3, -3}};
}

static void
dpo_is_the_logistic_loss_of_the_margin(void **state)
{
	Case at = pair();
	double wrong = 1 / (1 + exp(-0.2)); /* sigma(-x) */

	(void) state;
	assert_near(loss_of(&at, "dpo", &defaults), log(1 + exp(0.2)), 1e-12);
	for (int t = 0; t < 4; t++)
		assert_near(at.grad[t], (t < 2 ? -0.1 : 0.1) * wrong, 1e-8);
	assert_near(at.stats.best_score, -0.1, 1e-7);
	assert_near(at.stats.worst_score, 0.1, 1e-7);
	assert_near(at.stats.best_logp, -3, 0);
	assert_near(at.stats.worst_logp, -5, 0);
	assert_int_equal(at.stats.groups, 1);
	assert_int_equal(at.stats.compared, 1);
	assert_int_equal(at.stats.ordered, 0);
}

static void
without_a_reference_r_is_0(void **state)
{
	Case at = pair();

	(void) state;
	at.ref_logp[0] = 77; /* is not read */
	assert_near(loss_of(&at, "dpo_ref_free", &defaults), log(1 + exp(-0.2)),
	            1e-12);
	assert_near(at.grad[0], -0.1 / (1 + exp(0.2)), 1e-8);
	assert_int_equal(at.stats.ordered, 1);
}

static void
where_policy_is_the_reference_dpo_is_log_2(void **state)
{
	Case at = pair();

	(void) state;
	memcpy(at.ref_logp, at.logp, sizeof(at.logp));
	assert_near(loss_of(&at, "dpo", &defaults), log(2), 1e-15);
	assert_int_equal(at.stats.ordered, 0); /* a tie is not yet right */
}

static void
dpo_is_linear_far_from_the_border(void **state)
{
	Case at = pair();

	(void) state;
	at.logp[0] = -1e6f;
	assert_near(loss_of(&at, "dpo", &defaults), 1e5, 1);
	assert_near(at.grad[0], -0.1, 1e-8);
	at.logp[0] = 0;
	at.logp[2] = -1e6f;
	assert_near(loss_of(&at, "dpo", &defaults), 0, 1e-300);
	assert_near(at.grad[0], 0, 0);
}

/* Two responses: log(e^(s_1 d) + e^(s_2 d)) - s_1 d with d = R_1 - R_2. */
static void
pro_of_two_is_a_softmax(void **state)
{
	Case at = {.count = 2, .reward = {0.75, 0.25}, .logp = {-1, -2, -2, -3}};
	double first = exp(-1.5 * 0.5), second = exp(-2.5 * 0.5);
	double rank = log(first + second) + 1.5 * 0.5;
	double share = second / (first + second);

	(void) state;
	assert_near(loss_of(&at, "pro", &defaults), rank + 0.05 * 3, 1e-12);
	assert_near(at.grad[0], -0.5 * share / 2 - 0.05, 1e-8);
	assert_near(at.grad[2], 0.5 * share / 2, 1e-8);
	assert_near(at.stats.best_score, -1.5, 1e-12);
	assert_near(at.stats.worst_score, -2.5, 1e-12);
	assert_int_equal(at.stats.compared, 1);
	assert_int_equal(at.stats.ordered, 1);
}

static void
the_best_of_k_weighs_k_minus_1_squared(void **state)
{
	const ObjectiveOptions none = {0.9, 0.1, 0.1, 0};
	Case at = {.count = 4,
	           .reward = {1, 0.5, 0.25, 0},
	           .logp = {-1, -1, -1, -1, -1, -1, -1, -1}};
	double without, with;

	(void) state;
	without = loss_of(&at, "pro", &none);
	with = loss_of(&at, "pro", &defaults);
	assert_near(with - without, 0.05 * 9 * 2, 1e-12);
}

static void
equal_rewards_have_no_gradient_between_each_other(void **state)
{
	const ObjectiveOptions none = {0.9, 0.1, 0.1, 0};
	Case at = {.count = 3,
	           .reward = {0.5, 0.5, 0.5},
	           .logp = {-1, -2, -3, -4, -5, -6}};

	(void) state;
	assert_near(loss_of(&at, "pro", &none), log(3) + log(2), 1e-12);
	for (int t = 0; t < 6; t++)
		assert_near(at.grad[t], 0, 0);
	assert_int_equal(at.stats.compared, 0);
}

static void
huge_rewards_overflow_nothing(void **state)
{
	Case at = {.count = 3,
	           .reward = {1e6, 0, -1e6},
	           .logp = {-1, -2, -30, -40, -500, -600}};
	double loss = loss_of(&at, "pro", &defaults);

	(void) state;
	assert_true(isfinite(loss));
	for (int t = 0; t < 6; t++)
		assert_true(isfinite(at.grad[t]));
}

/* dL/dl_t by differences of the loss, for groups of every size. */
static void
gradients_are_those_of_the_loss(void **state)
{
	static const char *const methods[] = {"dpo", "dpo_ref_free", "pro"};
	const double step = 1.0 / 1024; /* exact in float at these sizes */

	(void) state;
	for (int m = 0; m < 3; m++)
	{
		for (int count = 2; count <= (m < 2 ? 2 : 8); count++)
		{
			Case at = {.count = count};

			for (int i = 0; i < count; i++)
				at.reward[i] = 2 - 0.75 * (i / 2); /* with ties */
			for (int t = 0; t < 2 * count; t++)
			{
				at.logp[t] = -0.5f - (float) (t * 37 % 16) / 8;
				at.ref_logp[t] = -1.0f - (float) (t * 11 % 16) / 8;
			}
			for (int t = 0; t < 2 * count; t++)
			{
				float middle = at.logp[t];
				double above, below;

				at.logp[t] = middle + (float) step;
				above = loss_of(&at, methods[m], &defaults);
				at.logp[t] = middle - (float) step;
				below = loss_of(&at, methods[m], &defaults);
				at.logp[t] = middle;
				(void) loss_of(&at, methods[m], &defaults);
				assert_near(at.grad[t], (above - below) / (2 * step), 1e-6);
			}
		}
	}
}

static void
methods_name_their_groups(void **state)
{
	(void) state;
	assert_string_equal(objective_rows_name(objective_find("dpo")->rows),
	                    "pairs");
	assert_string_equal(objective_rows_name(objective_find("pro")->rows),
	                    "lists");
	assert_true(objective_find("dpo")->needs_reference);
	assert_false(objective_find("dpo_ref_free")->needs_reference);
	assert_false(objective_find("pro")->needs_reference);
	assert_true(objective_ranks(objective_find("dpo_ref_free")));
	assert_false(objective_ranks(objective_find("a_lol")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dpo_is_the_logistic_loss_of_the_margin),
		cmocka_unit_test(without_a_reference_r_is_0),
		cmocka_unit_test(where_policy_is_the_reference_dpo_is_log_2),
		cmocka_unit_test(dpo_is_linear_far_from_the_border),
		cmocka_unit_test(pro_of_two_is_a_softmax),
		cmocka_unit_test(the_best_of_k_weighs_k_minus_1_squared),
		cmocka_unit_test(equal_rewards_have_no_gradient_between_each_other),
		cmocka_unit_test(huge_rewards_overflow_nothing),
		cmocka_unit_test(gradients_are_those_of_the_loss),
		cmocka_unit_test(methods_name_their_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
