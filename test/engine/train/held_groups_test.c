/*
 * held_groups_test.c
 *		Pairs and lists that are measured give the loss and the scores that
 *		training would see of them.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "train/held_groups.h"
#include "train/step.h"

#define ROWS 24

/* Four rows share a prompt. */
static Dataset
make_rows(Arena *arena, const TrainOptions *options)
{
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
			ref[t] = -5 + (float) (i % 3);
		}
		dataset.row[i] = (DatasetRow){.row_number = i + 1,
		                              .tokens = tokens,
		                              .prompt = 1 + i % 2,
		                              .ids = ids,
		                              .ref_logp = ref,
		                              .reward = i * 5 % 4 * 0.25,
		                              .value = NAN,
		                              .advantage = NAN,
		                              .prompt_key = {(uint64_t) i / 4, 0}};
	}
	assert_ok(dataset_group(arena, &dataset, &options->group_options, &failure),
	          failure);
	return dataset;
}

static TrainOptions
make_options(const char *method)
{
	TrainOptions options;
	Failure failure = {0};
	json_t *settings = json_pack("{s:s, s:s, s:f}", "method", method, "pairs",
	                             "all", "learning_rate", 0.0);

	assert_ok(train_options_read(settings, &options, &failure), failure);
	json_decref(settings);
	return options;
}

static double
value_of(const TrainMetric *metric, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(metric[i].name, name) == 0)
			return metric[i].value;
	fail_msg("there is no %s", name);
	return NAN;
}

/* One step of rate 0 over all groups sees the same. */
static void
check_method(const char *files, const char *method)
{
	Arena *arena = arena_create();
	TrainOptions options = make_options(method);
	Dataset dataset = make_rows(arena, &options);
	int groups = dataset.groups.count;
	int32_t *all = arena_alloc(arena, (size_t) groups * sizeof(int32_t));
	Model *model = tiny_open(arena, device, files);
	TrainMetric metric[HELD_GROUP_METRICS];
	StepReport report;
	const ObjectiveStats *stats = &report.stats;
	Failure failure = {0};
	double loss;
	int count;

	for (int i = 0; i < groups; i++)
		all[i] = i;
	assert_ok(held_groups_measure(model, &options, &dataset, metric, &count,
	                              &loss, &failure),
	          failure);
	assert_int_equal(count, HELD_GROUP_METRICS);
	assert_ok(train_prepare(model, &options, &failure), failure);
	assert_ok(step_run(model, &options, &dataset, all, groups, 64, 1, 0,
	                   &report, &failure),
	          failure);
	assert_near(loss, report.loss, 1e-5 * (1 + fabs(report.loss)));
	assert_near(value_of(metric, count, "eval_loss"), loss, 0);
	assert_near(value_of(metric, count, "eval_rewards/chosen"),
	            stats->best_score / groups, 1e-4);
	assert_near(value_of(metric, count, "eval_rewards/margins"),
	            (stats->best_score - stats->worst_score) / groups, 1e-4);
	assert_near(value_of(metric, count, "eval_rewards/accuracies"),
	            (double) stats->ordered / (double) stats->compared, 0);
	assert_near(value_of(metric, count, "eval_logps/rejected"),
	            stats->worst_logp / groups, 1e-3);
	arena_destroy(arena);
}

static void
what_is_held_out_is_measured_as_it_is_trained_on(void **state)
{
	static const char *const methods[] = {"dpo", "dpo_ref_free", "pro"};
	Arena *arena = arena_create();
	char *files = tiny_directory(arena, TINY_LLAMA(""), 5);

	(void) state;
	for (int i = 0; i < 3; i++)
		check_method(files, methods[i]);
	tiny_remove(files);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_held_out_is_measured_as_it_is_trained_on),
	};

	return run_on_cpu(tests);
}
