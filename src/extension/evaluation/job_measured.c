/*
 * job_measured.c
 *		What an evaluation finds: into alol_evaluation, and in sum.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"

#include "evaluation/job_measured.h"
#include "job/job_record.h"
#include "base/json.h"
#include "base/statement.h"

/* ------------------------------------------------------------ the table */

/* Parallel arrays, one element a row, for unnest(). */
typedef struct Columns
{
	int count;
	Datum number[MEASURE_CHUNK];
	Datum key[MEASURE_CHUNK];
	bool no_key[MEASURE_CHUNK];
	Datum prompt[MEASURE_CHUNK];
	Datum response[MEASURE_CHUNK];
	Datum reward[MEASURE_CHUNK];
	bool no_reward[MEASURE_CHUNK];
	Datum components[MEASURE_CHUNK];
	bool no_components[MEASURE_CHUNK];
	Datum tokens[MEASURE_CHUNK];
	Datum ended[MEASURE_CHUNK];
	Datum ref_logprob[MEASURE_CHUNK];
	Datum ref_tokens[MEASURE_CHUNK];
	bool no_reference[MEASURE_CHUNK];
} Columns;

static void
add_row(Columns *columns, const MeasuredChunk *chunk, const MeasuredRow *row)
{
	int at = columns->count++;

	columns->number[at] = Int64GetDatum(row->number);
	columns->no_key[at] = row->key == NULL;
	columns->key[at] = row->key == NULL ? 0 : CStringGetTextDatum(row->key);
	columns->prompt[at] = CStringGetTextDatum(row->prompt);
	columns->response[at] = PointerGetDatum(
		text_from_utf8(row->response.utf8, row->response.length));
	columns->no_reward[at] = isnan(row->reward);
	columns->reward[at] = Float8GetDatum(row->reward);
	columns->no_components[at] = row->component == NULL;
	columns->components[at] = row->component == NULL
	                              ? 0
	                              : JsonbPGetDatum(json_numbers(
										chunk->component.names, row->component,
										chunk->component.count));
	columns->tokens[at] = Int32GetDatum((int32) row->response.tokens);
	columns->ended[at] = BoolGetDatum(row->response.has_ended);
	columns->no_reference[at] = isnan(row->ref_logprob) || row->ref_tokens == 0;
	columns->ref_logprob[at] = Float8GetDatum(row->ref_logprob);
	columns->ref_tokens[at] = Int32GetDatum((int32) row->ref_tokens);
}

/* The rows of columns, as the owner. */
static void
insert_rows(const Job *job, Columns *columns)
{
	Statement statement = {0};
	int count = columns->count;

	statement_int(&statement, job->id);
	statement_oid(&statement, job->owner);
	statement_array(&statement, INT8OID, columns->number, NULL, count);
	statement_array(&statement, TEXTOID, columns->key, columns->no_key, count);
	statement_array(&statement, TEXTOID, columns->prompt, NULL, count);
	statement_array(&statement, TEXTOID, columns->response, NULL, count);
	statement_array(&statement, FLOAT8OID, columns->reward, columns->no_reward,
	                count);
	statement_array(&statement, JSONBOID, columns->components,
	                columns->no_components, count);
	statement_array(&statement, INT4OID, columns->tokens, NULL, count);
	statement_array(&statement, BOOLOID, columns->ended, NULL, count);
	statement_array(&statement, FLOAT8OID, columns->ref_logprob,
	                columns->no_reference, count);
	statement_array(&statement, INT4OID, columns->ref_tokens,
	                columns->no_reference, count);
	statement_write(
		&statement,
		"WITH measured AS (SELECT * FROM unnest($3, $4, $5, $6, $7, $8, $9, "
		"$10, $11, $12) AS m (number, key, prompt, response, reward, "
		"components, tokens, ended, ref_logprob, ref_tokens)), "
		"sampled AS (INSERT INTO @schema@.alol_sample (job, owner, step, "
		"number, prompt, response, reward) SELECT $1, $2::regrole, 0, "
		"number, prompt, response, reward FROM measured) "
		"INSERT INTO @schema@.alol_evaluation (job, owner, row_number, "
		"row_key, reward, components, words, tokens, ended, ref_logprob, "
		"ref_tokens) SELECT $1, $2::regrole, number, key, reward, components, "
		"@schema@.alol_word_count(response), tokens, ended, ref_logprob, "
		"ref_tokens FROM measured");
}

void
measured_insert(Job *job, const MeasuredChunk *chunk)
{
	int64 done = chunk->first + chunk->count;
	MemoryContext saved = job_begin_write();
	Columns *columns = palloc0(sizeof(Columns));
	Statement statement = {0};
	OwnerScope scope;

	for (int i = 0; i < chunk->count; i++)
	{
		if (chunk->row[i].skip == MEASURE_USED)
			add_row(columns, chunk, &chunk->row[i]);
	}
	owner_begin(&scope);
	if (columns->count > 0)
		insert_rows(job, columns);
	statement_int(&statement, job->id);
	statement_int(&statement, done);
	statement_write(&statement, "UPDATE @schema@.alol_job SET checkpoint = $2, "
	                            "starts = 0 WHERE id = $1");
	owner_end(&scope);
	job_commit(saved);
	job->checkpoint = done;
}

/* -------------------------------------------------------------- in sum */

typedef struct Sums
{
	int64 rows;
	int64 rewards;
	int64 references;
	MemoryContext context; /* of what follows: SPI leaves us in its own */
	int count;             /* of metrics */
	char **names;
	double *values;
} Sums;

static void
add_sum(Sums *sums, const char *name, double value)
{
	MemoryContext saved = MemoryContextSwitchTo(sums->context);
	size_t size = sums->count + 1;

	sums->names = sums->names == NULL
	                  ? palloc(sizeof(char *))
	                  : repalloc(sums->names, size * sizeof(char *));
	sums->values = sums->values == NULL
	                   ? palloc(sizeof(double))
	                   : repalloc(sums->values, size * sizeof(double));
	sums->names[sums->count] = pstrdup(name);
	sums->values[sums->count++] = value;
	MemoryContextSwitchTo(saved);
}

static void
sum_rows(const Job *job, Sums *sums)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_read(
		&statement,
		"SELECT count(*), count(reward), count(ref_logprob), avg(reward), "
		"stddev_samp(reward), sum(ref_logprob), sum(ref_tokens)::float8, "
		"avg(words)::float8, avg(tokens)::float8, avg(ended::int)::float8 "
		"FROM @schema@.alol_evaluation WHERE job = $1");
	sums->rows = result_int(0, 1);
	sums->rewards = result_int(0, 2);
	sums->references = result_int(0, 3);
	add_sum(sums, "reward", result_float(0, 4));
	add_sum(sums, "reward/stddev", result_float(0, 5));
	/* Of all tokens together: long references weigh more than short ones. */
	add_sum(sums, "perplexity", exp(-result_float(0, 6) / result_float(0, 7)));
	add_sum(sums, "words", result_float(0, 8));
	add_sum(sums, "tokens", result_float(0, 9));
	add_sum(sums, "ended", result_float(0, 10));
}

static void
sum_components(const Job *job, Sums *sums)
{
	Statement statement = {0};
	uint64 count;

	statement_int(&statement, job->id);
	count = statement_read(
		&statement,
		"SELECT c.key, avg(c.value::float8) FROM @schema@.alol_evaluation e, "
		"jsonb_each_text(e.components) c WHERE e.job = $1 GROUP BY c.key");
	for (uint64 i = 0; i < count; i++)
		add_sum(sums, psprintf("reward/%s", result_text(sums->context, i, 1)),
		        result_float(i, 2));
}

static void
sum_diversity(const Job *job, Sums *sums)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_read(&statement,
	               "SELECT @schema@.alol_corpus_distinct(response, 1), "
	               "@schema@.alol_corpus_distinct(response, 2), "
	               "@schema@.alol_corpus_distinct(response, 3) FROM "
	               "@schema@.alol_sample WHERE job = $1 AND step = 0");
	for (int n = 1; n <= 3; n++)
		add_sum(sums, psprintf("distinct_%d", n), result_float(0, n));
}

static void
say_what_is_missing(JobRun *run, const Sums *sums)
{
	int64 total = run->rows->count;

	if (sums->rows == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA),
		         errmsg("no row of the source has a prompt: all " INT64_FORMAT
		                " are NULL or empty",
		                total)));
	if (sums->rows < total)
		job_record_notice(run->job, "notice",
		                  psprintf(INT64_FORMAT
		                           " of " INT64_FORMAT
		                           " rows are skipped: their prompt is NULL "
		                           "or empty",
		                           total - sums->rows, total));
	if (run->uses_reward && sums->rewards < sums->rows)
		job_record_notice(run->job, "warning",
		                  psprintf("the reward of " INT64_FORMAT
		                           " of " INT64_FORMAT
		                           " responses is NULL: they are left out of "
		                           "its mean",
		                           sums->rows - sums->rewards, sums->rows));
}

void
measured_report(JobRun *run)
{
	Job *job = run->job;
	Sums sums = {.context = CurrentMemoryContext};
	MemoryContext saved = job_begin_write();
	OwnerScope scope;

	owner_begin(&scope);
	sum_rows(job, &sums);
	sum_components(job, &sums);
	sum_diversity(job, &sums);
	owner_end(&scope);
	job_commit(saved);
	for (int i = 0; i < sums.count; i++)
		job_record_metric(job, 0, sums.names[i], sums.values[i]);
	job_record_metric(job, 0, "rows/total", (double) run->rows->count);
	job_record_metric(job, 0, "rows/skipped",
	                  (double) (run->rows->count - sums.rows));
	job_record_metric(job, 0, "rows/references", (double) sums.references);
	job_record_flush(job);
	say_what_is_missing(run, &sums);
}
