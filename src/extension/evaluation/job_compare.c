/*
 * job_compare.c
 *		alol_compare(): which of two evaluated policies is better, and how sure
 *		that is.
 *
 * Rows of the two jobs are paired by their keys where all have one (equal
 * keys in their order), and otherwise by row number and prompt.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "evaluation/bootstrap.h"
#include "job/job.h"
#include "evaluation/job_compare.h"
#include "base/srf.h"
#include "base/statement.h"

#define COLUMNS 10

/* What is measured of a row: columns of alol_evaluation, as SQL. */
typedef struct Measure
{
	const char *metric;
	const char *sum;
	const char *weight;
	PairedMeasure of;
	bool less_is_better;
} Measure;

static const Measure reward_measure = {"reward", "reward", "1", measure_mean,
                                       false};
/* $2 is the component's name. */
static const Measure component_measure = {NULL, "components ->> $2", "1",
                                          measure_mean, false};
static const Measure other_measures[] = {
	{"perplexity", "-ref_logprob", "ref_tokens", measure_perplexity, true},
	{"words", "words", "1", measure_mean, false},
	{"tokens", "tokens", "1", measure_mean, false},
};

typedef struct Comparison
{
	int64 job[2]; /* a and b */
	uint64 seed;
	bool by_key;
	int count;             /* of pairs */
	int *place[2];         /* [count] of their rows, in row number order */
	MemoryContext context; /* SPI leaves us in its own */
	List *lines;           /* Compared's */
} Comparison;

/* ------------------------------------------------------------------ pairs */

static uint64
read_both(const Comparison *comparison, const char *query)
{
	Statement statement = {0};

	statement_int(&statement, comparison->job[0]);
	statement_int(&statement, comparison->job[1]);
	return statement_read(&statement, query);
}

static bool
all_have_keys(const Comparison *comparison)
{
	read_both(comparison, "SELECT count(*) = count(row_key) FROM "
	                      "@schema@.alol_evaluation WHERE job IN ($1, $2)");
	return result_bool(0, 1);
}

/* Joins a and b, which have the columns row_key, turn (among rows of the same
 * key), row_number, prompt, and place. */
static const char *
pairs_query(bool by_key)
{
	return psprintf(
		"WITH r AS (SELECT e.job, e.row_key, e.row_number, s.prompt, "
		"row_number() OVER (PARTITION BY e.job ORDER BY e.row_number) - 1 AS "
		"place, row_number() OVER (PARTITION BY e.job, e.row_key ORDER BY "
		"e.row_number) AS turn FROM @schema@.alol_evaluation e JOIN "
		"@schema@.alol_sample s ON s.job = e.job AND s.step = 0 AND s.number "
		"= e.row_number WHERE e.job IN ($1, $2)) SELECT a.place, b.place FROM "
		"r a JOIN r b ON a.job = $1 AND b.job = $2 AND %s ORDER BY "
		"a.row_number",
		by_key ? "a.row_key = b.row_key AND a.turn = b.turn"
			   : "a.row_number = b.row_number AND a.prompt = b.prompt");
}

/* False when there is none. */
static bool
find_pairs(Comparison *comparison)
{
	uint64 count;

	comparison->by_key = all_have_keys(comparison);
	count = read_both(comparison, pairs_query(comparison->by_key));
	if (count == 0)
		return false;
	comparison->count = (int) count;
	for (int side = 0; side < 2; side++)
	{
		comparison->place[side] =
			MemoryContextAllocHuge(comparison->context, count * sizeof(int));
		for (uint64 i = 0; i < count; i++)
			comparison->place[side][i] = (int) result_int(i, side + 1);
	}
	return true;
}

/* --------------------------------------------------------------- measures */

/* A column of a job's rows, [rows], in row number order; NaN for NULL. */
static double *
read_column(const Comparison *comparison, int side, const char *expression,
            const char *component)
{
	Statement statement = {0};
	uint64 count;
	double *values;

	statement_int(&statement, comparison->job[side]);
	if (component != NULL)
		statement_text(&statement, component);
	count = statement_read(
		&statement,
		psprintf("SELECT (%s)::float8 FROM @schema@.alol_evaluation "
	             "WHERE job = $1 ORDER BY row_number",
	             expression));
	values = MemoryContextAllocHuge(comparison->context,
	                                Max(count, 1) * sizeof(double));
	for (uint64 i = 0; i < count; i++)
		values[i] = result_float(i, 1);
	return values;
}

/* Numbers of both, of the pairs that have all of them. */
static void
read_sample(const Comparison *comparison, const Measure *measure,
            const char *component, PairedSample *sample)
{
	double *kept[4];
	int count = 0;

	for (int i = 0; i < 4; i++)
	{
		int side = i / 2;
		/* Only the numerator names the component. */
		bool is_sum = i % 2 == 0;
		double *column = read_column(comparison, side,
		                             is_sum ? measure->sum : measure->weight,
		                             is_sum ? component : NULL);

		kept[i] = MemoryContextAllocHuge(comparison->context,
		                                 comparison->count * sizeof(double));
		for (int pair = 0; pair < comparison->count; pair++)
			kept[i][pair] = column[comparison->place[side][pair]];
		pfree(column);
	}
	for (int pair = 0; pair < comparison->count; pair++)
	{
		if (isnan(kept[0][pair] + kept[1][pair] + kept[2][pair] +
		          kept[3][pair]))
			continue;
		for (int i = 0; i < 4; i++)
			kept[i][count] = kept[i][pair];
		count++;
	}
	*sample =
		(PairedSample){.count = count, kept[0], kept[1], kept[2], kept[3]};
}

/* At how many prompts a is better, equal, or worse. */
static void
count_wins(const PairedSample *sample, const Measure *measure, Compared *line)
{
	for (int i = 0; i < sample->count; i++)
	{
		double a = measure->of(sample->a_sum[i], sample->a_weight[i]);
		double b = measure->of(sample->b_sum[i], sample->b_weight[i]);

		if (a == b)
			line->ties++;
		else if ((a > b) != measure->less_is_better)
			line->wins++;
		else
			line->losses++;
	}
}

static void
add_line(Comparison *comparison, const Compared *line)
{
	MemoryContext saved = MemoryContextSwitchTo(comparison->context);
	Compared *copy = palloc(sizeof(Compared));

	*copy = *line;
	copy->metric = pstrdup(line->metric);
	comparison->lines = lappend(comparison->lines, copy);
	MemoryContextSwitchTo(saved);
}

/* A line, unless no pair has the measure. */
static void
compare_measure(Comparison *comparison, const Measure *measure,
                const char *component)
{
	Compared line = {.metric = component == NULL
	                               ? measure->metric
	                               : psprintf("reward/%s", component)};
	PairedSample sample;

	read_sample(comparison, measure, component, &sample);
	if (sample.count == 0)
		return;
	line.prompts = sample.count;
	paired_measure(&sample, measure->of, &line.a, &line.b);
	paired_interval(&sample, measure->of, comparison->seed, &line.low,
	                &line.high);
	count_wins(&sample, measure, &line);
	add_line(comparison, &line);
}

/* The named components that both have, in order. */
static void
compare_components(Comparison *comparison)
{
	uint64 count = read_both(
		comparison,
		"SELECT name FROM (SELECT DISTINCT e.job, k AS name FROM "
		"@schema@.alol_evaluation e, jsonb_object_keys(e.components) k WHERE "
		"e.job IN ($1, $2)) s GROUP BY name HAVING count(*) = CASE WHEN $1 = "
		"$2 THEN 1 ELSE 2 END ORDER BY name COLLATE \"C\"");
	char **names =
		MemoryContextAlloc(comparison->context, (count + 1) * sizeof(char *));

	for (uint64 i = 0; i < count; i++)
		names[i] = result_text(comparison->context, i, 1);
	for (uint64 i = 0; i < count; i++)
		compare_measure(comparison, &component_measure, names[i]);
}

/* Diversity is of all responses together: no prompt has it, and resampled
 * prompts, some of which come twice, would have less of it. */
static void
compare_diversity(Comparison *comparison, int n)
{
	Compared line = {.metric = psprintf("distinct_%d", n),
	                 .low = NAN,
	                 .high = NAN,
	                 .wins = -1,
	                 .ties = -1,
	                 .losses = -1,
	                 .prompts = comparison->count};
	double *result[2] = {&line.a, &line.b};

	for (int side = 0; side < 2; side++)
	{
		Statement statement = {0};
		Datum *places = palloc(comparison->count * sizeof(Datum));

		for (int i = 0; i < comparison->count; i++)
			places[i] = Int64GetDatum(comparison->place[side][i]);
		statement_int(&statement, comparison->job[side]);
		statement_int(&statement, n);
		statement_array(&statement, INT8OID, places, NULL, comparison->count);
		statement_read(
			&statement,
			"SELECT @schema@.alol_corpus_distinct(response, $2::int) FROM "
			"(SELECT s.response, row_number() OVER (ORDER BY e.row_number) - "
			"1 AS place FROM @schema@.alol_evaluation e JOIN "
			"@schema@.alol_sample s ON s.job = e.job AND s.step = 0 AND "
			"s.number = e.row_number WHERE e.job = $1) r WHERE place = ANY "
			"($3)");
		*result[side] = result_float(0, 1);
	}
	add_line(comparison, &line);
}

List *
evaluations_compare(int64 a, int64 b, uint64 seed, bool *by_key)
{
	Comparison comparison = {
		.job = {a, b}, .seed = seed, .context = CurrentMemoryContext};
	OwnerScope scope;

	owner_begin(&scope);
	/* The planner cannot know how many rows a job has, and might compare
	 * each with each.  Undone by owner_end(). */
	(void) set_config_option("enable_nestloop", "off", PGC_USERSET,
	                         PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (find_pairs(&comparison))
	{
		compare_measure(&comparison, &reward_measure, NULL);
		compare_components(&comparison);
		for (size_t i = 0; i < lengthof(other_measures); i++)
			compare_measure(&comparison, &other_measures[i], NULL);
		for (int n = 1; n <= 3; n++)
			compare_diversity(&comparison, n);
	}
	owner_end(&scope);
	if (by_key != NULL)
		*by_key = comparison.by_key;
	return comparison.lines;
}

/* ------------------------------------------------------------ the function */

static const Job *
evaluation(int64 id)
{
	const Job *job = job_get(id);

	if (strcmp(job->kind, "evaluate") != 0)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("job " INT64_FORMAT " is not an evaluation", id),
		                errhint("Evaluate its model with alol_evaluate().")));
	if (strcmp(job->state, "succeeded") != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("job " INT64_FORMAT " has not succeeded: it is %s", id,
		                job_state(id, job->state))));
	return job;
}

static void
check_same_reward(const Job *a, const Job *b)
{
	bool is_same = a->reward == NULL || b->reward == NULL
	                   ? a->reward == b->reward
	                   : strcmp(a->reward, b->reward) == 0;

	if (!is_same)
		ereport(WARNING, (errmsg("jobs " INT64_FORMAT " and " INT64_FORMAT
		                         " measure different rewards",
		                         a->id, b->id)));
}

static void
put_number(Datum *datum, bool *isnull, double value)
{
	*isnull = isnan(value);
	*datum = Float8GetDatum(value);
}

static void
put_line(Tuplestorestate *rows, TupleDesc columns, const Compared *line)
{
	Datum values[COLUMNS] = {CStringGetTextDatum(line->metric)};
	bool nulls[COLUMNS] = {false};
	int64 counts[4] = {line->wins, line->ties, line->losses, line->prompts};

	put_number(&values[1], &nulls[1], line->a);
	put_number(&values[2], &nulls[2], line->b);
	put_number(&values[3], &nulls[3], line->a - line->b);
	put_number(&values[4], &nulls[4], line->low);
	put_number(&values[5], &nulls[5], line->high);
	for (int i = 0; i < 4; i++)
	{
		nulls[6 + i] = counts[i] < 0;
		values[6 + i] = Int64GetDatum(counts[i]);
	}
	tuplestore_putvalues(rows, columns, values, nulls);
}

ALOL_FUNCTION(alol_compare);
Datum
alol_compare(PG_FUNCTION_ARGS)
{
	const Job *a = evaluation(PG_GETARG_INT64(0));
	const Job *b = evaluation(PG_GETARG_INT64(1));
	TupleDesc columns;
	Tuplestorestate *rows;
	bool by_key;
	List *lines;
	ListCell *cell;

	check_same_reward(a, b);
	rows = srf_open(fcinfo, &columns);
	lines =
		evaluations_compare(a->id, b->id, (uint64) PG_GETARG_INT64(2), &by_key);
	if (lines == NIL)
		ereport(ERROR, (errcode(ERRCODE_NO_DATA),
		                errmsg("jobs " INT64_FORMAT " and " INT64_FORMAT
		                       " have no row in common",
		                       a->id, b->id),
		                errdetail(by_key ? "Rows are paired by their keys."
		                                 : "Rows without keys are paired by "
		                                   "number and prompt.")));
	foreach (cell, lines)
		put_line(rows, columns, lfirst(cell));
	return (Datum) 0;
}
