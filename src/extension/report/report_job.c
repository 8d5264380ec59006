/*
 * report_job.c
 *		A job as a report shows it.
 */
#include "alol.h"

#include <math.h>

#include "report/report_job.h"
#include "base/statement.h"

static void
read_times(ReportJob *shown)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_int(&statement, shown->job->id);
	statement_read(
		&statement,
		"SELECT to_char(j.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD "
		"HH24:MI \"UTC\"'), j.device, extract(epoch FROM "
		"coalesce(j.finished_at, clock_timestamp()) - j.started_at)::float8, "
		"p.tokens_per_second, p.step::float8, p.steps::float8 FROM "
		"@schema@.alol_job j LEFT JOIN @schema@.alol_job_progress p ON p.job "
		"= j.id WHERE j.id = $1");
	shown->started = result_text(context, 0, 1);
	shown->device = result_text(context, 0, 2);
	shown->seconds = result_float(0, 3);
	shown->tokens_per_second = result_float(0, 4);
	shown->steps = result_float(0, 5);
	shown->steps_planned = result_float(0, 6);
	owner_end(&scope);
}

static void
find_best(ReportJob *shown)
{
	Series series;

	series_read(shown->job->id, "evaluation/reward", &series);
	shown->first_reward = shown->best_reward = NAN;
	shown->best_step = shown->last_reward = NAN;
	for (int i = 0; i < series.count; i++)
	{
		double value = series.value[i];

		if (!isfinite(value))
			continue;
		if (isnan(shown->best_reward) || value > shown->best_reward)
		{
			shown->best_reward = value;
			shown->best_step = series.step[i];
		}
		shown->last_reward = value;
	}
	if (series.count > 0 && series.step[0] == 0)
		shown->first_reward = series.value[0];
	shown->kept_step = shown->best_step > 0 ? shown->best_step : NAN;
}

ReportJob *
report_job_read(int64 id, int index)
{
	ReportJob *shown = palloc0(sizeof(ReportJob));

	shown->job = job_get(id);
	shown->index = index;
	shown->state = job_state(id, shown->job->state);
	read_times(shown);
	find_best(shown);
	return shown;
}

const char *
report_job_subject(const ReportJob *shown)
{
	return shown->job->output != NULL ? shown->job->output : shown->job->model;
}

void
report_job_heading(StringInfo out, const ReportJob *shown, int columns)
{
	appendStringInfo(out,
	                 "<th scope=\"col\" style=\"width:%d%%\"><i class=\"key "
	                 "c%d d%d\"></i>job " INT64_FORMAT "</th>",
	                 78 / columns, shown->index % REPORT_COLOURS,
	                 shown->index % REPORT_DASHES, shown->job->id);
}
