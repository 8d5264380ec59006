/*
 * ppo_test.c
 *		Method ppo on tiny models that generate: the first update compares the
 *		policy with itself, a reward is learned, and ten steps are five, a
 *		crash and five, byte for byte.
 */
#include "tiny.h"
#include "train_log.h"
#include "on_cpu.h"

#include "base/streams.h"
#include "model/generation/generate.h"
#include "train/trainer.h"

#define STEPS 10
#define PROMPTS 12
#define SPACE 32 /* a byte's token is the byte */

/* A run's events, remembered; stop_at ends it like a crash. */
typedef struct Log
{
	const TrainOptions *options;
	Model *model;
	int64_t stop_at; /* fails after this step; 0: never */
	double flat;     /* the score of all, where it is not NaN */
	double rewards[STEPS + 1];
	double kl[STEPS + 1];
	double coefficient[STEPS + 1];
	double ratio;  /* of the last step */
	double policy; /* its loss */
	double clipped;
	double variance; /* of what V should be */
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
	const struct
	{
		const char *name;
		double *target;
	} known[] = {
		{"env/reward_mean", &log->rewards[step]},
		{"objective/kl", &log->kl[step]},
		{"objective/kl_coef", &log->coefficient[step]},
		{"ppo/policy/ratio", &log->ratio},
		{"ppo/loss/policy", &log->policy},
		{"ppo/policy/clipfrac", &log->clipped},
		{"ppo/returns/var", &log->variance},
	};

	(void) failure;
	for (int i = 0; i < count; i++)
		for (size_t j = 0; j < sizeof(known) / sizeof(known[0]); j++)
			if (strcmp(metric[i].name, known[j].name) == 0)
				*known[j].target = metric[i].value;
	return true;
}

/* Responses of six tokens; their share of tokens below SPACE is the reward. */
static bool
roll_out(void *argument, Arena *arena, int64_t step, int count,
         Rollout *rollouts, Failure *failure)
{
	Log *log = argument;
	GenerateOptions options = {
		.max_tokens = 6,
		.temperature = 1,
		.top_p = 1,
		.repetition_penalty = 1,
		.seed = random_bits(log->options->seed,
	                        random_stream(RANDOM_ROLLOUT, (uint64_t) step), 0)};
	TokenList *prompts = arena_alloc(arena, (size_t) count * sizeof(TokenList));
	Generation *results =
		arena_alloc(arena, (size_t) count * sizeof(Generation));

	for (int i = 0; i < count; i++)
		prompts[i] =
			(TokenList){.ids = (int32_t *) (uintptr_t) rollouts[i].prompt->ids,
		                .count = rollouts[i].prompt->tokens};
	assert_ok(generate(log->model, arena, &options, count, prompts, results,
	                   NULL, NULL, failure),
	          *failure);
	for (int i = 0; i < count; i++)
	{
		rollouts[i].ids = results[i].ids;
		rollouts[i].tokens = results[i].count;
		for (int t = 0; t < results[i].count; t++)
			rollouts[i].score +=
				(results[i].ids[t] < SPACE) / (double) results[i].count;
		if (!isnan(log->flat))
			rollouts[i].score = log->flat;
	}
	return true;
}

static Dataset
make_prompts(Arena *arena)
{
	Dataset dataset = {.rows = PROMPTS, .selected = PROMPTS, .checksum = 42};
	Failure failure = {0};

	dataset.row = arena_alloc(arena, PROMPTS * sizeof(DatasetRow));
	for (int i = 0; i < PROMPTS; i++)
	{
		int tokens = 2 + i % 4;
		int32_t *ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));

		for (int t = 0; t < tokens; t++)
			ids[t] = (i * 31 + t * 17) % 200;
		dataset.row[i] = (DatasetRow){.row_number = i + 1,
		                              .tokens = tokens,
		                              .prompt = tokens,
		                              .ids = ids,
		                              .reward = NAN,
		                              .value = NAN,
		                              .advantage = NAN};
	}
	assert_ok(dataset_group(arena, &dataset, NULL, &failure), failure);
	return dataset;
}

/* members: more settings, each after a comma. */
static TrainOptions
make_options(const char *members)
{
	TrainOptions options;
	Failure failure = {0};
	char text[512];
	json_t *settings;

	snprintf(text, sizeof(text),
	         "{\"method\": \"ppo\", \"steps\": %d, \"batch_size\": 8, "
	         "\"learning_rate\": 3e-3, \"clip_range\": 0.2, "
	         "\"checkpoint_interval_s\": 1e9%s}",
	         STEPS, members);
	settings = json_loads(text, 0, NULL);
	assert_non_null(settings);
	assert_ok(train_options_read(settings, &options, &failure), failure);
	options.known_checkpoint = STEPS;
	options.lora.targets = NULL;
	json_decref(settings);
	return options;
}

/* One process's life: opens the models, runs, and ends.  Returns whether it
 * came to its end; weights in arena. */
static bool
run(Arena *arena, const char *files, const char *directory,
    const TrainOptions *options, Log *log, float **weights, size_t *size)
{
	Arena *life = arena_create();
	Dataset dataset = make_prompts(life);
	Model *model = tiny_open(life, device, files);
	TrainEvents events = {.argument = log,
	                      .progress = log_progress,
	                      .metrics = log_metrics,
	                      .checkpoint = ignore_checkpoint,
	                      .warning = refuse_warning,
	                      .rollout = roll_out,
	                      .reference = tiny_open(life, device, files)};
	TrainResult result;
	Failure failure = {0};
	bool done;

	log->options = options;
	log->model = model;
	done = train_run(life, model, directory, options, &dataset, &events,
	                 &result, &failure);
	assert_ok(done || failure.code == FAILURE_CANCELLED, failure);
	*size = (size_t) model_state_size(model) * sizeof(float);
	*weights = arena_alloc(arena, *size);
	model_state_download(model, MODEL_WEIGHTS, 0, model_state_size(model),
	                     *weights);
	arena_destroy(life);
	return done;
}

static Log
run_whole(const char *members, double flat)
{
	Arena *arena = arena_create();
	char *files = tiny_directory(arena, TINY_LLAMA(""), 5);
	TrainOptions options = make_options(members);
	Log log = {.flat = flat};
	float *weights;
	size_t size;

	assert_true(run(arena, files, test_directory(arena), &options, &log,
	                &weights, &size));
	tiny_remove(files);
	arena_destroy(arena);
	return log;
}

/* Nothing is learned at rate 0: policy, reference and old policy are one. */
static void
a_policy_is_at_no_distance_from_itself(void **state)
{
	Log log = run_whole(", \"learning_rate\": 0, \"mini_batch_size\": 3", NAN);

	(void) state;
	assert_near(log.kl[STEPS], 0, 1e-5);
	assert_near(log.ratio, 1, 1e-5);
	assert_near(log.clipped, 0, 0);
	/* Whitened advantages have no mean. */
	assert_near(log.policy, 0, 1e-5);
	/* 8 responses a step, each below target: a fifth of their share. */
	assert_near(log.coefficient[STEPS],
	            0.2 * pow(1 - 0.2 * 8 / 10000, STEPS - 1), 1e-12);
}

static void
what_earns_more_is_said_more_often(void **state)
{
	Log log = run_whole(", \"batch_size\": 64, \"learning_rate\": 1e-2", NAN);

	(void) state;
	assert_true(log.rewards[STEPS] > 1.5 * log.rewards[1]);
	assert_true(log.kl[STEPS] > 0.1);
}

/* Scores less their mean are 0, and so is what V should be. */
static void
equal_scores_teach_nothing(void **state)
{
	Log log = run_whole(", \"learning_rate\": 0", 3);

	(void) state;
	assert_near(log.rewards[STEPS], 3, 0);
	assert_near(log.variance, 0, 1e-10);
	assert_near(log.policy, 0, 1e-5);
}

static void
ten_steps_are_five_a_crash_and_five(void **state)
{
	static const char *const members[] = {
		"", ", \"mini_batch_size\": 3, \"ppo_epochs\": 2",
		", \"lora_rank\": 2, \"lora_dropout\": 0.2, \"score_norm\": false"};

	(void) state;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		Arena *arena = arena_create();
		char *files = tiny_directory(arena, TINY_LLAMA(""), 5);
		char *broken = test_directory(arena);
		TrainOptions options = make_options(members[i]);
		Log one = {.flat = NAN};
		Log two = {.flat = NAN, .stop_at = 7};
		Log three = {.flat = NAN};
		float *a, *b;
		size_t size, same_size;

		options.checkpoint_every = 5;
		assert_true(run(arena, files, test_directory(arena), &options, &one, &a,
		                &size));
		assert_false(run(arena, files, broken, &options, &two, &b, &same_size));
		assert_true(
			run(arena, files, broken, &options, &three, &b, &same_size));
		assert_int_equal(size, same_size);
		assert_memory_equal(a, b, size);
		assert_near(three.kl[5], 0, 0); /* not done again */
		for (int step = 6; step <= STEPS; step++)
		{
			assert_near(three.kl[step], one.kl[step], 0);
			assert_near(three.coefficient[step], one.coefficient[step], 0);
		}
		tiny_remove(files);
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_is_at_no_distance_from_itself),
		cmocka_unit_test(what_earns_more_is_said_more_often),
		cmocka_unit_test(equal_scores_teach_nothing),
		cmocka_unit_test(ten_steps_are_five_a_crash_and_five),
	};

	return run_on_cpu(tests);
}
