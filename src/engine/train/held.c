/*
 * held.c
 *		What a classifier makes of rows that it is not trained on.
 */
#include "train/held.h"

#include "method/measure.h"

#include <math.h>
#include <string.h>

/* Of steps with equal accuracies, as few rows often give, the one with the
 * lower loss is better: by less than any difference of accuracies. */
#define TIE 1e-10
#define LOSS_MAX 100

/* The label that most rows have, the first of equal ones. */
static int
commonest(const int64_t *count, int labels)
{
	int most = 0;

	for (int i = 1; i < labels; i++)
		if (count[i] > count[most])
			most = i;
	return most;
}

static bool
take_guess(Arena *arena, const Dataset *trained, int labels, Held *held,
           Failure *failure)
{
	int64_t *count =
		arena_try(arena, (size_t) labels, sizeof(int64_t), failure);
	double sum = 0;

	if (count == NULL)
		return false;
	for (int32_t i = 0; i < trained->selected; i++)
	{
		double label = trained->row[i].reward;

		sum += label;
		if (held->critic->is_indexed)
			count[(int) label]++;
	}
	held->guess = held->critic->is_indexed ? commonest(count, labels)
	                                       : sum / trained->selected;
	return true;
}

bool
held_open(Arena *arena, const TrainOptions *options, const Dataset *trained,
          int labels, Held *held, Failure *failure)
{
	bool ranks = objective_ranks(options->objective);

	held->critic = options->critic;
	return dataset_group(arena, &held->dataset,
	                     ranks ? &options->group_options : NULL, failure) &&
	       take_guess(arena, trained, labels, held, failure);
}

/* ------------------------------------------------------------ measuring */

/* The rows' outputs, and the metrics on their way out. */
typedef struct Measuring
{
	Arena *arena;
	const Held *held;
	int labels;
	int rows;
	float *logits; /* [rows, labels] */
	double *truth; /* [rows] labels */
	double *score; /* [rows] scratch */
	bool *is_true; /* [rows] scratch */
	TrainMetric *metric;
	int count;
} Measuring;

static void
add(Measuring *m, const char *name, double value)
{
	if (isfinite(value))
		m->metric[m->count++] = (TrainMetric){name, value};
}

/* All rows as one batch. */
static bool
fill_batch(Measuring *m, Batch *batch, Failure *failure)
{
	const Dataset *dataset = &m->held->dataset;
	size_t rows = (size_t) dataset->selected;
	int64_t tokens = 0;
	int32_t *offset, *ids, *types;

	for (size_t i = 0; i < rows; i++)
		tokens += dataset->row[i].tokens;
	if (tokens > INT32_MAX / 4)
		return fail(failure, FAILURE_BAD_INPUT,
		            "%lld tokens to evaluate on are too many",
		            (long long) tokens);
	offset = arena_try(m->arena, rows + 1, sizeof(int32_t), failure);
	ids = arena_try(m->arena, (size_t) tokens + 1, sizeof(int32_t), failure);
	types = arena_try(m->arena, (size_t) tokens + 1, sizeof(int32_t), failure);
	if (offset == NULL || ids == NULL || types == NULL)
		return false;
	for (size_t i = 0; i < rows; i++)
	{
		const DatasetRow *row = &dataset->row[i];

		memcpy(ids + offset[i], row->ids,
		       (size_t) row->tokens * sizeof(int32_t));
		for (int32_t t = row->prompt; t < row->tokens; t++)
			types[offset[i] + t] = 1;
		offset[i + 1] = offset[i] + row->tokens;
		m->truth[i] = row->reward;
	}
	*batch = (Batch){(int) rows, offset, NULL, ids, types};
	return true;
}

static bool
classify_rows(Measuring *m, Model *model, Failure *failure)
{
	size_t rows = (size_t) m->held->dataset.selected;
	Batch batch;

	m->rows = (int) rows;
	m->labels = model_labels(model);
	m->logits =
		arena_try(m->arena, rows * (size_t) m->labels, sizeof(float), failure);
	m->truth = arena_try(m->arena, rows, sizeof(double), failure);
	m->score = arena_try(m->arena, rows, sizeof(double), failure);
	m->is_true = arena_try(m->arena, rows, sizeof(bool), failure);
	return m->logits != NULL && m->truth != NULL && m->score != NULL &&
	       m->is_true != NULL && fill_batch(m, &batch, failure) &&
	       model_classify(model, &batch, m->logits, failure);
}

/* The mean loss of the groups. */
static bool
add_loss(Measuring *m, double *loss, Failure *failure)
{
	const Groups *groups = &m->held->dataset.groups;
	size_t labels = (size_t) m->labels;
	float *logits = arena_try(m->arena, 2 * labels, sizeof(float), failure);
	float *grad = arena_try(m->arena, 2 * labels, sizeof(float), failure);
	ObjectiveStats stats = {0};
	double total = 0;

	if (logits == NULL || grad == NULL)
		return false;
	for (int32_t g = 0; g < groups->count; g++)
	{
		const int32_t *row = groups->row + groups->offset[g];
		CriticGroup group = {groups->offset[g + 1] - groups->offset[g],
		                     m->labels, logits, &m->truth[row[0]]};

		for (int i = 0; i < group.count; i++)
			memcpy(logits + (size_t) i * labels,
			       m->logits + (size_t) row[i] * labels,
			       labels * sizeof(float));
		total += m->held->critic->loss(&group, grad, &stats);
	}
	*loss = total / groups->count;
	add(m, "evaluation/loss", *loss);
	return true;
}

/* Of two labels that of the second; of more the mean of each against the
 * rest. */
static double
classification_auc(Measuring *m, const double *probability)
{
	double sum = 0;
	int counted = 0;

	for (int label = m->labels == 2; label < m->labels; label++)
	{
		double auc;

		for (int i = 0; i < m->rows; i++)
		{
			m->score[i] =
				probability[(size_t) i * (size_t) m->labels + (size_t) label];
			m->is_true[i] = m->truth[i] == label;
		}
		auc = measure_auc(m->arena, m->score, m->is_true, m->rows);
		if (isnan(auc))
			continue;
		sum += auc;
		counted++;
	}
	return counted == 0 ? NAN : sum / counted;
}

/* Squared distance from the truth: of the second of two labels alone, else
 * summed over all (Brier, 1950). */
static double
squared_error(const Measuring *m, const double *probability, int truth)
{
	double sum = 0;

	for (int i = m->labels == 2; i < m->labels; i++)
		sum +=
			(probability[i] - (i == truth)) * (probability[i] - (i == truth));
	return sum;
}

static bool
measure_classification(Measuring *m, double *best, double *baseline,
                       Failure *failure)
{
	size_t labels = (size_t) m->labels;
	double *probability =
		arena_try(m->arena, (size_t) m->rows * labels, sizeof(double), failure);
	double hits = 0, guessed = 0, brier = 0, auc;

	if (probability == NULL)
		return false;
	for (int i = 0; i < m->rows; i++)
		critic_softmax(m->logits + (size_t) i * labels, m->labels,
		               probability + (size_t) i * labels);
	auc = classification_auc(m, probability);
	for (int i = 0; i < m->rows; i++)
	{
		const double *p = probability + (size_t) i * labels;
		int chosen = 0;

		for (int j = 1; j < m->labels; j++)
			chosen = p[j] > p[chosen] ? j : chosen;
		m->score[i] = p[chosen];
		m->is_true[i] = m->truth[i] == chosen;
		hits += m->is_true[i];
		guessed += m->truth[i] == m->held->guess;
		brier += squared_error(m, p, (int) m->truth[i]);
	}
	*best = hits / m->rows;
	*baseline = guessed / m->rows;
	add(m, "evaluation/accuracy", *best);
	add(m, "evaluation/auc", auc);
	add(m, "evaluation/ece",
	    measure_calibration(m->score, m->is_true, m->rows));
	add(m, "evaluation/brier", brier / m->rows);
	add(m, "evaluation/baseline_accuracy", *baseline);
	return true;
}

static bool
measure_regression(Measuring *m, double *best, double *baseline,
                   Failure *failure)
{
	double mse = 0;
	double guessed = measure_spread(m->truth, m->held->guess, m->rows);
	double spread =
		measure_spread(m->truth, measure_mean(m->truth, m->rows), m->rows);

	(void) failure;
	for (int i = 0; i < m->rows; i++)
	{
		double error = (double) m->logits[i] - m->truth[i];

		m->score[i] = (double) m->logits[i];
		mse += error * error / m->rows;
	}
	*best = spread > 0 ? 1 - mse / spread : NAN;
	*baseline = spread > 0 ? 1 - guessed / spread : NAN;
	add(m, "evaluation/mse", mse);
	add(m, "evaluation/r2", *best);
	add(m, "evaluation/pearson", measure_pearson(m->score, m->truth, m->rows));
	add(m, "evaluation/spearman",
	    measure_spearman(m->arena, m->score, m->truth, m->rows));
	add(m, "evaluation/baseline_mse", guessed);
	return true;
}

/* A pair's chance to be ordered as it is, by what the scores say. */
static bool
measure_pairs(Measuring *m, double *best, double *baseline, Failure *failure)
{
	const Groups *groups = &m->held->dataset.groups;
	size_t pairs = (size_t) groups->count;
	double *confidence = arena_try(m->arena, pairs, sizeof(double), failure);
	bool *is_hit = arena_try(m->arena, pairs, sizeof(bool), failure);
	double hits = 0, brier = 0;

	if (confidence == NULL || is_hit == NULL)
		return false;
	for (size_t i = 0; i < pairs; i++)
	{
		const int32_t *row = groups->row + groups->offset[i];
		double margin = (double) m->logits[row[0]] - (double) m->logits[row[1]];
		double doubt = critic_sigmoid(-margin);

		hits += margin > 0 ? 1 : margin == 0 ? 0.5 : 0;
		brier += doubt * doubt;
		confidence[i] = critic_sigmoid(fabs(margin));
		is_hit[i] = margin > 0;
	}
	*best = hits / (double) pairs;
	*baseline = 0.5;
	add(m, "evaluation/accuracy", *best);
	add(m, "evaluation/ece",
	    measure_calibration(confidence, is_hit, groups->count));
	add(m, "evaluation/brier", brier / (double) pairs);
	add(m, "evaluation/baseline_accuracy", *baseline);
	return true;
}

bool
held_measure(Model *model, const Held *held, TrainMetric *metric, int *count,
             double *best, double *baseline, Failure *failure)
{
	Arena *arena = arena_create();
	Measuring m = {.arena = arena, .held = held, .metric = metric};
	double loss;
	bool done =
		classify_rows(&m, model, failure) && add_loss(&m, &loss, failure);

	if (done && objective_ranks(&held->critic->draws))
		done = measure_pairs(&m, best, baseline, failure);
	else if (done && held->critic->is_indexed)
		done = measure_classification(&m, best, baseline, failure);
	else if (done)
		done = measure_regression(&m, best, baseline, failure);
	if (done)
		*best -= TIE * fmin(loss, LOSS_MAX);
	*count = m.count;
	arena_destroy(arena);
	return done;
}
