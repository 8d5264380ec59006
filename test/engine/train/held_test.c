/*
 * held_test.c
 *		What held-out rows say of a classifier, against sums over its outputs.
 */
#include "near.h"
#include "on_cpu.h"
#include "tiny.h"

#include "train/held.h"

#define ROWS 12

static Arena *arena;

/* A dataset as if read from a file: labels by row. */
static Dataset
rows_of(const double *label, int count)
{
	Batch batch = tiny_batch(arena, count);
	Dataset dataset = {.selected = count,
	                   .row = arena_alloc(arena, ROWS * sizeof(DatasetRow))};

	for (int i = 0; i < count; i++)
		dataset.row[i] =
			(DatasetRow){.row_number = i + 1,
		                 .tokens = batch.offset[i + 1] - batch.offset[i],
		                 .prompt = batch.offset[i + 1] - batch.offset[i],
		                 .ids = batch.ids + batch.offset[i],
		                 .reward = label[i],
		                 .prompt_key = {(uint64_t) i / 2, 7}};
	return dataset;
}

/* The model, its outputs for the rows, and what is measured of them. */
typedef struct Case
{
	Model *model;
	float logits[ROWS * 3];
	TrainMetric metric[HELD_METRICS];
	int count;
	double best;
	double baseline;
} Case;

static void
measure(const char *objective, int labels, const double *label,
        const double *trained, int count, Case *out)
{
	static char *names[] = {"a", "b", "c"};
	ClassifierPlan *plan = arena_alloc(arena, sizeof(ClassifierPlan));
	json_t *settings = json_pack("{s:s}", "method", objective);
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 9);
	Batch batch = tiny_batch(arena, count);
	TrainOptions options;
	Dataset other = rows_of(trained, count);
	Held held = {.dataset = rows_of(label, count)};
	Failure failure = {0};

	memset(out, 0, sizeof(*out));
	*plan = (ClassifierPlan){.labels = labels, .names = names, .seed = 5};
	assert_ok(train_options_read(settings, &options, &failure), failure);
	assert_ok(
		model_open_files(arena, device,
	                     &(ModelFiles){.directory = directory, .plan = plan},
	                     &out->model, &failure),
		failure);
	assert_ok(model_make_trainable(out->model, NULL, &failure), failure);
	assert_ok(held_open(arena, &options, &other, labels, &held, &failure),
	          failure);
	assert_ok(held_measure(out->model, &held, out->metric, &out->count,
	                       &out->best, &out->baseline, &failure),
	          failure);
	assert_ok(model_classify(out->model, &batch, out->logits, &failure),
	          failure);
	json_decref(settings);
	tiny_remove(directory);
}

static double
metric_of(const Case *measured, const char *name)
{
	for (int i = 0; i < measured->count; i++)
		if (strcmp(measured->metric[i].name, name) == 0)
			return measured->metric[i].value;
	return NAN;
}

static void
two_labels_are_measured_by_the_second(void **state)
{
	static const double label[ROWS] = {0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1};
	static const double zeros[ROWS] = {0};
	double loss = 0, brier = 0, hits = 0, above = 0;
	Case m;

	(void) state;
	measure("classification", 2, label, zeros, ROWS, &m);
	for (int i = 0; i < ROWS; i++)
	{
		double margin = (double) m.logits[2 * i + 1] - (double) m.logits[2 * i];
		double p = 1 / (1 + exp(-margin));

		loss -= log(label[i] == 1 ? p : 1 - p) / ROWS;
		brier += (p - label[i]) * (p - label[i]) / ROWS;
		hits += (margin > 0) == (label[i] == 1);
		for (int j = 0; j < ROWS; j++)
			if (label[i] == 1 && label[j] == 0)
				above += margin > (double) m.logits[2 * j + 1] -
				                      (double) m.logits[2 * j];
	}
	assert_near(metric_of(&m, "evaluation/loss"), loss, 1e-6);
	assert_near(metric_of(&m, "evaluation/brier"), brier, 1e-6);
	assert_near(metric_of(&m, "evaluation/accuracy"), hits / ROWS, 1e-12);
	assert_near(metric_of(&m, "evaluation/auc"), above / 35, 1e-12);
	/* All of training were 0, as five of twelve are here. */
	assert_near(metric_of(&m, "evaluation/baseline_accuracy"), 5.0 / 12, 1e-12);
	assert_near(m.best, hits / ROWS, 1e-7);
}

static void
of_equal_accuracies_the_lower_loss_is_better(void **state)
{
	static const double label[ROWS] = {0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1};
	Case m;

	(void) state;
	measure("classification", 2, label, label, ROWS, &m);
	assert_true(m.best < metric_of(&m, "evaluation/accuracy"));
}

static void
three_labels_are_each_against_the_rest(void **state)
{
	static const double label[ROWS] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 1, 0};
	double brier = 0;
	Case m;

	(void) state;
	measure("classification", 3, label, label, ROWS, &m);
	for (int i = 0; i < ROWS; i++)
	{
		const float *z = m.logits + 3 * i;
		double total =
			exp((double) z[0]) + exp((double) z[1]) + exp((double) z[2]);

		for (int j = 0; j < 3; j++)
			brier += pow(exp((double) z[j]) / total - (label[i] == j), 2);
	}
	assert_near(metric_of(&m, "evaluation/brier"), brier / ROWS, 1e-6);
	assert_in_range(metric_of(&m, "evaluation/auc") * 1e6, 0, 1000000);
}

static void
one_kind_of_row_has_no_auc(void **state)
{
	static const double ones[ROWS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	Case m;

	(void) state;
	measure("classification", 2, ones, ones, ROWS, &m);
	assert_true(isnan(metric_of(&m, "evaluation/auc")));
	assert_near(metric_of(&m, "evaluation/baseline_accuracy"), 1, 1e-12);
}

static void
numbers_are_compared_to_the_mean_of_training(void **state)
{
	static const double label[ROWS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	static const double fives[ROWS] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
	double mse = 0;
	Case m;

	(void) state;
	measure("regression", 1, label, fives, ROWS, &m);
	for (int i = 0; i < ROWS; i++)
		mse += pow((double) m.logits[i] - label[i], 2) / ROWS;
	assert_near(metric_of(&m, "evaluation/mse"), mse, 1e-4);
	assert_near(metric_of(&m, "evaluation/loss"), mse, 1e-4);
	/* The variance of 1 to 12 is 143 / 12; their mean is 1.5 from 5. */
	assert_near(metric_of(&m, "evaluation/r2"), 1 - mse / (143.0 / 12), 1e-5);
	assert_near(metric_of(&m, "evaluation/baseline_mse"), 143.0 / 12 + 2.25,
	            1e-9);
	assert_near(m.baseline, -2.25 / (143.0 / 12), 1e-9);
}

/* Rows of one prompt, two and two, the second of each the better. */
static void
pairs_are_made_of_ranked_rows(void **state)
{
	static const double label[ROWS] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2};
	double hits = 0, loss = 0;
	Case m;

	(void) state;
	measure("pairwise", 1, label, label, ROWS, &m);
	for (int i = 0; i < ROWS; i += 2)
	{
		double margin = (double) m.logits[i + 1] - (double) m.logits[i];

		hits += margin > 0;
		loss += log(1 + exp(-margin));
	}
	assert_near(metric_of(&m, "evaluation/accuracy"), hits / 6, 1e-12);
	assert_near(metric_of(&m, "evaluation/loss"), loss / 6, 1e-6);
	assert_near(m.baseline, 0.5, 0);
}

static int
open_arena(void **state)
{
	(void) state;
	arena = arena_create();
	return 0;
}

/* Models go before the device. */
static int
close_arena(void **state)
{
	(void) state;
	arena_destroy(arena);
	return 0;
}

#define CASE(name)                                                             \
	cmocka_unit_test_setup_teardown(name, open_arena, close_arena)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(two_labels_are_measured_by_the_second),
		CASE(of_equal_accuracies_the_lower_loss_is_better),
		CASE(three_labels_are_each_against_the_rest),
		CASE(one_kind_of_row_has_no_auc),
		CASE(numbers_are_compared_to_the_mean_of_training),
		CASE(pairs_are_made_of_ranked_rows),
	};

	return run_on_cpu(tests);
}
