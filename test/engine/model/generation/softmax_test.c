/*
 * softmax_test.c
 *		Weights of a vocabulary's tokens are those of the C library, and the
 *		largest logit is found wherever it is.
 */
#include "near.h"

#include "base/random.h"
#include "model/generation/softmax.h"

#include <float.h>

#define COUNT 5003

static void
weights_are_exponentials(void **state)
{
	static float logits[COUNT];
	static double weight[COUNT];
	double expected = 0;
	double sum;

	(void) state;
	for (int i = 0; i < COUNT; i++)
		logits[i] = (float) -random_uniform(3, 0, (uint64_t) i) *
		            (float) (i % 7 == 0 ? 1000 : 40);
	logits[17] = 0;
	sum = softmax_weights(weight, logits, COUNT, 0, 0.9);
	for (int i = 0; i < COUNT; i++)
	{
		double exact = exp(logits[i] / 0.9);

		/* What is below 1e-307 may as well be 0. */
		assert_near(weight[i], exact, 4 * DBL_EPSILON * exact + 1e-307);
		expected += exact;
	}
	assert_true(weight[17] == 1);
	assert_near(sum, expected, 1e-13 * expected);
}

static void
sums_are_those_of_exponentials(void **state)
{
	float logits[COUNT];
	double expected = 0;

	(void) state;
	for (int i = 0; i < COUNT; i++)
	{
		logits[i] = (float) random_normal(4, 0, (uint64_t) i);
		expected += exp((double) logits[i] - 5);
	}
	assert_near(softmax_sum(logits, COUNT, 5), expected, 1e-13 * expected);
}

static void
the_first_of_the_largest_is_found(void **state)
{
	float logits[COUNT];

	(void) state;
	for (int count = 1; count <= COUNT; count += count < 600 ? 1 : 397)
		for (int at = 0; at < count; at += 1 + count / 50)
		{
			for (int i = 0; i < count; i++)
				logits[i] = -2 - (float) (i % 3);
			logits[at] = logits[count - 1] = -1;
			assert_int_equal(softmax_largest(logits, count), at);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights_are_exponentials),
		cmocka_unit_test(sums_are_those_of_exponentials),
		cmocka_unit_test(the_first_of_the_largest_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
