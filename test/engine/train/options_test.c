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
	assert_int_equal(options.lora.rank, 0);
	assert_int_equal(options.quantize, DTYPE_F32);
}

static void
an_adapter_is_what_settings_say(void **state)
{
	TrainOptions options =
		read_options("{\"lora_rank\": 8, \"lora_alpha\": 4.5, "
	                 "\"lora_dropout\": 0, \"seed\": 3, "
	                 "\"quantize\": \"nf4_double\"}");

	(void) state;
	assert_int_equal(options.lora.rank, 8);
	assert_near(options.lora.alpha, 4.5, 0);
	assert_near(options.lora.dropout, 0, 0);
	assert_int_equal(options.lora.seed, 3);
	assert_null(options.lora.targets);
	assert_false(options.lora.rslora);
	assert_int_equal(options.quantize, DTYPE_NF4_DOUBLE);
	options = read_options("{\"lora_rank\": 1}");
	assert_near(options.lora.alpha, 16, 0);
	assert_near(options.lora.dropout, 0.05, 0);
	assert_int_equal(options.quantize, DTYPE_F32);
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
	refuse("{\"method\": \"grpo\"}", FAILURE_UNSUPPORTED, "\"grpo\"");
	refuse("{\"sampling\": \"random\"}", FAILURE_BAD_INPUT, "\"random\"");
	refuse("{\"schedule\": \"step\"}", FAILURE_BAD_INPUT, "\"step\"");
	refuse("{\"method\": \"nll\", \"refresh_reference\": 0.1}",
	       FAILURE_BAD_INPUT, "refresh_reference");
	refuse("{\"method\": \"ppo\", \"refresh_reference\": 0.1}",
	       FAILURE_BAD_INPUT, "method ppo");
	refuse("{\"refresh_reference\": -1}", FAILURE_BAD_FILE,
	       "refresh_reference");
	refuse("{\"seed\": 0.5}", FAILURE_BAD_INPUT, "seed");
	refuse("{\"lora_rank\": -1}", FAILURE_BAD_FILE, "lora_rank");
	refuse("{\"lora_rank\": 65537}", FAILURE_BAD_FILE, "lora_rank");
	refuse("{\"lora_dropout\": 1}", FAILURE_BAD_FILE, "lora_dropout");
	refuse("{\"lora_rank\": 1, \"quantize\": \"q4_0\"}", FAILURE_BAD_INPUT,
	       "quantize must be none, q8_0, nf4 or nf4_double");
	refuse("{\"quantize\": \"nf4\"}", FAILURE_BAD_INPUT,
	       "weights that are trained cannot be quantized to nf4");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_all_weights),
		cmocka_unit_test(an_adapter_is_what_settings_say),
		cmocka_unit_test(clip_range_null_means_none),
		cmocka_unit_test(a_seed_is_any_bigint),
		cmocka_unit_test(nll_is_always_uniform),
		cmocka_unit_test(what_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
