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

#include "report_axis.h"
#include "report_histogram.h"
#include "report_html.h"
#include "statement.h"

#define WIDTH 440
#define HEIGHT 230
#define LEFT 52
#define RIGHT 14
#define TOP 42
#define BOTTOM 36
#define PLANE_X (WIDTH - LEFT - RIGHT)
#define PLANE_Y (HEIGHT - TOP - BOTTOM)
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

static double
x_of(const Histogram *histogram, double advantage)
{
	return LEFT + (advantage - histogram->low) /
	                  (histogram->high - histogram->low) * PLANE_X;
}

static void
put_axes(StringInfo out, const Histogram *histogram, const Axis *y)
{
	Axis x = axis_fit(histogram->low, histogram->high, 6);

	appendStringInfoString(out, "<g class=\"axis\">");
	for (int i = 0; i < y->count; i++)
	{
		double tick = axis_tick(y, i);
		double at = TOP + (1 - axis_place(y, tick)) * PLANE_Y;

		html_format(out,
		            "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
		            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
		            LEFT, at, WIDTH - RIGHT, LEFT - 7, at + 4,
		            axis_label(y, tick));
	}
	for (int i = 0; i < x.count; i++)
	{
		double tick = axis_tick(&x, i);
		double at = x_of(histogram, tick);

		html_format(
			out,
			"<path class=\"tick\" d=\"M%.1f %dv5\"/>"
			"<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
			at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 19,
			axis_label(&x, tick));
	}
	html_format(out,
	            "<path class=\"base\" d=\"M%d %dH%d\"/>"
	            "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">advantage</text>"
	            "</g>",
	            LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, WIDTH - RIGHT,
	            HEIGHT - 3);
}

static void
put_bars(StringInfo out, const Histogram *histogram, const Axis *y, int number)
{
	for (int i = 0; i < histogram->count; i++)
	{
		double height = axis_place(y, (double) histogram->bar[i]) * PLANE_Y;
		double left = (histogram->first + i) * histogram->width;
		double x = x_of(histogram, left);
		double width = x_of(histogram, left + histogram->width) - x;
		bool is_kept = histogram->first + i >= 0;

		if (histogram->bar[i] == 0)
			continue;
		html_format(
			out,
			"<rect %s x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
			"height=\"%.1f\"><title>" INT64_FORMAT " rows</title></rect>",
			is_kept
				? psprintf("class=\"bar c%d\"",
		                   histogram->shown->index % REPORT_COLOURS)
				: psprintf("class=\"waste\" fill=\"url(#hatch%d)\"", number),
			x + 0.5, HEIGHT - BOTTOM - height, Max(width - 1, 0.8), height,
			histogram->bar[i]);
	}
}

/* The line at 0, and what lies on its sides. */
static void
put_sides(StringInfo out, const Histogram *histogram)
{
	double zero = x_of(histogram, 0);
	double kept = 100.0 * (double) histogram->kept / (double) histogram->rows;

	html_format(
		out,
		"<path class=\"zero\" d=\"M%.1f %dV%d\"/>"
		"<text class=\"side\" x=\"%d\" y=\"14\">"
		"%.1f&#8201;%% thrown away</text>"
		"<text class=\"side c%d\" x=\"%d\" y=\"14\" "
		"text-anchor=\"end\">%.1f&#8201;%% trained on</text>"
		"<text class=\"less\" x=\"%d\" y=\"30\">A &#8804; 0, " INT64_FORMAT
		" rows</text>"
		"<text class=\"less\" x=\"%d\" y=\"30\" text-anchor=\"end\">A &gt; 0, " INT64_FORMAT
		" rows</text>",
		zero, TOP - 4, HEIGHT - BOTTOM, LEFT, 100 - kept,
		histogram->shown->index % REPORT_COLOURS, WIDTH - RIGHT, kept, LEFT,
		histogram->rows - histogram->kept, WIDTH - RIGHT, histogram->kept);
}

static void
put_histogram(StringInfo out, const Histogram *histogram, bool names_job)
{
	int number = histogram->shown->index;
	int64 most = 0;
	Axis y;

	for (int i = 0; i < histogram->count; i++)
		most = Max(most, histogram->bar[i]);
	y = axis_fit_steps(0, (double) most, 4);
	appendStringInfoString(out, "<figure><figcaption>");
	if (names_job)
		html_format(out, "<b>Job " INT64_FORMAT "</b> ",
		            histogram->shown->job->id);
	html_format(
		out,
		"rows by advantage, mean %s%s</figcaption>"
		"<svg viewBox=\"0 0 %d %d\" role=\"img\" "
		"aria-labelledby=\"rows%d rows%dd\">"
		"<title id=\"rows%d\">Advantages of job " INT64_FORMAT
		"</title><desc id=\"rows%dd\">" INT64_FORMAT " of " INT64_FORMAT
		" rows have an advantage of 0 or less and are thrown away; "
		"the mean is %s</desc>"
		"<defs><pattern id=\"hatch%d\" width=\"6\" height=\"6\" "
		"patternUnits=\"userSpaceOnUse\" "
		"patternTransform=\"rotate(45)\"><path class=\"hatch\" "
		"d=\"M0 3H6\"/></pattern></defs>",
		axis_number(histogram->mean),
		histogram->is_cut ? "; the outermost bars hold what lies beyond" : "",
		WIDTH, HEIGHT, number, number, number, histogram->shown->job->id,
		number, histogram->rows - histogram->kept, histogram->rows,
		axis_number(histogram->mean), number);
	put_axes(out, histogram, &y);
	put_bars(out, histogram, &y, number);
	put_sides(out, histogram);
	appendStringInfoString(out, "</svg></figure>\n");
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
		if (has_rows)
			put_histogram(out, &histogram, count > 1);
		any = any || has_rows;
	}
	return any;
}
