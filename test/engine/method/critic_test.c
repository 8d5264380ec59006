/*
 * critic_test.c
 *		The objectives of classifiers: values by hand, gradients by differences.
 */
#include "near.h"

#include "method/critic.h"

#define LABELS 3

static double
loss_of(const char *name, int count, int labels, const float *logits,
        const double *label, float *grad, ObjectiveStats *stats)
{
	CriticGroup group = {count, labels, logits, label};

	return critic_find(name)->loss(&group, grad, stats);
}

static void
classification_is_the_negative_log_of_softmax(void **state)
{
	const float logits[] = {0, logf(2), logf(5)};
	const double label = 1;
	float grad[LABELS];
	ObjectiveStats stats = {0};

	(void) state;
	assert_near(loss_of("classification", 1, 3, logits, &label, grad, &stats),
	            -log(2.0 / 8), 1e-6);
	assert_near(grad[0], 1.0 / 8, 1e-6);
	assert_near(grad[1], 2.0 / 8 - 1, 1e-6);
	assert_near(grad[2], 5.0 / 8, 1e-6);
	assert_int_equal(stats.classified, 1);
	assert_int_equal(stats.hits, 0);
}

static void
regression_is_the_squared_error(void **state)
{
	const float logit = 1.5f;
	const double label = -0.5;
	float grad;
	ObjectiveStats stats = {0};

	(void) state;
	assert_near(loss_of("regression", 1, 1, &logit, &label, &grad, &stats), 4,
	            1e-12);
	assert_near(grad, 4, 1e-6);
}

static void
pairs_are_bradley_terry(void **state)
{
	const float logits[] = {1, 1 + logf(3)};
	const double label[] = {0, 0};
	float grad[2];
	ObjectiveStats stats = {0};

	(void) state;
	/* sigmoid(-log 3) = 1 / 4 */
	assert_near(loss_of("pairwise", 2, 1, logits, label, grad, &stats), log(4),
	            1e-6);
	assert_near(grad[0], -0.75, 1e-6);
	assert_near(grad[1], 0.75, 1e-6);
	assert_int_equal(stats.compared, 1);
	assert_int_equal(stats.ordered, 0);
}

static void
large_outputs_do_not_overflow(void **state)
{
	const float far[] = {-2000, 2000};
	const double label[] = {0, 0};
	float grad[2];
	ObjectiveStats stats = {0};

	(void) state;
	assert_near(loss_of("pairwise", 2, 1, far, label, grad, &stats), 4000,
	            1e-9);
	assert_near(grad[0], -1, 1e-9);
	assert_near(loss_of("classification", 1, 2, far, label, grad, &stats), 4000,
	            1e-9);
	assert_near(critic_sigmoid(-2000), 0, 1e-300);
	assert_near(critic_sigmoid(2000), 1, 1e-300);
}

static void
check_gradient(const char *name, int count, int labels, double label)
{
	const float logits[] = {0.7f, -1.2f, 0.4f};
	const double target[] = {label, label};
	float grad[LABELS], unused[LABELS];
	ObjectiveStats stats = {0};

	(void) loss_of(name, count, labels, logits, target, grad, &stats);
	for (int i = 0; i < count * labels; i++)
	{
		float up[LABELS], down[LABELS];
		const float step = 1e-2f;

		memcpy(up, logits, sizeof(up));
		memcpy(down, logits, sizeof(down));
		up[i] += step;
		down[i] -= step;
		assert_near(
			grad[i],
			(loss_of(name, count, labels, up, target, unused, &stats) -
		     loss_of(name, count, labels, down, target, unused, &stats)) /
				((double) up[i] - (double) down[i]),
			1e-4);
	}
}

static void
gradients_are_those_of_differences(void **state)
{
	(void) state;
	for (int label = 0; label < 3; label++)
		check_gradient("classification", 1, 3, label);
	check_gradient("regression", 1, 1, 2.25);
	check_gradient("pairwise", 2, 1, 0);
}

static void
names_are_those_of_sql(void **state)
{
	(void) state;
	assert_int_equal(critic_count(), 3);
	assert_null(critic_find("a_lol"));
	assert_null(objective_find("classification"));
	assert_true(objective_ranks(&critic_find("pairwise")->draws));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classification_is_the_negative_log_of_softmax),
		cmocka_unit_test(regression_is_the_squared_error),
		cmocka_unit_test(pairs_are_bradley_terry),
		cmocka_unit_test(large_outputs_do_not_overflow),
		cmocka_unit_test(gradients_are_those_of_differences),
		cmocka_unit_test(names_are_those_of_sql),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
