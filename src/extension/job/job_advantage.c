/*
 * job_advantage.c
 *		What scoring finds of each row: into alol_advantage, and in sum.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"

#include "job/job_advantage.h"
#include "job/job_record.h"
#include "base/json.h"
#include "base/statement.h"

/* Rows that are marked in one statement. */
#define SELECT_CHUNK 10000

/* ------------------------------------------------------------ the table */

/* Parallel arrays, one element a row, for unnest(). */
typedef struct Columns
{
	int count;
	Datum number[SCORE_CHUNK];
	Datum key[SCORE_CHUNK];
	bool no_key[SCORE_CHUNK];
	Datum components[SCORE_CHUNK];
	bool no_components[SCORE_CHUNK];
	Datum reward[SCORE_CHUNK];
	bool no_reward[SCORE_CHUNK];
	Datum value[SCORE_CHUNK];
	bool no_value[SCORE_CHUNK];
	Datum advantage[SCORE_CHUNK];
	bool no_advantage[SCORE_CHUNK];
	Datum ref_logprob[SCORE_CHUNK];
	bool no_ref_logprob[SCORE_CHUNK];
	Datum tokens[SCORE_CHUNK];
	bool no_tokens[SCORE_CHUNK];
	Datum selected[SCORE_CHUNK];
} Columns;

static void
put_number(Datum *datum, bool *none, double value)
{
	*none = isnan(value);
	*datum = Float8GetDatum(value);
}

static void
add_row(Columns *columns, const ScoredChunk *chunk, int i)
{
	const ScoredRow *row = &chunk->row[i];
	int at = columns->count++;

	columns->number[at] = Int64GetDatum(row->number);
	columns->no_key[at] = row->key == NULL;
	columns->key[at] = row->key == NULL ? 0 : CStringGetTextDatum(row->key);
	columns->no_components[at] = chunk->components == 0 || isnan(row->reward);
	columns->components[at] =
		columns->no_components[at]
			? 0
			: JsonbPGetDatum(json_numbers(
				  chunk->names, chunk->component + i * chunk->components,
				  chunk->components));
	put_number(&columns->reward[at], &columns->no_reward[at], row->reward);
	put_number(&columns->value[at], &columns->no_value[at], row->value);
	put_number(&columns->advantage[at], &columns->no_advantage[at],
	           row->advantage);
	put_number(&columns->ref_logprob[at], &columns->no_ref_logprob[at],
	           row->ref_logprob);
	columns->no_tokens[at] = row->skip != SCORE_USED;
	columns->tokens[at] = Int32GetDatum((int32) row->tokens);
	columns->selected[at] = BoolGetDatum(row->selected);
}

void
advantages_write(const Job *job, const ScoredChunk *chunk)
{
	MemoryContext saved = job_begin_write();
	Columns *columns = palloc0(sizeof(Columns));
	Statement statement = {0};
	OwnerScope scope;
	int count;

	for (int i = 0; i < chunk->count; i++)
	{
		if (chunk->row[i].skip != SCORE_HELD)
			add_row(columns, chunk, i);
	}
	count = columns->count;
	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_oid(&statement, job->owner);
	statement_array(&statement, INT8OID, columns->number, NULL, count);
	statement_array(&statement, TEXTOID, columns->key, columns->no_key, count);
	statement_array(&statement, FLOAT8OID, columns->reward, columns->no_reward,
	                count);
	statement_array(&statement, JSONBOID, columns->components,
	                columns->no_components, count);
	statement_array(&statement, FLOAT8OID, columns->value, columns->no_value,
	                count);
	statement_array(&statement, FLOAT8OID, columns->advantage,
	                columns->no_advantage, count);
	statement_array(&statement, FLOAT8OID, columns->ref_logprob,
	                columns->no_ref_logprob, count);
	statement_array(&statement, INT4OID, columns->tokens, columns->no_tokens,
	                count);
	statement_array(&statement, BOOLOID, columns->selected, NULL, count);
	if (count > 0)
		statement_write(&statement,
		                "INSERT INTO @schema@.alol_advantage (job, owner, "
		                "row_number, row_key, reward, components, value, "
		                "advantage, ref_logprob, tokens, selected) SELECT $1, "
		                "$2::regrole, r.* FROM unnest($3, $4, $5, $6, $7, $8, "
		                "$9, $10, $11) r ON CONFLICT (job, row_number) DO "
		                "UPDATE SET value = excluded.value, advantage = "
		                "excluded.advantage, ref_logprob = "
		                "excluded.ref_logprob, selected = excluded.selected");
	owner_end(&scope);
	job_commit(saved);
}

void
advantages_read(const Job *job, int64 first, int count, double *reward,
                bool *isnull)
{
	Statement statement = {0};
	OwnerScope scope;
	uint64 found;

	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_int(&statement, first);
	statement_int(&statement, first + count);
	found = statement_read(&statement,
	                       "SELECT row_number, reward FROM "
	                       "@schema@.alol_advantage WHERE job = $1 AND "
	                       "row_number > $2 AND row_number <= $3 AND reward "
	                       "IS NOT NULL");
	for (uint64 i = 0; i < found; i++)
	{
		int64 row = result_int(i, 1) - 1 - first;

		reward[row] = result_float(i, 2);
		isnull[row] = false;
	}
	owner_end(&scope);
}

static void
select_chunk(const Job *job, const int64 *number, int count)
{
	MemoryContext saved = job_begin_write();
	Datum *numbers = palloc(count * sizeof(Datum));
	Statement statement = {0};
	OwnerScope scope;

	for (int i = 0; i < count; i++)
		numbers[i] = Int64GetDatum(number[i]);
	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_array(&statement, INT8OID, numbers, NULL, count);
	statement_write(&statement,
	                "UPDATE @schema@.alol_advantage SET selected = "
	                "true WHERE job = $1 AND row_number = ANY ($2)");
	owner_end(&scope);
	job_commit(saved);
}

void
advantages_select(const Job *job, const int64 *number, int64 count)
{
	for (int64 first = 0; first < count; first += SELECT_CHUNK)
		select_chunk(job, number + first,
		             (int) Min(SELECT_CHUNK, count - first));
}

void
advantages_delete(const Job *job)
{
	MemoryContext saved = job_begin_write();
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_write(&statement,
	                "DELETE FROM @schema@.alol_advantage WHERE job = $1");
	owner_end(&scope);
	job_commit(saved);
}

/* ------------------------------------------------------------- in sum */

void
totals_add(ScoreTotals *totals, const Method *method, const ScoredChunk *chunk)
{
	bool by_reward =
		method->rows == METHOD_POSITIVE_REWARD || method_ranks(method);

	for (int i = 0; i < chunk->count; i++)
	{
		const ScoredRow *row = &chunk->row[i];
		double measure = by_reward ? row->reward : row->advantage;

		totals->skipped[row->skip]++;
		if (row->skip == SCORE_HELD)
			continue;
		totals->rows++;
		if (row->skip != SCORE_USED)
			continue;
		totals->scored++;
		totals->selected += row->selected ? 1 : 0;
		if (isnan(measure))
			continue;
		totals->low =
			totals->measured == 0 ? measure : Min(totals->low, measure);
		totals->high =
			totals->measured == 0 ? measure : Max(totals->high, measure);
		totals->sum += measure;
		totals->reward_sum += row->reward;
		totals->value_sum += row->value;
		totals->measured++;
	}
}

/* "2 with a null response, 1 with ...", or "" when none was skipped. */
static char *
list_skipped(const ScoreTotals *totals, int64 *count)
{
	static const char *const reasons[SCORE_SKIPS] = {
		[SCORE_NULL_PROMPT] = "with a null prompt",
		[SCORE_NULL_RESPONSE] = "with a null response",
		[SCORE_NULL_REWARD] = "with a null reward",
		[SCORE_NULL_VALUE] = "with a null value",
		[SCORE_NULL_ADVANTAGE] = "with a null advantage",
		[SCORE_EMPTY_PROMPT] = "with a prompt of no tokens",
		[SCORE_EMPTY_RESPONSE] = "with a response of no tokens",
	};
	StringInfoData list;

	initStringInfo(&list);
	*count = 0;
	for (int i = 0; i < SCORE_SKIPS; i++)
	{
		if (reasons[i] == NULL || totals->skipped[i] == 0)
			continue;
		appendStringInfo(&list, "%s" INT64_FORMAT " %s", *count > 0 ? ", " : "",
		                 totals->skipped[i], reasons[i]);
		*count += totals->skipped[i];
	}
	return list.data;
}

static void
record_groups(JobRun *run, const ScoredGroups *groups)
{
	job_record_metric(run->job, 0, "groups/total", (double) groups->count);
	if (run->has_pairs)
		return;
	job_record_metric(run->job, 0, "groups/prompts", (double) groups->prompts);
	job_record_metric(run->job, 0, "groups/lone", (double) groups->lone);
	job_record_metric(run->job, 0, "groups/equal", (double) groups->equal);
	job_record_metric(run->job, 0, "groups/equal_pairs",
	                  (double) groups->equal_pairs);
}

/* What became of the prompts; pairs that the source gave are all used. */
static void
say_groups(JobRun *run, const ScoredGroups *groups)
{
	StringInfoData text;

	if (run->has_pairs)
		return;
	initStringInfo(&text);
	appendStringInfo(&text, INT64_FORMAT " prompts make " INT64_FORMAT " %s",
	                 groups->prompts, groups->count,
	                 run->method.rows == METHOD_PAIRS ? "pairs" : "lists");
	if (groups->lone > 0 || groups->equal > 0)
		appendStringInfo(&text,
		                 "; without are " INT64_FORMAT
		                 " with one response, " INT64_FORMAT
		                 " with equal rewards",
		                 groups->lone, groups->equal);
	if (groups->equal_pairs > 0)
		appendStringInfo(
			&text, "; " INT64_FORMAT " pairs of equal rewards are left out",
			groups->equal_pairs);
	job_record_notice(run->job, "notice", text.data);
}

/* What is left to learn where a policy that has learned is the reference. */
static void
report_refreshed(JobRun *run, const ScoreTotals *totals)
{
	job_record_metric(run->job, run->refreshed, "reference/rows",
	                  (double) totals->selected);
	job_record_flush(run->job);
	if (run->method.rows != METHOD_POSITIVE_ADVANTAGE)
		return;
	job_record_notice(
		run->job, "notice",
		psprintf(INT64_FORMAT " of " INT64_FORMAT " rows have a positive "
	                          "advantage over the policy of step " INT64_FORMAT
	                          " (%.1f %%)%s",
	             totals->selected, totals->scored, run->refreshed,
	             100.0 * (double) totals->selected / (double) totals->scored,
	             totals->selected == 0 ? ": training ends here" : ""));
}

static void
say_selected(JobRun *run, const ScoreTotals *totals)
{
	int64 left_out = totals->scored - totals->selected;

	if (method_ranks(&run->method))
		say_groups(run, &totals->groups);
	if (run->method.rows == METHOD_POSITIVE_ADVANTAGE)
		job_record_notice(run->job, "notice",
		                  psprintf(INT64_FORMAT " of " INT64_FORMAT
		                                        " rows have a positive "
		                                        "advantage (%.1f %%)",
		                           totals->selected, totals->scored,
		                           100.0 * (double) totals->selected /
		                               (double) totals->scored));
	if (run->method.rows == METHOD_POSITIVE_REWARD &&
	    totals->low == totals->high && totals->measured > 1)
		job_record_notice(run->job, "warning",
		                  psprintf("the reward of all rows is %.4g: it prefers "
		                           "no response to another",
		                           totals->low));
	if (run->method.rows == METHOD_POSITIVE_REWARD && left_out > 0)
		job_record_notice(run->job, "notice",
		                  psprintf(INT64_FORMAT
		                           " of " INT64_FORMAT " rows have a reward of "
		                           "0 or less and are left out by method %s",
		                           left_out, totals->scored, run->job->method));
}

static void
fail_without_groups(JobRun *run, const ScoreTotals *totals)
{
	const ScoredGroups *groups = &totals->groups;

	ereport(ERROR,
	        (errcode(ERRCODE_NO_DATA),
	         errmsg("no prompt has two responses with different rewards"),
	         errdetail("Of " INT64_FORMAT " prompts " INT64_FORMAT
	                   " have one response and " INT64_FORMAT
	                   " responses with equal rewards. The reward has the mean "
	                   "%.4g, from %.4g to %.4g.",
	                   groups->prompts, groups->lone, groups->equal,
	                   totals->sum / (double) totals->measured, totals->low,
	                   totals->high),
	         errhint("Method %s compares responses to the same prompt, rows "
	                 "with the same text.",
	                 run->job->method)));
}

/* Where an advantage came from, for a detail that goes on; "" where it was
 * given. */
static char *
describe_advantage(const ScoreTotals *totals)
{
	double rows = (double) totals->measured;

	if (isnan(totals->reward_sum) || isnan(totals->value_sum))
		return "";
	return psprintf(" The rows' reward has the mean %.4g, the value, what the "
	                "reference policy earns itself, %.4g.",
	                totals->reward_sum / rows, totals->value_sum / rows);
}

/* The job fails with what it knows of its rows. */
static void
fail_without_rows(JobRun *run, const ScoreTotals *totals)
{
	bool by_reward = run->method.rows == METHOD_POSITIVE_REWARD;
	const char *what = by_reward ? "reward" : "advantage";

	if (totals->measured == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA), errmsg("no row is left to train on"),
		         errdetail("All " INT64_FORMAT " rows were skipped.",
		                   totals->rows)));
	if (method_ranks(&run->method))
		fail_without_groups(run, totals);
	ereport(
		ERROR,
		(errcode(ERRCODE_NO_DATA),
	     errmsg("none of " INT64_FORMAT " rows has a positive %s",
	            totals->measured, what),
	     errdetail("The %s has the mean %.4g, from %.4g to %.4g.%s", what,
	               totals->sum / (double) totals->measured, totals->low,
	               totals->high, by_reward ? "" : describe_advantage(totals)),
	     errhint("Method %s trains on rows with a positive %s only. "
	             "See alol_advantages of job " INT64_FORMAT " for each row's.",
	             run->job->method, what, run->job->id)));
}

void
totals_report(JobRun *run, const ScoreTotals *totals)
{
	int64 skipped;
	char *reasons = list_skipped(totals, &skipped);

	if (run->refreshed > 0)
	{
		report_refreshed(run, totals);
		return;
	}
	job_record_metric(run->job, 0, "rows/total", (double) totals->rows);
	job_record_metric(run->job, 0, "rows/held_out",
	                  (double) totals->skipped[SCORE_HELD]);
	job_record_metric(run->job, 0, "rows/skipped", (double) skipped);
	job_record_metric(run->job, 0, "rows/selected", (double) totals->selected);
	if (method_ranks(&run->method))
		record_groups(run, &totals->groups);
	job_record_flush(run->job);
	if (skipped > 0)
		job_record_notice(run->job, "notice",
		                  psprintf(INT64_FORMAT " of " INT64_FORMAT
		                                        " rows are skipped: %s",
		                           skipped, totals->rows, reasons));
	if (totals->selected == 0)
		fail_without_rows(run, totals);
	say_selected(run, totals);
}
