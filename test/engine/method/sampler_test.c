/*
 * sampler_test.c
 *		Draws: their distribution, their order, and that a step's depend on
 *		nothing but seed and step.
 */
#include "near.h"

#include "method/sampler.h"

static Sampler *
make(Arena *arena, SamplerKind kind, const double *weight, int rows, int batch,
     int64_t draws, uint64_t seed)
{
	Failure failure = {0};
	Sampler *sampler = NULL;

	assert_ok(sampler_create(arena, kind, weight, rows, batch, draws, seed,
	                         &sampler, &failure),
	          failure);
	return sampler;
}

static void
an_epoch_has_each_row_once_and_a_short_end(void **state)
{
	Arena *arena = arena_create();
	Sampler *sampler = make(arena, SAMPLER_UNIFORM, NULL, 10, 4, 10, 7);
	int seen[10] = {0};
	int32_t drawn[4];

	(void) state;
	for (int64_t step = 0; step < 3; step++)
	{
		assert_int_equal(sampler_draw(sampler, step, drawn), step < 2 ? 4 : 2);
		for (int i = 0; i < (step < 2 ? 4 : 2); i++)
			seen[drawn[i]]++;
	}
	for (int i = 0; i < 10; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(sampler_draw(sampler, 3, drawn), 0);
	arena_destroy(arena);
}

static void
epochs_are_shuffled_differently(void **state)
{
	Arena *arena = arena_create();
	Sampler *sampler = make(arena, SAMPLER_UNIFORM, NULL, 100, 100, 200, 1);
	int32_t first[100], second[100];
	int same = 0;

	(void) state;
	sampler_draw(sampler, 0, first);
	sampler_draw(sampler, 1, second);
	for (int i = 0; i < 100; i++)
		same += first[i] == second[i];
	assert_true(same < 10);
	arena_destroy(arena);
}

static void
draws_depend_on_seed_and_step_alone(void **state)
{
	static const SamplerKind kinds[] = {SAMPLER_UNIFORM, SAMPLER_PRIORITY};
	const double weight[] = {1, 2, 3, 4, 5, 6, 7};
	Arena *arena = arena_create();

	(void) state;
	for (int k = 0; k < 2; k++)
	{
		Sampler *forward = make(arena, kinds[k], weight, 7, 3, 60, 5);
		Sampler *resumed = make(arena, kinds[k], weight, 7, 3, 60, 5);
		Sampler *other = make(arena, kinds[k], weight, 7, 3, 60, 6);
		int32_t a[3], b[3];
		int differs = 0;

		for (int64_t step = 0; step < 13; step++)
			sampler_draw(forward, step, a);
		sampler_draw(forward, 13, a);
		sampler_draw(resumed, 13, b);
		assert_memory_equal(a, b, sizeof(a));
		for (int64_t step = 0; step < 20; step++)
		{
			sampler_draw(forward, step, a);
			sampler_draw(other, step, b);
			differs += memcmp(a, b, sizeof(a)) != 0;
		}
		assert_true(differs > 10);
	}
	arena_destroy(arena);
}

static void
rows_are_drawn_in_proportion_to_their_weight(void **state)
{
	const double weight[] = {0, 1, 0, 3, 6, 0};
	Arena *arena = arena_create();
	Sampler *sampler = make(arena, SAMPLER_PRIORITY, weight, 6, 16, 32000, 3);
	int seen[6] = {0};
	int32_t drawn[16];

	(void) state;
	for (int64_t step = 0; step < 2000; step++)
	{
		assert_int_equal(sampler_draw(sampler, step, drawn), 16);
		for (int i = 0; i < 16; i++)
			seen[drawn[i]]++;
	}
	/* Five standard deviations of a binomial. */
	for (int i = 0; i < 6; i++)
	{
		double p = weight[i] / 10;

		assert_near(seen[i], 32000 * p, 5 * sqrt(32000 * p * (1 - p)));
	}
	arena_destroy(arena);
}

static void
tiny_weights_among_many_are_not_lost(void **state)
{
	enum
	{
		ROWS = 100000
	};
	static double weight[ROWS];
	Arena *arena = arena_create();
	Sampler *sampler;
	int32_t drawn[16];

	(void) state;
	for (int i = 0; i < ROWS; i++)
		weight[i] = 1e-9 * (i % 2);
	sampler = make(arena, SAMPLER_PRIORITY, weight, ROWS, 16, 16000, 1);
	for (int64_t step = 0; step < 1000; step++)
	{
		sampler_draw(sampler, step, drawn);
		for (int i = 0; i < 16; i++)
			assert_int_equal(drawn[i] % 2, 1);
	}
	arena_destroy(arena);
}

static void
weights_that_cannot_be_drawn_by_are_refused(void **state)
{
	Arena *arena = arena_create();
	const double zeros[] = {0, 0};
	const double negative[] = {1, -1};
	const double infinite[] = {1, INFINITY};
	Failure failure;
	Sampler *sampler;

	(void) state;
	assert_fails(sampler_create(arena, SAMPLER_PRIORITY, zeros, 2, 1, 1, 0,
	                            &sampler, &failure),
	             failure, FAILURE_BAD_INPUT, "sum to 0");
	assert_fails(sampler_create(arena, SAMPLER_PRIORITY, negative, 2, 1, 1, 0,
	                            &sampler, &failure),
	             failure, FAILURE_INTERNAL, "weight -1");
	assert_fails(sampler_create(arena, SAMPLER_PRIORITY, infinite, 2, 1, 1, 0,
	                            &sampler, &failure),
	             failure, FAILURE_INTERNAL, "weight inf");
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_epoch_has_each_row_once_and_a_short_end),
		cmocka_unit_test(epochs_are_shuffled_differently),
		cmocka_unit_test(draws_depend_on_seed_and_step_alone),
		cmocka_unit_test(rows_are_drawn_in_proportion_to_their_weight),
		cmocka_unit_test(tiny_weights_among_many_are_not_lost),
		cmocka_unit_test(weights_that_cannot_be_drawn_by_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
