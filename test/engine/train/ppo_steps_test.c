/*
 * ppo_steps_test.c
 *		Whole steps of method ppo on given responses: losses, gradients and
 *		weights are those that PyTorch finds (test/golden/make_ppo_steps.py).
 */
#include "on_cpu.h"
#include "train_log.h"

#include "train/trainer.h"

#include <math.h>
#include <string.h>

/* The reference is in double precision; Adam divides by small numbers. */
#define METRIC_TOLERANCE 2e-4
#define WEIGHT_TOLERANCE 2e-5

/* A run's own view of its case. */
typedef struct Run
{
	json_t *steps;
	int metrics; /* compared so far */
} Run;

static bool
compare_metrics(void *argument, int64_t step, const TrainMetric *metric,
                int count, Failure *failure)
{
	Run *run = argument;
	json_t *expected = json_object_get(
		json_array_get(run->steps, (size_t) step - 1), "metrics");

	(void) failure;
	for (int i = 0; i < count; i++)
	{
		json_t *value = json_object_get(expected, metric[i].name);

		if (value == NULL)
			continue;
		if (fabs(metric[i].value - json_number_value(value)) >
		    METRIC_TOLERANCE * (1 + fabs(json_number_value(value))))
			fail_msg("%s of step %lld is %.9g, not %.9g", metric[i].name,
			         (long long) step, metric[i].value,
			         json_number_value(value));
		run->metrics++;
	}
	return true;
}

static const int32_t *
read_ids(Arena *arena, json_t *list, int *count)
{
	int32_t *ids;

	*count = (int) json_array_size(list);
	ids = arena_alloc(arena, (size_t) *count * sizeof(int32_t));
	for (int i = 0; i < *count; i++)
		ids[i] = (int32_t) json_integer_value(json_array_get(list, (size_t) i));
	return ids;
}

/* The responses of the case, whatever order its prompts are drawn in. */
static bool
roll_out(void *argument, Arena *arena, int64_t step, int count,
         Rollout *rollouts, Failure *failure)
{
	Run *run = argument;
	json_t *given = json_object_get(
		json_array_get(run->steps, (size_t) step - 1), "rollouts");

	(void) failure;
	for (int i = 0; i < count; i++)
	{
		json_t *one =
			json_array_get(given, (size_t) rollouts[i].prompt->row_number - 1);

		rollouts[i].ids = read_ids(arena, json_object_get(one, "response"),
		                           &rollouts[i].tokens);
		rollouts[i].score = json_number_value(json_object_get(one, "score"));
	}
	return true;
}

static Dataset
make_prompts(Arena *arena, json_t *given)
{
	int count = (int) json_array_size(given);
	Dataset dataset = {.rows = count, .selected = count, .checksum = 1};
	Failure failure = {0};

	dataset.row = arena_alloc(arena, (size_t) count * sizeof(DatasetRow));
	for (int i = 0; i < count; i++)
	{
		json_t *one = json_array_get(given, (size_t) i);
		DatasetRow *row = &dataset.row[i];

		*row = (DatasetRow){
			.row_number = i + 1, .reward = NAN, .value = NAN, .advantage = NAN};
		row->ids =
			read_ids(arena, json_object_get(one, "prompt"), &row->tokens);
		row->prompt = row->tokens;
	}
	assert_ok(dataset_group(arena, &dataset, NULL, &failure), failure);
	return dataset;
}

static TrainOptions
read_options(json_t *settings)
{
	TrainOptions options;
	Failure failure = {0};

	json_object_set_new(settings, "method", json_string("ppo"));
	json_object_set_new(settings, "schedule", json_string("constant"));
	json_object_set_new(settings, "steps", json_integer(3));
	assert_ok(train_options_read(settings, &options, &failure), failure);
	return options;
}

static void
compare_numbers(const float *numbers, const char *name, json_t *positions,
                json_t *values)
{
	for (size_t i = 0; i < json_array_size(values); i++)
	{
		json_int_t at = positions == NULL
		                    ? (json_int_t) i
		                    : json_integer_value(json_array_get(positions, i));
		double expected = json_number_value(json_array_get(values, i));

		if (fabs((double) numbers[at] - expected) > WEIGHT_TOLERANCE)
			fail_msg("%s[%lld] is %.9g, not %.9g", name, (long long) at,
			         (double) numbers[at], expected);
	}
}

/* The value's map comes last, weights and then bias, each in a line of its
 * own. */
static void
compare_weights(Arena *arena, Model *model, json_t *golden)
{
	json_t *weights = json_object_get(golden, "weights");
	json_t *head = json_object_get(golden, "value_head");
	int64_t size = model_state_size(model);
	size_t width = (size_t) model_config(model)->hidden;
	float *state = arena_alloc(arena, sizeof(float) * (size_t) size);
	int compared = 0;

	model_state_download(model, MODEL_WEIGHTS, 0, size, state);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		json_t *expected = json_object_get(weights, view.name);

		if (expected == NULL)
			continue;
		compare_numbers(state + view.offset, view.name,
		                json_object_get(expected, "positions"),
		                json_object_get(expected, "values"));
		compared++;
	}
	assert_int_equal(compared, json_object_size(weights));
	assert_int_equal(json_array_size(head), width + 1);
	for (int i = 0; i < model_parameter_count(model); i++)
	{
		ParameterView view = model_parameter(model, i);
		json_t *bias = json_pack("[O]", json_array_get(head, width));

		if (strcmp(view.name, "value.weight") == 0)
		{
			json_t *map = json_copy(head);

			json_array_remove(map, width);
			compare_numbers(state + view.offset, view.name, NULL, map);
			json_decref(map);
			compared++;
		}
		if (strcmp(view.name, "value.bias") == 0)
		{
			compare_numbers(state + view.offset, view.name, NULL, bias);
			compared++;
		}
		json_decref(bias);
	}
	assert_int_equal(compared, json_object_size(weights) + 2);
}

static void
check_case(const char *files, json_t *golden)
{
	Arena *arena = arena_create();
	json_t *steps = json_object_get(golden, "steps");
	Run run = {.steps = steps};
	Dataset dataset = make_prompts(
		arena, json_object_get(json_array_get(steps, 0), "rollouts"));
	TrainOptions options = read_options(json_object_get(golden, "options"));
	TrainEvents events = {.argument = &run,
	                      .progress = ignore_progress,
	                      .metrics = compare_metrics,
	                      .checkpoint = ignore_checkpoint,
	                      .warning = refuse_warning,
	                      .rollout = roll_out};
	TrainResult result;
	Failure failure = {0};
	Model *model;

	assert_ok(model_open(arena, device, files, NULL, &model, &failure),
	          failure);
	assert_ok(
		model_open(arena, device, files, NULL, &events.reference, &failure),
		failure);
	assert_ok(train_run(arena, model, test_directory(arena), &options, &dataset,
	                    &events, &result, &failure),
	          failure);
	assert_int_equal(run.metrics, 3 * 10);
	compare_weights(arena, model, golden);
	arena_destroy(arena);
}

static void
steps_are_those_of_pytorch(void **state)
{
	Arena *arena = arena_create();
	json_t *golden =
		test_read_json(arena, test_golden_path(arena, "ppo"), "steps.json");
	json_t *cases = json_object_get(golden, "cases");

	(void) state;
	assert_int_equal(json_array_size(cases), 3);
	for (size_t i = 0; i < json_array_size(cases); i++)
		check_case(test_golden_path(arena, "training/llama"),
		           json_array_get(cases, i));
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_those_of_pytorch),
	};

	return run_on_cpu(tests);
}
