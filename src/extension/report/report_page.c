/*
 * report_page.c
 *		alol_report(): jobs as one page for the browser.
 *
 * The page needs nothing from elsewhere and has no script; a policy in its
 * head forbids both, should a text ever find a way around html_text().
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "report/report_axis.h"
#include "report/report_chart.h"
#include "report/report_compare.h"
#include "report/report_evaluation.h"
#include "report/report_histogram.h"
#include "report/report_html.h"
#include "report/report_samples.h"
#include "report/report_settings.h"
#include "report/report_style.h"

#define JOBS_MAX 20

/* ------------------------------------------------------------------- head */

/* "polite", "Evaluation of polite", "3 jobs" */
static void
put_name(StringInfo out, ReportJob *const *jobs, int count)
{
	if (count > 1)
	{
		appendStringInfo(out, "%d jobs", count);
		return;
	}
	if (strcmp(jobs[0]->job->kind, "evaluate") == 0)
		appendStringInfoString(out, "Evaluation of ");
	html_text(out, report_job_subject(jobs[0]));
}

static void
put_head(StringInfo out, ReportJob *const *jobs, int count)
{
	appendStringInfoString(
		out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
		"<meta charset=\"utf-8\"/>\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
		"'none'; style-src 'unsafe-inline'\"/>\n"
		"<meta name=\"viewport\" content=\"width=device-width, "
		"initial-scale=1\"/>\n<title>");
	put_name(out, jobs, count);
	appendStringInfo(out,
	                 "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n",
	                 report_style);
}

/* One line a job: what it made of what, how, and when. */
static void
put_job(StringInfo out, const ReportJob *shown)
{
	const Job *job = shown->job;

	appendStringInfo(
		out, "<li><i class=\"key c%d d%d\"></i><b>job " INT64_FORMAT "</b> ",
		shown->index % REPORT_COLOURS, shown->index % REPORT_DASHES, job->id);
	if (job->output == NULL)
	{
		appendStringInfoString(out,
		                       "<span class=\"less\">evaluation of</span> ");
		html_text(out, job->model);
	}
	else
	{
		html_text(out, job->output);
		appendStringInfoString(out, " <span class=\"less\">from</span> ");
		html_text(out, job->model);
		appendStringInfoString(out, " <span class=\"less\">by</span> ");
		html_text(out, job->method != NULL ? job->method : job->kind);
	}
	appendStringInfo(out, "<span class=\"state %s\">%s</span>", shown->state,
	                 shown->state);
	if (shown->started != NULL)
		appendStringInfo(out, " <span class=\"less\">%s", shown->started);
	if (shown->started != NULL && shown->device != NULL)
	{
		appendStringInfoString(out, ", on ");
		html_text(out, shown->device);
	}
	appendStringInfo(out, "%s</li>\n", shown->started == NULL ? "" : "</span>");
}

static void
put_tile(StringInfo out, const char *value, const char *what)
{
	appendStringInfo(out, "<div><b>%s</b><span>%s</span></div>", value, what);
}

static void
put_metric_tile(StringInfo out, const ReportJob *shown, const char *metric,
                const char *what)
{
	Series series;

	series_read(shown->job->id, metric, &series);
	if (series.count > 0)
		put_tile(out, axis_number(series.value[series.count - 1]), what);
}

/* What one job comes down to. */
static void
put_tiles(StringInfo out, const ReportJob *shown)
{
	appendStringInfoString(out, "<div class=\"tiles\">");
	if (!isnan(shown->first_reward) && !isnan(shown->best_reward))
		put_tile(out,
		         psprintf("%s &#8594; %s", axis_number(shown->first_reward),
		                  axis_number(shown->best_reward)),
		         psprintf("reward before, and at its best (step %.0f)",
		                  shown->best_step));
	put_metric_tile(out, shown, "reward", "mean reward");
	put_metric_tile(out, shown, "perplexity", "perplexity of the references");
	put_metric_tile(out, shown, "words", "words a response");
	put_metric_tile(out, shown, "distinct_2", "Distinct-2");
	put_metric_tile(out, shown, "rows/selected", "rows trained on");
	if (shown->steps > 0)
		put_tile(out, psprintf("%.0f", shown->steps),
		         shown->steps < shown->steps_planned
		             ? psprintf("of %.0f steps", shown->steps_planned)
		             : "steps");
	appendStringInfoString(out, "</div>\n");
}

/* --------------------------------------------------------------- sections */

/* A heading, which is taken back when nothing follows: where it begins. */
static int
begin_section(StringInfo out, const char *title)
{
	int begin = out->len;

	appendStringInfo(out, "<section>\n<h2>%s</h2>\n", title);
	return begin;
}

static void
end_section(StringInfo out, int begin, bool has_content)
{
	if (has_content)
		appendStringInfoString(out, "</section>\n");
	else
	{
		out->len = begin;
		out->data[begin] = '\0';
	}
}

/* A section of figures that the function draws. */
typedef bool (*Figures)(StringInfo out, ReportJob *const *jobs, int count);

static void
put_figures(StringInfo out, const char *title, const char *lead,
            Figures figures, ReportJob *const *jobs, int count)
{
	int begin = begin_section(out, title);
	bool any;

	appendStringInfo(out, "<p class=\"less\">%s</p>\n<div class=\"charts\">\n",
	                 lead);
	any = figures(out, jobs, count);
	appendStringInfoString(out, "</div>\n");
	end_section(out, begin, any);
}

static void
put_samples(StringInfo out, ReportJob *const *jobs, int count)
{
	int begin = begin_section(out, "Samples");
	bool any = false;

	for (int i = 0; i < count; i++)
	{
		int before = out->len;

		if (count > 1)
		{
			appendStringInfo(
				out, "<h3><i class=\"key c%d d%d\"></i>job " INT64_FORMAT " ",
				jobs[i]->index % REPORT_COLOURS, jobs[i]->index % REPORT_DASHES,
				jobs[i]->job->id);
			html_text(out, report_job_subject(jobs[i]));
			appendStringInfoString(out, "</h3>\n");
		}
		if (report_samples(out, jobs[i]))
			any = true;
		else
		{
			out->len = before;
			out->data[before] = '\0';
		}
	}
	end_section(out, begin, any);
}

static char *
write_page(ReportJob *const *jobs, int count)
{
	StringInfoData out;
	int begin;

	initStringInfo(&out);
	put_head(&out, jobs, count);
	appendStringInfoString(&out, "<header>\n<h1>");
	put_name(&out, jobs, count);
	appendStringInfoString(&out, "</h1>\n<ul class=\"jobs\">\n");
	for (int i = 0; i < count; i++)
		put_job(&out, jobs[i]);
	appendStringInfoString(&out, "</ul>\n");
	if (count == 1)
		put_tiles(&out, jobs[0]);
	appendStringInfoString(&out, "</header>\n");
	put_figures(&out, "Evaluation",
	            "Mean over all prompts, with its 95&#8201;% interval "
	            "(bootstrap).",
	            report_evaluations, jobs, count);
	(void) report_comparisons(&out, jobs, count);
	put_figures(&out, "Course",
	            "Lines are running means, within bands from the least to the "
	            "greatest value; &#9671; is the best step.",
	            report_charts, jobs, count);
	put_figures(&out, "Advantages",
	            "Reward less the value of the prompt: what a row is better "
	            "than the policy would do. What is not, is hatched.",
	            report_histograms, jobs, count);
	begin = begin_section(&out, "Notices");
	appendStringInfoString(&out, "<ul class=\"notices\">\n");
	if (report_notices(&out, jobs, count))
		appendStringInfoString(&out, "</ul>\n</section>\n");
	else
		end_section(&out, begin, false);
	put_samples(&out, jobs, count);
	(void) begin_section(&out, "Details");
	report_numbers(&out, jobs, count);
	report_settings(&out, jobs, count);
	appendStringInfo(&out,
	                 "</section>\n<footer>Written by alol %s.</footer>\n"
	                 "</main>\n</body>\n</html>\n",
	                 ALOL_VERSION);
	return out.data;
}

ALOL_FUNCTION(alol_report);
Datum
alol_report(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	ReportJob **jobs;
	Datum *ids;
	bool *nulls;
	int count;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
	                  TYPALIGN_DOUBLE, &ids, &nulls, &count);
	if (count < 1 || count > JOBS_MAX)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("jobs must be from 1 to %d, not %d", JOBS_MAX, count)));
	jobs = palloc(count * sizeof(ReportJob *));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			                errmsg("job must not be null")));
		jobs[i] = report_job_read(DatumGetInt64(ids[i]), i);
	}
	PG_RETURN_TEXT_P(cstring_to_text(write_page(jobs, count)));
}
