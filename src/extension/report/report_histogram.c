/*
 * report_histogram.c
 *		How the advantages of a job are spread, and which part is thrown away.
 *
 * 0 is always an edge of two bars, and belongs to the one on its left: what
 * is discarded is A <= 0.  The outermost bars hold what lies beyond them, as
 * a few far values would leave no room for the others.
 */
#include "alol.h"

#include <math.h>

#include "report/report_histogram.h"
#include "report/report_plane.h"
#include "base/statement.h"

#define X_TICKS 6
#define Y_TICKS 4
#define BARS 36
#define BARS_MAX 80

/* The share of rows beyond each of the outermost bars. */
#define TAIL "0.002"

typedef struct Histogram
{
	const ReportJob *shown;
	int64 rows;
	int64 kept; /* A > 0 */
	double mean;
	double low; /* that is drawn */
	double high;
	double width; /* of a bar */
	int first;    /* number of the first bar: from first * width on */
	int count;    /* of bars */
	int64 bar[BARS_MAX];
	bool is_cut; /* rows lie beyond the outermost bars */
	Plane plane;
} Histogram;

/* Within the owner's scope; false when the job has no advantages. */
static bool
read_statistics(Histogram *histogram)
{
	Statement statement = {0};
	double least;
	double most;

	statement_int(&statement, histogram->shown->job->id);
	statement_read(
		&statement,
		"SELECT count(*), count(*) FILTER (WHERE advantage > 0), "
		"avg(advantage), min(advantage), max(advantage), "
		"percentile_disc(" TAIL ") WITHIN GROUP (ORDER BY advantage), "
		"percentile_disc(1 - " TAIL ") WITHIN GROUP (ORDER BY advantage) FROM "
		"@schema@.alol_advantage WHERE job = $1 AND advantage > '-Infinity' "
		"AND advantage < 'Infinity'");
	histogram->rows = result_int(0, 1);
	histogram->kept = result_int(0, 2);
	histogram->mean = result_float(0, 3);
	least = result_float(0, 4);
	most = result_float(0, 5);
	histogram->low = Min(result_float(0, 6), 0);
	histogram->high = Max(result_float(0, 7), 0);
	histogram->is_cut = least < histogram->low || most > histogram->high;
	return histogram->rows > 0;
}

static void
choose_bars(Histogram *histogram)
{
	Axis axis = axis_fit(histogram->low, histogram->high, BARS);

	histogram->width = axis.step;
	histogram->first = (int) floor(histogram->low / axis.step + 1e-9);
	histogram->count =
		Min((int) ceil(histogram->high / axis.step - 1e-9) - histogram->first,
	        BARS_MAX);
	histogram->count = Max(histogram->count, 1);
	histogram->low = histogram->first * axis.step;
	histogram->high = (histogram->first + histogram->count) * axis.step;
}

static void
read_bars(Histogram *histogram)
{
	Statement statement = {0};
	uint64 found;

	statement_int(&statement, histogram->shown->job->id);
	statement_float(&statement, histogram->width);
	statement_int(&statement, histogram->first);
	statement_int(&statement, histogram->first + histogram->count - 1);
	found = statement_read(
		&statement,
		"SELECT least(greatest(ceil(advantage / $2) - 1, $3), $4)::bigint - "
		"$3, count(*) FROM @schema@.alol_advantage WHERE job = $1 AND "
		"advantage > '-Infinity' AND advantage < 'Infinity' GROUP BY 1");
	for (uint64 i = 0; i < found; i++)
		histogram->bar[result_int(i, 1)] = result_int(i, 2);
}

/* ---------------------------------------------------------------- drawing */

static void
put_bars(StringInfo out, const Histogram *histogram)
{
	const Plane *plane = &histogram->plane;

	for (int i = 0; i < histogram->count; i++)
	{
		double left = (histogram->first + i) * histogram->width;
		double x = plane_x(plane, left);
		double width = plane_x(plane, left + histogram->width) - x;
		double y = plane_y(plane, (double) histogram->bar[i]);

		if (histogram->bar[i] == 0)
			continue;
		if (histogram->first + i >= 0)
			appendStringInfo(out, "<rect class=\"bar c%d\"",
			                 histogram->shown->index % REPORT_COLOURS);
		else
			appendStringInfo(out,
			                 "<rect class=\"waste\" fill=\"url(#hatch%d)\"",
			                 histogram->shown->index);
		appendStringInfo(out,
		                 " x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		                 "height=\"%.1f\"><title>" INT64_FORMAT
		                 " rows</title></rect>",
		                 x + 0.5, y, Max(width - 1, 0.8), plane_base(plane) - y,
		                 histogram->bar[i]);
	}
}

/* The line at 0, and what lies on its sides. */
static void
put_sides(StringInfo out, const Histogram *histogram)
{
	const Plane *plane = &histogram->plane;
	double kept = 100.0 * (double) histogram->kept / (double) histogram->rows;
	int64 wasted = histogram->rows - histogram->kept;

	appendStringInfo(out, "<path class=\"zero\" d=\"M%.1f %dV%d\"/>",
	                 plane_x(plane, 0), plane->top - 4, plane_base(plane));
	appendStringInfo(out,
	                 "<text class=\"side\" x=\"%d\" y=\"14\">%.1f&#8201;%% "
	                 "thrown away</text><text class=\"less\" x=\"%d\" "
	                 "y=\"30\">A &#8804; 0, " INT64_FORMAT " rows</text>",
	                 plane->left, 100 - kept, plane->left, wasted);
	appendStringInfo(out,
	                 "<text class=\"side c%d\" x=\"%d\" y=\"14\" "
	                 "text-anchor=\"end\">%.1f&#8201;%% trained on</text>"
	                 "<text class=\"less\" x=\"%d\" y=\"30\" "
	                 "text-anchor=\"end\">A &gt; 0, " INT64_FORMAT
	                 " rows</text>",
	                 histogram->shown->index % REPORT_COLOURS, plane_end(plane),
	                 kept, plane_end(plane), histogram->kept);
}

static void
put_figure(StringInfo out, const Histogram *histogram, bool names_job)
{
	int64 job = histogram->shown->job->id;

	appendStringInfoString(out, "<figure><figcaption>");
	if (names_job)
		appendStringInfo(out, "<b>Job " INT64_FORMAT "</b> ", job);
	appendStringInfo(
		out, "rows by advantage, mean %s%s</figcaption>",
		axis_number(histogram->mean),
		histogram->is_cut ? "; the outermost bars hold what lies beyond" : "");
	plane_begin(out, &histogram->plane,
	            psprintf("rows%d", histogram->shown->index),
	            psprintf("Advantages of job " INT64_FORMAT, job));
	appendStringInfo(out,
	                 INT64_FORMAT " of " INT64_FORMAT
	                              " rows have an advantage of 0 or less and "
	                              "are thrown away; the mean is %s</desc>",
	                 histogram->rows - histogram->kept, histogram->rows,
	                 axis_number(histogram->mean));
	appendStringInfo(out,
	                 "<defs><pattern id=\"hatch%d\" width=\"6\" "
	                 "height=\"6\" patternUnits=\"userSpaceOnUse\" "
	                 "patternTransform=\"rotate(45)\"><path class=\"hatch\" "
	                 "d=\"M0 3H6\"/></pattern></defs>",
	                 histogram->shown->index);
	plane_axes(out, &histogram->plane);
	put_bars(out, histogram);
	put_sides(out, histogram);
	appendStringInfoString(out, "</svg></figure>\n");
}

static void
fit_plane(Histogram *histogram)
{
	int64 most = 0;

	for (int i = 0; i < histogram->count; i++)
		most = Max(most, histogram->bar[i]);
	histogram->plane = (Plane){
		.width = 440,
		.height = 230,
		.left = 52,
		.right = 14,
		.top = 42,
		.bottom = 36,
		.x = axis_fit(histogram->low, histogram->high, X_TICKS),
		.y = axis_fit_steps(0, (double) most, Y_TICKS),
		.x_name = "advantage",
	};
}

bool
report_histograms(StringInfo out, ReportJob *const *jobs, int count)
{
	bool any = false;

	for (int i = 0; i < count; i++)
	{
		Histogram histogram = {.shown = jobs[i]};
		OwnerScope scope;
		bool has_rows;

		owner_begin(&scope);
		has_rows = read_statistics(&histogram);
		if (has_rows)
		{
			choose_bars(&histogram);
			read_bars(&histogram);
		}
		owner_end(&scope);
		if (!has_rows)
			continue;
		any = true;
		fit_plane(&histogram);
		put_figure(out, &histogram, count > 1);
	}
	return any;
}
