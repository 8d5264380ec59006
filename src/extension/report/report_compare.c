/*
 * report_compare.c
 *		Evaluations of the same prompts, compared: what alol_compare() says.
 */
#include "alol.h"

#include <math.h>

#include "evaluation/job_compare.h"
#include "report/report_axis.h"
#include "report/report_compare.h"
#include "report/report_html.h"

/* An evaluation beside the one that all are compared with. */
typedef struct Column
{
	const ReportJob *shown;
	List *lines; /* Compared's, of this job less the first */
} Column;

static const Compared *
find_line(const List *lines, const char *metric)
{
	ListCell *cell;

	foreach (cell, lines)
	{
		const Compared *line = lfirst(cell);

		if (strcmp(line->metric, metric) == 0)
			return line;
	}
	return NULL;
}

/* "+0.0139", in bold where its interval does not hold 0. */
static void
put_difference(StringInfo out, const Compared *line)
{
	double difference = line->a - line->b;
	bool is_sure = line->low > 0 || line->high < 0;
	/* Which is neither good nor bad. */
	bool is_length = strcmp(line->metric, "words") == 0 ||
	                 strcmp(line->metric, "tokens") == 0;

	appendStringInfo(out, "%s%s%s%s", is_sure ? "<b>" : "",
	                 difference > 0 ? "+" : "", axis_number(difference),
	                 is_sure ? "</b>" : "");
	if (!isnan(line->low))
		appendStringInfo(out, " <span class=\"less\">[%s, %s]</span>",
		                 axis_number(line->low), axis_number(line->high));
	if (line->wins >= 0)
		appendStringInfo(out,
		                 "\n<span class=\"less\">%s " INT64_FORMAT
		                 ", equal " INT64_FORMAT ", %s " INT64_FORMAT "</span>",
		                 is_length ? "longer" : "better", line->wins,
		                 line->ties, is_length ? "shorter" : "worse",
		                 line->losses);
}

static void
put_row(StringInfo out, const char *metric, const Column *columns, int count)
{
	appendStringInfoString(out, "<tr><th scope=\"row\">");
	html_text(out, metric);
	appendStringInfoString(out, "</th>");
	for (int i = 0; i < count; i++)
	{
		const Compared *line = find_line(columns[i].lines, metric);

		appendStringInfoString(out, "<td>");
		if (line == NULL)
			appendStringInfoString(out, "<span class=\"less\">&#8211;</span>");
		else
			put_difference(out, line);
		appendStringInfoString(out, "</td>");
	}
	appendStringInfoString(out, "</tr>\n");
}

static void
put_table(StringInfo out, const ReportJob *first, const Column *columns,
          int count)
{
	ListCell *cell;

	appendStringInfo(out,
	                 "<div class=\"scroll\"><table><caption>Differences from "
	                 "job " INT64_FORMAT ", with their 95&#8201;%% intervals; "
	                 "bold where these do not hold 0</caption><thead><tr>"
	                 "<td></td>",
	                 first->job->id);
	for (int i = 0; i < count; i++)
		report_job_heading(out, columns[i].shown, count);
	appendStringInfoString(out, "</tr></thead><tbody>\n");
	foreach (cell, columns[0].lines)
	{
		const Compared *line = lfirst(cell);

		put_row(out, line->metric, columns, count);
	}
	appendStringInfoString(out, "</tbody></table></div>\n");
}

static bool
is_complete(const ReportJob *shown)
{
	return strcmp(shown->job->kind, "evaluate") == 0 &&
	       strcmp(shown->state, "succeeded") == 0;
}

bool
report_comparisons(StringInfo out, ReportJob *const *jobs, int count)
{
	const ReportJob *first = NULL;
	Column *columns = palloc(count * sizeof(Column));
	int found = 0;

	for (int i = 0; i < count; i++)
	{
		if (!is_complete(jobs[i]))
			continue;
		if (first == NULL)
		{
			first = jobs[i];
			continue;
		}
		columns[found].shown = jobs[i];
		columns[found].lines =
			evaluations_compare(jobs[i]->job->id, first->job->id, 0, NULL);
		if (columns[found].lines != NIL)
			found++;
	}
	if (found == 0)
		return false;
	put_table(out, first, columns, found);
	return true;
}
