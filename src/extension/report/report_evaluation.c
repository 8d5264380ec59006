/*
 * report_evaluation.c
 *		What evaluations measured, with how sure it is.
 *
 * A line a job: the mean over its prompts, within the interval of 95 % by
 * resampling them (bootstrap.h).
 */
#include "alol.h"

#include <math.h>

#include "nodes/pg_list.h"
#include "nodes/value.h"

#include "evaluation/bootstrap.h"
#include "report/report_evaluation.h"
#include "report/report_html.h"
#include "report/report_plane.h"
#include "base/statement.h"

#define X_TICKS 5
#define LINE_HEIGHT 26

/* Named components that are drawn; more are in the table. */
#define COMPONENTS_MAX 5

typedef struct Estimate
{
	const ReportJob *shown;
	int prompts;
	double mean;
	double low; /* NaN: of one prompt nothing is sure */
	double high;
} Estimate;

/* The reward (component NULL) of a job's rows; false when it has none. */
static bool
read_estimate(const ReportJob *shown, const char *component, Estimate *estimate)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	PairedSample sample;
	OwnerScope scope;
	double zero;
	uint64 count;

	owner_begin(&scope);
	statement_int(&statement, shown->job->id);
	statement_text(&statement, component);
	count = statement_read(
		&statement,
		"SELECT v FROM (SELECT CASE WHEN $2 IS NULL THEN reward ELSE "
		"(components ->> $2)::float8 END AS v, row_number FROM "
		"@schema@.alol_evaluation WHERE job = $1) s WHERE v IS NOT NULL "
		"ORDER BY row_number");
	sample = (PairedSample){.count = (int) count};
	sample.a_sum =
		MemoryContextAllocHuge(context, (count + 1) * sizeof(double));
	for (uint64 i = 0; i < count; i++)
		sample.a_sum[i] = result_float(i, 1);
	owner_end(&scope);
	if (count == 0)
		return false;
	/* Against a policy that gets nothing: the difference is the mean. */
	sample.a_weight = MemoryContextAllocHuge(context, count * sizeof(double));
	sample.b_sum = MemoryContextAllocHuge(context, count * sizeof(double));
	sample.b_weight = sample.a_weight;
	for (uint64 i = 0; i < count; i++)
	{
		sample.a_weight[i] = 1;
		sample.b_sum[i] = 0;
	}
	estimate->shown = shown;
	estimate->prompts = sample.count;
	paired_measure(&sample, measure_mean, &estimate->mean, &zero);
	paired_interval(&sample, measure_mean, 0, &estimate->low, &estimate->high);
	return true;
}

/* The names of components that any of the jobs has, by its metrics. */
static List *
list_components(ReportJob *const *jobs, int count)
{
	List *names = NIL;

	for (int i = 0; i < count; i++)
	{
		MemoryContext context = CurrentMemoryContext;
		Statement statement = {0};
		OwnerScope scope;
		uint64 found;

		owner_begin(&scope);
		statement_int(&statement, jobs[i]->job->id);
		found = statement_read(
			&statement,
			"SELECT DISTINCT k COLLATE \"C\" FROM @schema@.alol_evaluation, "
			"jsonb_object_keys(components) k WHERE job = $1 ORDER BY 1");
		for (uint64 n = 0; n < found; n++)
		{
			MemoryContext saved = MemoryContextSwitchTo(context);
			String *name = makeString(result_text(context, n, 1));

			if (!list_member(names, name))
				names = lappend(names, name);
			MemoryContextSwitchTo(saved);
		}
		owner_end(&scope);
	}
	return names;
}

/* ---------------------------------------------------------------- drawing */

static Plane
fit_plane(const Estimate *estimates, int count)
{
	double low = INFINITY;
	double high = -INFINITY;

	for (int i = 0; i < count; i++)
	{
		const Estimate *estimate = &estimates[i];

		low = Min(low, isnan(estimate->low) ? estimate->mean : estimate->low);
		high =
			Max(high, isnan(estimate->high) ? estimate->mean : estimate->high);
	}
	/* Not with the ends in the corners. */
	return (Plane){
		.width = 440,
		.height = 50 + LINE_HEIGHT * count,
		.left = 52,
		.right = 26,
		.top = 10,
		.bottom = 36,
		.x = axis_fit(low - (high - low) * 0.06, high + (high - low) * 0.06,
	                  X_TICKS),
		.x_name = "",
	};
}

static void
put_estimate(StringInfo out, const Plane *plane, const Estimate *estimate,
             int line)
{
	int y = plane->top + LINE_HEIGHT * line + LINE_HEIGHT / 2;
	int colour = estimate->shown->index % REPORT_COLOURS;

	appendStringInfo(out,
	                 "<text class=\"end c%d\" x=\"%d\" y=\"%d\" "
	                 "text-anchor=\"end\">" INT64_FORMAT "</text>"
	                 "<path class=\"grid\" d=\"M%d %dH%d\"/>",
	                 colour, plane->left - 10, y + 4, estimate->shown->job->id,
	                 plane->left, y, plane_end(plane));
	if (!isnan(estimate->low))
		appendStringInfo(out, "<path class=\"line c%d\" d=\"M%.1f %dH%.1f\"/>",
		                 colour, plane_x(plane, estimate->low), y,
		                 plane_x(plane, estimate->high));
	appendStringInfo(out,
	                 "<circle class=\"mark c%d\" cx=\"%.1f\" cy=\"%d\" "
	                 "r=\"5\"><title>%s over %d prompts</title></circle>",
	                 colour, plane_x(plane, estimate->mean), y,
	                 axis_number(estimate->mean), estimate->prompts);
}

/* For those who do not see the drawing. */
static void
put_description(StringInfo out, const Estimate *estimates, int count)
{
	for (int i = 0; i < count; i++)
		appendStringInfo(out, "%sJob " INT64_FORMAT ": %s, from %s to %s",
		                 i == 0 ? "" : ". ", estimates[i].shown->job->id,
		                 axis_number(estimates[i].mean),
		                 axis_number(estimates[i].low),
		                 axis_number(estimates[i].high));
}

static bool
put_figure(StringInfo out, const char *component, ReportJob *const *jobs,
           int count, int number)
{
	Estimate *estimates = palloc(count * sizeof(Estimate));
	int found = 0;
	Plane plane;

	for (int i = 0; i < count; i++)
	{
		if (read_estimate(jobs[i], component, &estimates[found]))
			found++;
	}
	if (found == 0)
		return false;
	plane = fit_plane(estimates, found);
	appendStringInfoString(out, "<figure><figcaption><b>Reward</b> ");
	if (component != NULL)
		html_text(out, component);
	else
		appendStringInfoString(out, "in all");
	appendStringInfoString(out, "</figcaption>");
	plane_begin(out, &plane, psprintf("mean%d", number), "Mean rewards");
	put_description(out, estimates, found);
	appendStringInfoString(out, "</desc>");
	plane_axes(out, &plane);
	for (int i = 0; i < found; i++)
		put_estimate(out, &plane, &estimates[i], i);
	appendStringInfoString(out, "</svg></figure>\n");
	return true;
}

bool
report_evaluations(StringInfo out, ReportJob *const *jobs, int count)
{
	List *components = list_components(jobs, count);
	ListCell *cell;
	int number = 1;

	if (!put_figure(out, NULL, jobs, count, 0))
		return false;
	foreach (cell, components)
	{
		if (number > COMPONENTS_MAX)
			break;
		(void) put_figure(out, strVal(lfirst(cell)), jobs, count, number++);
	}
	return true;
}
