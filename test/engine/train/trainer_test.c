/*
 * trainer_test.c
 *		The loop on a tiny model: ten steps are five, a crash and five, byte
 *		for byte; the best step is kept; what diverges fails.
 */
#include "near.h"

#include "base/poll.h"
#include "device/device.h"
#include "train/step.h"
#include "train/trainer.h"

#define STEPS 10
#define ROWS 24

static Device *device;

/* Between the rewards of rows with one prompt. */
static double gap = 0.25;

/* A run's events, remembered; stop_at ends it like a crash. */
typedef struct Log
{
	int64_t stop_at;           /* fails after this step; 0: never */
	double rewards[STEPS + 1]; /* what each evaluation gets */
	int evaluations;
	int checkpoints;
	int warnings;
	char warning[512];
	double loss[STEPS + 1];
	double rate[STEPS + 1];
	double last_metric; /* of an evaluation */
	double margin[STEPS + 1];
	double accuracy[STEPS + 1];
	double tau; /* largest difference of rewards */
} Log;

static bool
log_progress(void *argument, int64_t step, int64_t steps, double speed,
             double loss, Failure *failure)
{
	Log *log = argument;

	assert_int_equal(steps, STEPS);
	assert_true(speed > 0);
	assert_true(isfinite(loss));
	return step != log->stop_at ||
	       (fail) (failure, FAILURE_CANCELLED, "stopped");
}

static bool
log_metrics(void *argument, int64_t step, const TrainMetric *metric, int count,
            Failure *failure)
{
	Log *log = argument;

	(void) failure;
	for (int i = 0; i < count; i++)
	{
		if (strcmp(metric[i].name, "loss") == 0)
			log->loss[step] = metric[i].value;
		if (strcmp(metric[i].name, "learning_rate") == 0)
			log->rate[step] = metric[i].value;
		if (strcmp(metric[i].name, "evaluation/reward") == 0)
			log->last_metric = metric[i].value;
		if (strcmp(metric[i].name, "rewards/margins") == 0)
			log->margin[step] = metric[i].value;
		if (strcmp(metric[i].name, "rewards/accuracies") == 0)
			log->accuracy[step] = metric[i].value;
		if (strcmp(metric[i].name, "tau/max") == 0)
			log->tau = metric[i].value;
	}
	return true;
}

static bool
log_checkpoint(void *argument, int64_t step, Failure *failure)
{
	(void) step;
	(void) failure;
	((Log *) argument)->checkpoints++;
	return true;
}

static bool
log_warning(void *argument, const char *message, Failure *failure)
{
	Log *log = argument;

	(void) failure;
	log->warnings++;
	snprintf(log->warning, sizeof(log->warning), "%s", message);
	return true;
}

static bool
log_evaluation(void *argument, int64_t step, double *reward, Failure *failure)
{
	Log *log = argument;

	(void) failure;
	log->evaluations++;
	*reward = log->rewards[step];
	return true;
}

/* A directory with a tiny model, or NULL. */
static const char *
model_path(Arena *arena)
{
	char *own = test_golden_path(arena, "training/llama");

	return file_exists(own) ? own
	                        : test_shared_path(arena, "golden/training/llama");
}

/* Rows of 3 to 12 tokens that the seed of no one knows; four share a prompt,
 * their rewards are gap apart. */
static Dataset
make_rows(Arena *arena, const TrainOptions *options)
{
	bool ranks = objective_ranks(options->objective);
	Dataset dataset = {.rows = ROWS, .selected = ROWS, .checksum = 42};
	Failure failure = {0};

	dataset.row = arena_alloc(arena, ROWS * sizeof(DatasetRow));
	for (int i = 0; i < ROWS; i++)
	{
		int tokens = 3 + i * 7 % 10;
		int32_t *ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
		float *ref = arena_alloc(arena, (size_t) tokens * sizeof(float));

		for (int t = 0; t < tokens; t++)
		{
			ids[t] = (i * 31 + t * 17) % 200;
			ref[t] = -5;
		}
		dataset.row[i] = (DatasetRow){.row_number = i + 1,
		                              .tokens = tokens,
		                              .prompt = 1 + i % 2,
		                              .ids = ids,
		                              .ref_logp = ref,
		                              .reward = i % 4 * gap,
		                              .value = 0.25,
		                              .advantage = 0.1 + 0.01 * i,
		                              .prompt_key = {(uint64_t) i / 4, 0}};
	}
	assert_ok(dataset_group(arena, &dataset,
	                        ranks ? &options->group_options : NULL, &failure),
	          failure);
	return dataset;
}

static TrainOptions
make_options(const char *method)
{
	TrainOptions options;
	Failure failure = {0};
	json_t *settings = json_pack(
		"{s:s, s:i, s:i, s:f, s:f}", "method", method, "steps", STEPS,
		"batch_size", 5, "learning_rate", 1e-2, "checkpoint_interval_s", 1e9);

	assert_ok(train_options_read(settings, &options, &failure), failure);
	options.known_checkpoint = STEPS;
	json_decref(settings);
	return options;
}

typedef struct Outcome
{
	bool done;
	TrainResult result;
	Failure failure;
	float *weights; /* [parameters] that the run gave */
	size_t size;
} Outcome;

/* The step to go on from when the job's row knows of step `known`. */
static int64_t
found_checkpoint(const char *directory, int64_t known)
{
	TrainState state;
	Failure failure;

	checkpoint_find(directory, known, &state, &failure);
	return state.step;
}

/* One process's life: opens the model, runs, and ends. */
static Outcome
run(Arena *arena, const char *directory, const TrainOptions *options, Log *log)
{
	Outcome outcome = {0};
	Arena *life = arena_create();
	Dataset dataset = make_rows(life, options);
	TrainEvents events = {.argument = log,
	                      .progress = log_progress,
	                      .metrics = log_metrics,
	                      .checkpoint = log_checkpoint,
	                      .warning = log_warning,
	                      .evaluate = log_evaluation};
	Model *model;

	assert_ok(model_open(life, device, model_path(life), NULL, &model,
	                     &outcome.failure),
	          outcome.failure);
	outcome.done = train_run(life, model, directory, options, &dataset, &events,
	                         &outcome.result, &outcome.failure);
	outcome.size = (size_t) model_state_size(model) * sizeof(float);
	outcome.weights = arena_alloc(arena, outcome.size);
	if (outcome.done && outcome.result.weights != NULL)
		memcpy(outcome.weights, outcome.result.weights, outcome.size);
	else
		model_state_download(model, MODEL_WEIGHTS, 0, model_state_size(model),
		                     outcome.weights);
	arena_destroy(life);
	return outcome;
}

static void
assert_same(const Outcome *a, const Outcome *b)
{
	assert_int_equal(a->size, b->size);
	assert_memory_equal(a->weights, b->weights, a->size);
}

static void
ten_steps_are_five_a_crash_and_five(void **state)
{
	static const char *const methods[] = {"a_lol", "nll", "dpo", "pro",
	                                      "a_lol"};
	Arena *arena = arena_create();

	(void) state;
	for (int i = 0; i < 5 && model_path(arena) != NULL; i++)
	{
		TrainOptions options = make_options(methods[i]);
		char *whole = test_directory(arena);
		char *broken = test_directory(arena);
		Log one = {0}, two = {.stop_at = 7}, three = {0};
		Outcome a, b;

		options.evaluate_every = 100;
		options.checkpoint_every = 5;
		options.keep_best = false;
		options.codes_moments = i == 4;
		a = run(arena, whole, &options, &one);
		assert_ok(a.done, a.failure);
		assert_int_equal(one.checkpoints, 2); /* 5, and 10 evaluated */
		assert_int_equal(found_checkpoint(whole, 10), 10);
		assert_int_equal(found_checkpoint(whole, 7), 5);
		assert_int_equal(found_checkpoint(whole, 3), 10);
		assert_int_equal(found_checkpoint(whole, 0), 0);
		b = run(arena, broken, &options, &two);
		assert_false(b.done);
		b = run(arena, broken, &options, &three);
		assert_ok(b.done, b.failure);
		assert_same(&a, &b);
		assert_near(three.loss[5], 0, 0); /* not done again */
		assert_near(three.loss[6], two.loss[6], 0);
		assert_near(three.loss[9], one.loss[9], 0);
		assert_int_equal(three.warnings, 0);
	}
	arena_destroy(arena);
}

/* Their bytes mean something else. */
static void
moments_of_another_optimizer_are_refused(void **state)
{
	static const char *const refusals[] = {
		"has the moments of adamw, and the job trains by adamw8bit",
		"has the moments of adamw8bit, and the job trains by adamw"};
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol");

	(void) state;
	for (int i = 0; i < 2 && model_path(arena) != NULL; i++)
	{
		char *directory = test_directory(arena);
		Log first = {.stop_at = 7}, second = {0};
		Outcome outcome;

		options.checkpoint_every = 5;
		options.codes_moments = i == 1;
		assert_false(run(arena, directory, &options, &first).done);
		options.codes_moments = !options.codes_moments;
		outcome = run(arena, directory, &options, &second);
		assert_false(outcome.done);
		assert_int_equal(outcome.failure.code, FAILURE_BAD_FILE);
		assert_non_null(strstr(outcome.failure.message, refusals[i]));
	}
	arena_destroy(arena);
}

static void
the_best_step_survives_a_crash(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol");
	Log one = {.rewards = {0.1, 0.2, 0.5, 0.5, 0.3, 0.2, 0.1}};
	Log two = one, three = one;
	Outcome a, b;
	char *broken;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	a = run(arena, test_directory(arena), &options, &one);
	assert_ok(a.done, a.failure);
	assert_int_equal(a.result.step, 2); /* a tie goes to the earlier */
	assert_near(a.result.best_reward, 0.5, 0);
	assert_near(a.result.start_reward, 0.1, 0);
	assert_non_null(a.result.weights);
	assert_int_equal(one.evaluations, STEPS + 1);
	assert_int_equal(one.warnings, 0);

	broken = test_directory(arena);
	two.stop_at = 8;
	assert_false(run(arena, broken, &options, &two).done);
	b = run(arena, broken, &options, &three);
	assert_ok(b.done, b.failure);
	assert_int_equal(b.result.step, 2);
	assert_int_equal(three.evaluations, 3); /* 8, 9, 10 */
	assert_same(&a, &b);
	arena_destroy(arena);
}

static void
no_better_step_gives_the_last_with_a_warning(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol");
	Log log = {.rewards = {0.9, 0.2, 0.9}};
	Outcome outcome;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	outcome = run(arena, test_directory(arena), &options, &log);
	assert_ok(outcome.done, outcome.failure);
	assert_int_equal(outcome.result.step, STEPS);
	assert_null(outcome.result.weights);
	assert_int_equal(log.warnings, 1);
	assert_non_null(strstr(log.warning, "no step earned more"));
	arena_destroy(arena);
}

static void
a_torn_checkpoint_gives_way_to_the_one_before(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol");
	char *directory = test_directory(arena);
	Log one = {0}, two = {.stop_at = 9}, three = {0};
	Outcome a, b;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	a = run(arena, test_directory(arena), &options, &one);
	assert_false(run(arena, directory, &options, &two).done);
	assert_true(file_exists(arena_printf(arena, "%s/checkpoint-8", directory)));
	test_write(arena, directory, "checkpoint-8", "torn", 4);
	b = run(arena, directory, &options, &three);
	assert_ok(b.done, b.failure);
	assert_near(three.loss[7], 0, 0);
	assert_true(three.loss[8] != 0); /* from checkpoint-7 */
	assert_same(&a, &b);
	arena_destroy(arena);
}

/* Three steps with this token budget: losses and weights. */
static void
run_split(Arena *arena, const char *method, int64_t budget, double *loss,
          float **weights, int64_t *count)
{
	TrainOptions options = make_options(method);
	bool ranks = objective_ranks(options.objective);
	const int32_t drawn_rows[] = {3, 17, 3, 9, 22};
	const int32_t drawn_groups[] = {3, 5, 3, 0, 2};
	const int32_t *drawn = ranks ? drawn_groups : drawn_rows;
	Dataset dataset = make_rows(arena, &options);
	Failure failure = {0};
	StepReport report;
	Model *model;

	assert_ok(
		model_open(arena, device, model_path(arena), NULL, &model, &failure),
		failure);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	for (int step = 0; step < 3; step++)
	{
		assert_ok(step_run(model, &options, &dataset, drawn, 5, budget,
		                   step + 1, 1e-3, &report, &failure),
		          failure);
		loss[step] = report.loss;
	}
	assert_int_equal(report.responses, strcmp(method, "pro") == 0 ? 20
	                                   : ranks                    ? 10
	                                                              : 5);
	*count = model_state_size(model);
	*weights = arena_alloc(arena, (size_t) *count * sizeof(float));
	model_state_download(model, MODEL_WEIGHTS, 0, *count, *weights);
}

/* A group is never split: with room for one token each is a micro-batch. */
static void
another_split_changes_only_rounding(void **state)
{
	static const char *const methods[] = {"a_lol", "dpo", "pro"};
	Arena *arena = arena_create();
	double whole[3], split[3];
	float *a, *b;
	int64_t count;

	(void) state;
	for (int m = 0; m < 3 && model_path(arena) != NULL; m++)
	{
		run_split(arena, methods[m], 1000, whole, &a, &count);
		run_split(arena, methods[m], 1, split, &b, &count);
		for (int step = 0; step < 3; step++)
			assert_near(split[step], whole[step], 1e-5 * fabs(whole[step]));
		/* Where a gradient is all rounding, AdamW makes a step of it: 3 e-3. */
		for (int64_t i = 0; i < count; i++)
			assert_near(b[i], a[i], 7e-3);
	}
	arena_destroy(arena);
}

static void
a_rate_of_madness_fails_and_names_the_step(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("nll");
	Log log = {0};
	Outcome outcome;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	options.learning_rate = 1e30;
	options.schedule = SCHEDULE_CONSTANT;
	outcome = run(arena, test_directory(arena), &options, &log);
	assert_false(outcome.done);
	assert_non_null(strstr(outcome.failure.message, "at step"));
	assert_int_equal(outcome.failure.code, FAILURE_BAD_INPUT);
	arena_destroy(arena);
}

static void
linear_rate_and_falling_loss(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("nll");
	Log log = {0};

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	assert_true(run(arena, test_directory(arena), &options, &log).done);
	assert_near(log.rate[1], 1e-2, 1e-12);
	assert_near(log.rate[10], 1e-3, 1e-12);
	assert_true(log.loss[10] < log.loss[1]);
	arena_destroy(arena);
}

static void
a_lol_kl_tells_what_it_unlearns(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol_kl");
	Log log = {.rewards = {0, 1}};

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	options.objective_options.beta = 0.2; /* 10 of 24 advantages are below */
	assert_true(run(arena, test_directory(arena), &options, &log).done);
	assert_int_equal(log.warnings, 1);
	assert_non_null(strstr(log.warning, "unlearns 42 %"));
	arena_destroy(arena);
}

static void
dpo_and_pro_learn_the_order(void **state)
{
	static const char *const methods[] = {"dpo", "dpo_ref_free", "pro"};
	Arena *arena = arena_create();

	(void) state;
	for (int i = 0; i < 3 && model_path(arena) != NULL; i++)
	{
		TrainOptions options = make_options(methods[i]);
		Log log = {0};

		options.batch_size = 6; /* all prompts */
		options.objective_options.sft_weight = 0;
		assert_true(run(arena, test_directory(arena), &options, &log).done);
		assert_true(log.loss[10] < log.loss[1]);
		assert_true(log.margin[10] > log.margin[1]);
		assert_true(log.accuracy[10] > log.accuracy[1]);
		assert_near(log.accuracy[10], 1, 0.15);
	}
	arena_destroy(arena);
}

static void
pro_warns_of_rewards_far_apart(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("pro");
	Log near = {.rewards = {0, 1}}, far = near;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	assert_true(run(arena, test_directory(arena), &options, &near).done);
	assert_int_equal(near.warnings, 0);
	assert_near(near.tau, 0.75, 1e-12);
	gap = 4;
	assert_true(run(arena, test_directory(arena), &options, &far).done);
	gap = 0.25;
	assert_int_equal(far.warnings, 1);
	assert_non_null(strstr(far.warning, "differ by up to 12"));
	arena_destroy(arena);
}

static bool
stop_now(void *argument, Failure *failure)
{
	int *calls = argument;

	return ++*calls < 20 || (fail) (failure, FAILURE_CANCELLED, "stopped");
}

static void
a_run_can_be_stopped(void **state)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options("a_lol");
	Log log = {0};
	int calls = 0;
	Outcome outcome;

	(void) state;
	if (model_path(arena) == NULL)
		return arena_destroy(arena);
	poll_install(stop_now, &calls);
	outcome = run(arena, test_directory(arena), &options, &log);
	poll_install(NULL, NULL);
	assert_false(outcome.done);
	assert_int_equal(outcome.failure.code, FAILURE_CANCELLED);
	arena_destroy(arena);
}

/* The same run with ever less memory, until it is too little. */
static void
check_short_memory(const char *method)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options(method);
	uint64_t used = memory_used();
	Log log = {0};
	Outcome whole, part;
	int done = 0;

	options.evaluate_every = 100;
	options.keep_best = false;
	whole = run(arena, test_directory(arena), &options, &log);
	assert_ok(whole.done, whole.failure);
	for (uint64_t bytes = 8 << 20;; bytes = bytes / 8 * 7)
	{
		Log first = {.stop_at = 3}, second = {0};
		char *directory = test_directory(arena);
		Outcome again;

		memory_limit_set(memory_used() + bytes);
		part = run(arena, test_directory(arena), &options, &log);
		memory_limit_set(0);
		if (!part.done)
			break;
		for (size_t i = 0; i < whole.size / sizeof(float); i++)
			assert_near(part.weights[i], whole.weights[i], 2e-3);
		if (++done % 4 != 0)
			continue;
		/* And to the last bit where it goes on with as much. */
		options.checkpoint_every = 2;
		memory_limit_set(memory_used() + bytes);
		again = run(arena, directory, &options, &first);
		assert_false(again.done);
		again = run(arena, directory, &options, &second);
		memory_limit_set(0);
		assert_ok(again.done, again.failure);
		assert_same(&part, &again);
		options.checkpoint_every = 0;
	}
	assert_int_equal(part.failure.code, FAILURE_OUT_OF_MEMORY);
	assert_true(done >= 4);
	assert_true(memory_used() - used < (uint64_t) 64 << 20);
	arena_destroy(arena);
}

static void
short_memory_changes_nothing_but_roundings(void **state)
{
	Arena *arena = arena_create();
	bool has_model = model_path(arena) != NULL;

	(void) state;
	arena_destroy(arena);
	if (!has_model)
		skip();
	check_short_memory("dpo");
	check_short_memory("pro");
	check_short_memory("a_lol");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_steps_are_five_a_crash_and_five),
		cmocka_unit_test(moments_of_another_optimizer_are_refused),
		cmocka_unit_test(the_best_step_survives_a_crash),
		cmocka_unit_test(no_better_step_gives_the_last_with_a_warning),
		cmocka_unit_test(a_torn_checkpoint_gives_way_to_the_one_before),
		cmocka_unit_test(another_split_changes_only_rounding),
		cmocka_unit_test(a_rate_of_madness_fails_and_names_the_step),
		cmocka_unit_test(linear_rate_and_falling_loss),
		cmocka_unit_test(a_lol_kl_tells_what_it_unlearns),
		cmocka_unit_test(dpo_and_pro_learn_the_order),
		cmocka_unit_test(pro_warns_of_rewards_far_apart),
		cmocka_unit_test(short_memory_changes_nothing_but_roundings),
		cmocka_unit_test(a_run_can_be_stopped),
	};
	Failure failure = {0};
	int failed;

	if (!cpu_device_open(2, &device, &failure))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	device->close(device);
	return failed;
}
