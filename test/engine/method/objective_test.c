/*
 * objective_test.c
 *		Losses and gradients of single responses by numbers one can check, by
 *		finite differences, and against the golden values.
 */
#include "near.h"

#include "method/objective.h"

static const ObjectiveOptions defaults = {0.9, 0.1, 0.1, 0.05};

/* Two tokens: l = -3, r given; returns the loss. */
static double
loss_of(const char *name, const ObjectiveOptions *options, double ref_0,
        double ref_1, float *grad, ObjectiveStats *stats)
{
	const float logp[] = {-1, -2};
	const float ref[] = {(float) ref_0, (float) ref_1};
	const int32_t offset[] = {0, 2};
	const double reward = 0.5, advantage = 0.25;
	const ObjectiveGroup group = {1, offset, logp, ref, &reward, &advantage};
	ObjectiveStats none = {0};

	return objective_find(name)->loss(&group, options, grad,
	                                  stats != NULL ? stats : &none);
}

static void
check(const char *name, double ref_0, double ref_1, double loss, double grad_0,
      double grad_1)
{
	float grad[2];

	assert_near(loss_of(name, &defaults, ref_0, ref_1, grad, NULL), loss,
	            1e-12);
	assert_near(grad[0], grad_0, 1e-7);
	assert_near(grad[1], grad_1, 1e-7);
}

static void
methods_without_a_ratio(void **state)
{
	(void) state;
	check("nll", 0, 0, 3, -1, -1);
	check("wbc", 0, 0, 1.5, -0.5, -0.5);
	check("a_lol_ref_free", 0, 0, 0.75, -0.25, -0.25);
	check("a_lol_kl", -1.5, -2.5, 0.75 + 0.1, 0.1 - 0.25, 0.1 - 0.25);
}

static void
ratio_is_one_where_policy_is_the_reference(void **state)
{
	(void) state;
	check("a_lol", -1, -2, 0.75, -0.25, -0.25);
	check("r_lol", -1, -2, 1.5, -0.5, -0.5);
	check("a_lol_seq", -1, -2, 0.75, -0.25, -0.25);
}

static void
a_lol_clips_the_ratio_from_above(void **state)
{
	(void) state;
	/* l - r = 2, e^2 > 1.9 */
	check("a_lol", -2, -3, 0.75 * 1.9, -0.25 * 1.9, -0.25 * 1.9);
	check("r_lol", -2, -3, 1.5 * 1.9, -0.5 * 1.9, -0.5 * 1.9);
}

static void
a_lol_clips_the_ratio_from_below(void **state)
{
	(void) state;
	check("a_lol", -0.1, -0.2, 0.075, -0.025, -0.025); /* e^-2.7 < 0.1 */
}

static void
a_lol_seq_clips_each_token(void **state)
{
	(void) state;
	/* e^1 = 2.7 is clipped to 1.9, e^-0.5 is not */
	check("a_lol_seq", -2, -1.5, 0.25 * (1.9 + 2 * exp(-0.5)), -0.25 * 1.9,
	      -0.25 * exp(-0.5));
}

static void
r_gold_has_a_floor_under_the_probability(void **state)
{
	(void) state;
	check("r_gold", 0, 0, 0.5 * (exp(-1) + 2 * exp(-2)), -0.5 * exp(-1),
	      -0.5 * exp(-2));
	{
		ObjectiveOptions options = {0.9, 0.1, 0.2, 0.05};
		float grad[2];

		loss_of("r_gold", &options, 0, 0, grad, NULL);
		assert_near(grad[1], -0.5 * 0.2, 1e-7);
	}
}

static void
without_clipping_the_ratio_ends_at_exp_30(void **state)
{
	const ObjectiveOptions options = {-1, 0.1, 0.1, 0.05};
	float grad[2];

	(void) state;
	assert_near(loss_of("a_lol", &options, -2, -3, grad, NULL), 0.75 * exp(2),
	            1e-9);
	assert_near(loss_of("a_lol", &options, -500, -500, grad, NULL),
	            0.75 * exp(30), 1);
}

static void
a_ratio_at_the_edge_is_not_clipped(void **state)
{
	const ObjectiveOptions options = {0, 0.1, 0.1, 0.05}; /* only 1 is inside */
	ObjectiveStats stats = {0};
	float grad[2];

	(void) state;
	loss_of("a_lol", &options, -1, -2, grad, &stats);
	assert_int_equal(stats.clipped, 0);
	loss_of("a_lol", &options, -1, -2.5, grad, &stats);
	assert_int_equal(stats.clipped, 1);
	assert_int_equal(stats.ratios, 2);
	assert_near(stats.ratio_sum, 1 + exp(0.5), 1e-12);
	assert_near(stats.ratio_squares, 1 + exp(1), 1e-12);
}

static void
long_responses_are_summed_in_double(void **state)
{
	/* 2^24 + 1 is no float: a float sum would stop counting. */
	enum
	{
		COUNT = 4
	};
	const float logp[COUNT] = {-16777216, -1, -1, -1};
	const float ref[COUNT] = {-16777216, 0, 0, 0};
	const int32_t offset[] = {0, COUNT};
	const double one = 1;
	const ObjectiveGroup group = {1, offset, logp, ref, &one, &one};
	ObjectiveStats stats = {0};
	float grad[COUNT];

	(void) state;
	assert_near(objective_find("nll")->loss(&group, &defaults, grad, &stats),
	            16777219, 0);
	assert_near(objective_find("a_lol")->loss(&group, &defaults, grad, &stats),
	            16777219 * 0.1, 1e-6);
}

/* dL/dl_t by differences.  Held constant, a weight does not move: so the loss
 * with the weights of the middle is compared, which every method here is
 * linear in. */
static void
gradients_are_those_of_the_loss(void **state)
{
	(void) state;
	for (int i = 0; i < objective_count() && !objective_ranks(objective_at(i));
	     i++)
	{
		const float logp[] = {-0.5f, -1.25f, -0.75f};
		const float ref[] = {-0.625f, -1.0f, -0.875f};
		const int32_t offset[] = {0, 3};
		const double reward = 0.7, advantage = 0.3;
		ObjectiveGroup group = {1, offset, logp, ref, &reward, &advantage};
		ObjectiveStats stats = {0};
		float grad[3];
		double constant = 0;
		double loss = objective_at(i)->loss(&group, &defaults, grad, &stats);

		/* L = sum grad_t * l_t, but for the constant -beta * r of a_lol_kl */
		for (int t = 0; t < 3; t++)
		{
			loss -= (double) grad[t] * logp[t];
			constant -= defaults.beta * ref[t];
		}
		if (strcmp(objective_at(i)->name, "a_lol_kl") == 0)
			loss -= constant;
		assert_near(loss, 0, 1e-6);
	}
}

static void
names_are_found(void **state)
{
	(void) state;
	assert_string_equal(objective_find("a_lol_seq")->name, "a_lol_seq");
	assert_null(objective_find("A_LOL"));
	assert_null(objective_find("grpo"));
	assert_string_equal(objective_rows_name(objective_find("nll")->rows),
	                    "all");
}

/* One row of a golden batch: its share of the loss; the gradient is compared
 * (the golden one has the 1/n in it). */
static double
check_golden_row(const Objective *objective, const ObjectiveOptions *options,
                 const json_t *row, const json_t *want, size_t rows)
{
	const json_t *logprobs = json_object_get(row, "logprobs");
	const json_t *references = json_object_get(row, "ref_logprobs");
	int32_t offset[] = {0, (int32_t) json_array_size(logprobs)};
	double reward = json_number_value(json_object_get(row, "reward"));
	double advantage = json_number_value(json_object_get(row, "advantage"));
	float logp[1024], ref[1024], grad[1024];
	ObjectiveGroup group = {1, offset, logp, ref, &reward, &advantage};
	ObjectiveStats stats = {0};
	double loss;

	assert_true(offset[1] <= 1024);
	for (int t = 0; t < offset[1]; t++)
	{
		size_t at = (size_t) t;

		logp[t] = (float) json_number_value(json_array_get(logprobs, at));
		ref[t] = (float) json_number_value(json_array_get(references, at));
	}
	loss = objective->loss(&group, options, grad, &stats);
	for (int t = 0; t < offset[1]; t++)
	{
		double expected = json_number_value(json_array_get(want, (size_t) t));

		/* Golden ratios come from float32 sums: 1e-5 relative. */
		assert_near(grad[t] / (double) rows, expected,
		            1e-5 * fabs(expected) + 1e-9);
	}
	return loss;
}

static void
check_golden(Arena *arena, const char *folder)
{
	json_t *golden = test_read_json(arena, folder, "golden.json");
	json_t *settings = json_object_get(golden, "settings");
	ObjectiveOptions options = {
		json_number_value(json_object_get(settings, "clip_range")),
		json_number_value(json_object_get(settings, "beta")),
		json_number_value(json_object_get(settings, "gold_floor")), 0};

	for (int i = 0; i < objective_count() && !objective_ranks(objective_at(i));
	     i++)
	{
		json_t *method = json_object_get(json_object_get(golden, "methods"),
		                                 objective_at(i)->name);
		json_t *rows = json_object_get(method, "rows");
		size_t count = json_array_size(rows);
		double want = json_number_value(json_object_get(
			json_array_get(json_object_get(method, "steps"), 0), "loss"));
		double loss = 0;

		assert_non_null(method);
		for (size_t row = 0; row < count; row++)
			loss += check_golden_row(
				objective_at(i), &options,
				json_array_get(
					json_object_get(golden, "rows"),
					(size_t) json_integer_value(json_array_get(rows, row))),
				json_array_get(json_object_get(method, "dloss_dlogprob"), row),
				count);
		assert_near(loss / (double) count, want, 1e-5 * fabs(want));
	}
}

static void
golden_losses_and_gradients(void **state)
{
	static const char *const models[] = {"gpt2", "llama"};
	Arena *arena = arena_create();

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		char *own = test_golden_path(
			arena, arena_printf(arena, "training/%s", models[i]));
		char *shared = test_shared_path(
			arena, arena_printf(arena, "golden/training/%s", models[i]));

		if (file_exists(own))
			check_golden(arena, own);
		if (shared != NULL)
			check_golden(arena, shared);
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods_without_a_ratio),
		cmocka_unit_test(ratio_is_one_where_policy_is_the_reference),
		cmocka_unit_test(a_lol_clips_the_ratio_from_above),
		cmocka_unit_test(a_lol_clips_the_ratio_from_below),
		cmocka_unit_test(a_lol_seq_clips_each_token),
		cmocka_unit_test(r_gold_has_a_floor_under_the_probability),
		cmocka_unit_test(without_clipping_the_ratio_ends_at_exp_30),
		cmocka_unit_test(a_ratio_at_the_edge_is_not_clipped),
		cmocka_unit_test(long_responses_are_summed_in_double),
		cmocka_unit_test(gradients_are_those_of_the_loss),
		cmocka_unit_test(names_are_found),
		cmocka_unit_test(golden_losses_and_gradients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
