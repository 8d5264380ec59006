/*
 * options_test.c
 *		What the settings of a job mean.
 */
#include "near.h"

#include "train/options.h"

static TrainOptions
read_options(const char *json)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	TrainOptions options;
	json_t *settings;

	assert_ok(json_open_text(arena, json, strlen(json), "settings", &settings,
	                         &failure),
	          failure);
	assert_ok(train_options_read(settings, &options, &failure), failure);
	arena_destroy(arena);
	return options;
}

static void
refuse(const char *json, FailureCode code, const char *words)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	TrainOptions options;
	json_t *settings;

	assert_ok(json_open_text(arena, json, strlen(json), "settings", &settings,
	                         &failure),
	          failure);
	assert_fails(train_options_read(settings, &options, &failure), failure,
	             code, words);
	arena_destroy(arena);
}

static void
defaults_are_those_of_all_weights(void **state)
{
	TrainOptions options = read_options("{}");

	(void) state;
	assert_string_equal(options.objective->name, "a_lol");
	assert_false(options.is_uniform);
	assert_int_equal(options.batch_size, 16);
	assert_int_equal(options.steps, 0);
	assert_near(options.epochs, 1, 0);
	assert_near(options.learning_rate, 2e-5, 0);
	assert_int_equal(options.schedule, SCHEDULE_LINEAR);
	assert_near(options.weight_decay, 0.01, 0);
	assert_near(options.max_grad_norm, 1, 0);
	assert_near(options.beta2, 0.999, 0);
	assert_near(options.eps, 1e-8, 0);
	assert_near(options.objective_options.clip_range, 0.9, 0);
	assert_int_equal(options.max_prompt_tokens, 640);
	assert_int_equal(options.max_response_tokens, 128);
	assert_true(options.keep_best);
}

static void
clip_range_null_means_none(void **state)
{
	(void) state;
	assert_near(
		read_options("{\"clip_range\": null}").objective_options.clip_range, -1,
		0);
	assert_near(
		read_options("{\"clip_range\": 0}").objective_options.clip_range, 0, 0);
}

static void
a_seed_is_any_bigint(void **state)
{
	(void) state;
	assert_true(read_options("{\"seed\": 9223372036854775807}").seed ==
	            INT64_MAX);
	assert_true(read_options("{\"seed\": -9223372036854775808}").seed ==
	            (uint64_t) INT64_MIN);
}

static void
nll_is_always_uniform(void **state)
{
	(void) state;
	assert_true(read_options("{\"method\": \"nll\"}").is_uniform);
	assert_true(read_options("{\"method\": \"wbc\", \"sampling\": \"uniform\"}")
	                .is_uniform);
}

static void
what_cannot_be_is_refused(void **state)
{
	(void) state;
	refuse("{\"method\": \"ppo\"}", FAILURE_UNSUPPORTED, "\"ppo\"");
	refuse("{\"sampling\": \"random\"}", FAILURE_BAD_INPUT, "\"random\"");
	refuse("{\"schedule\": \"step\"}", FAILURE_BAD_INPUT, "\"step\"");
	refuse("{\"refresh_reference\": 0.1}", FAILURE_UNSUPPORTED,
	       "refresh_reference");
	refuse("{\"seed\": 0.5}", FAILURE_BAD_INPUT, "seed");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_all_weights),
		cmocka_unit_test(clip_range_null_means_none),
		cmocka_unit_test(a_seed_is_any_bigint),
		cmocka_unit_test(nll_is_always_uniform),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
