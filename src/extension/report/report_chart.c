/*
 * report_chart.c
 *		Curves of metrics as SVG, one chart a metric, the jobs in it together.
 *
 * Steps are binned.  A curve is the running mean of its bins, within a band
 * from the least to the greatest value where there are enough to hide some.
 * Curves are told apart by colour (report_style.c has them), by dashes, and
 * by the job's number at their end.
 */
#include "alol.h"

#include <math.h>

#include "utils/memutils.h"

#include "report/report_chart.h"
#include "report/report_plane.h"

#define Y_TICKS 5
#define X_TICKS 5
#define BINS 110

/* So many bins, and a mean over this many to both sides is drawn. */
#define SMOOTH_FROM 50
#define SMOOTH 2

/* Points that are few enough to be marked. */
#define MARKS_MAX 24

/* Labels at the ends of curves keep this far apart. */
#define LABEL_HEIGHT 13

/* Beyond this ratio of greatest to least the axis is logarithmic, if asked. */
#define LOG_FROM 1000

typedef struct ChartKind
{
	const char *metric;
	const char *title;
	const char *caption;
	bool from_zero;  /* the axis begins at 0 */
	bool may_be_log; /* ratios: positive, and of any size */
} ChartKind;

static const ChartKind kinds[] = {
	{"loss", "Loss", "of the batch of each step", false, false},
	{"evaluation/reward", "Reward", "mean over the evaluation prompts", false,
     false},
	{"kl", "KL", "distance from the reference, nats a response", false, false},
	{"ratio/mean", "Importance ratio", "policy to reference, before clipping",
     false, true},
	{"clip_ratio", "Clipped", "share of ratios that were clipped", true, false},
	{"rewards/accuracies", "Preference accuracy",
     "share of pairs that the policy ranks as the rewards do", true, false},
	{"rewards/margins", "Margin",
     "implicit reward of the better response less that of the worse", false,
     false},
	{"eval_loss", "Held-out loss", "of pairs or lists that are held out", false,
     false},
	{"eval_rewards/accuracies", "Held-out preference accuracy",
     "share of held-out pairs that the policy ranks as the rewards do", true,
     false},
	{"accuracy", "Accuracy", "share of labels that are right", true, false},
	{"evaluation/accuracy", "Held-out accuracy",
     "share of held-out labels, or pairs, that are right", true, false},
	{"env/reward_mean", "Rollout reward", "mean over a step's own responses",
     false, false},
	{"ppo/loss/policy", "Policy loss", "clipped surrogate, mean over tokens",
     false, false},
	{"ppo/loss/value", "Value loss", "of the value of every token", true, true},
	{"ppo/policy/clipfrac", "Clipped tokens",
     "share of tokens whose ratio was clipped", true, false},
	{"ppo/policy/approxkl", "KL of a step",
     "from the policy that gave the responses, nats a token", true, true},
	{"objective/kl_coef", "KL coefficient",
     "weight of the penalty on the distance from the reference", false, false},
	{"ppo/val/var_explained", "Value fit",
     "share of the returns' variance that the value explains", false, false},
	{"grad_norm", "Gradient norm", "before clipping", true, true},
};

/* A curve, ready to be drawn. */
typedef struct Curve
{
	const ReportJob *shown;
	int count; /* of bins with a value */
	double step[BINS];
	double mean[BINS]; /* smoothed */
	double low[BINS];
	double high[BINS];
	bool has_band;
	double last; /* value, as it is */
} Curve;

typedef struct Chart
{
	const ChartKind *kind;
	Plane plane;
	int count;
	Curve *curves; /* [count] */
} Chart;

/* ----------------------------------------------------------------- values */

static double
scaled(const Chart *chart, double value)
{
	return chart->plane.is_log ? log10(value) : value;
}

static void
smooth(Curve *curve)
{
	double mean[BINS];

	if (curve->count < SMOOTH_FROM)
		return;
	for (int i = 0; i < curve->count; i++)
	{
		int from = Max(i - SMOOTH, 0);
		int to = Min(i + SMOOTH, curve->count - 1);

		mean[i] = 0;
		for (int j = from; j <= to; j++)
			mean[i] += curve->mean[j] / (to - from + 1);
	}
	memcpy(curve->mean, mean, curve->count * sizeof(double));
}

/* Puts the finite values of a series into bins, in the scale of the chart. */
static void
bin_series(const Chart *chart, const Series *series, Curve *curve)
{
	int in_bin = 0;
	int bin = -1;

	for (int i = 0; i < series->count; i++)
	{
		double value = scaled(chart, series->value[i]);
		int at =
			(int) (axis_place(&chart->plane.x, series->step[i]) * (BINS - 1));

		if (!isfinite(value))
			continue;
		curve->last = series->value[i];
		if (at != bin)
		{
			bin = at;
			in_bin = 0;
			curve->count++;
		}
		at = curve->count - 1;
		in_bin++;
		/* Running means, which do not overflow. */
		curve->mean[at] =
			in_bin == 1 ? value
						: curve->mean[at] + (value - curve->mean[at]) / in_bin;
		curve->step[at] =
			in_bin == 1 ? series->step[i]
						: curve->step[at] +
							  (series->step[i] - curve->step[at]) / in_bin;
		curve->low[at] = in_bin == 1 ? value : Min(curve->low[at], value);
		curve->high[at] = in_bin == 1 ? value : Max(curve->high[at], value);
		curve->has_band = curve->has_band || in_bin > 1;
	}
	smooth(curve);
}

/* The axes that hold all series; false when there is nothing to draw. */
static bool
fit_axes(Chart *chart, const Series *series, int count)
{
	double low = INFINITY;
	double high = -INFINITY;
	double first = INFINITY;
	double last = -INFINITY;

	for (int i = 0; i < count; i++)
	{
		double least;
		double most;

		if (!series_range(&series[i], &least, &most))
			continue;
		low = Min(low, least);
		high = Max(high, most);
		first = Min(first, series[i].step[0]);
		last = Max(last, series[i].step[series[i].count - 1]);
	}
	if (!isfinite(low))
		return false;
	chart->plane.is_log =
		chart->kind->may_be_log && low > 0 && high / low > LOG_FROM;
	if (chart->kind->from_zero && !chart->plane.is_log)
	{
		low = Min(low, 0);
		high = high > low ? high : low + 1;
	}
	chart->plane.x = axis_fit_steps(first <= 1 ? 0 : first, last, X_TICKS);
	if (chart->plane.is_log)
		chart->plane.y = axis_fit_steps(log10(low), log10(high), Y_TICKS);
	else
		chart->plane.y = axis_fit(low, high, Y_TICKS);
	return true;
}

/* The curve's height at a step, between its bins. */
static double
height_at(const Curve *curve, double step)
{
	int i = 1;

	if (step <= curve->step[0] || curve->count == 1)
		return curve->mean[0];
	while (i < curve->count - 1 && curve->step[i] < step)
		i++;
	if (step >= curve->step[i])
		return curve->mean[i];
	return curve->mean[i - 1] + (curve->mean[i] - curve->mean[i - 1]) *
	                                (step - curve->step[i - 1]) /
	                                (curve->step[i] - curve->step[i - 1]);
}

/* ----------------------------------------------------------------- curves */

static void
put_band(StringInfo out, const Chart *chart, const Curve *curve)
{
	if (!curve->has_band)
		return;
	appendStringInfo(out, "<path class=\"band c%d\" d=\"",
	                 curve->shown->index % REPORT_COLOURS);
	for (int i = 0; i < curve->count; i++)
		appendStringInfo(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L',
		                 plane_x(&chart->plane, curve->step[i]),
		                 plane_y(&chart->plane, curve->high[i]));
	for (int i = curve->count - 1; i >= 0; i--)
		appendStringInfo(out, "L%.1f %.1f",
		                 plane_x(&chart->plane, curve->step[i]),
		                 plane_y(&chart->plane, curve->low[i]));
	appendStringInfoString(out, "Z\"/>");
}

static void
put_curve(StringInfo out, const Chart *chart, const Curve *curve)
{
	int colour = curve->shown->index % REPORT_COLOURS;

	appendStringInfo(out, "<path class=\"line c%d d%d\" d=\"", colour,
	                 curve->shown->index % REPORT_DASHES);
	for (int i = 0; i < curve->count; i++)
		appendStringInfo(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L',
		                 plane_x(&chart->plane, curve->step[i]),
		                 plane_y(&chart->plane, curve->mean[i]));
	appendStringInfoString(out, "\"/>");
	for (int i = 0; i < curve->count && curve->count <= MARKS_MAX; i++)
		appendStringInfo(out,
		                 "<circle class=\"mark c%d\" cx=\"%.1f\" cy=\"%.1f\" "
		                 "r=\"2.6\"/>",
		                 colour, plane_x(&chart->plane, curve->step[i]),
		                 plane_y(&chart->plane, curve->mean[i]));
}

/* A diamond where the best step is. */
static void
put_best(StringInfo out, const Chart *chart, const Curve *curve)
{
	double step = curve->shown->best_step;
	double x;
	double y;

	if (isnan(step))
		return;
	x = plane_x(&chart->plane, step);
	y = plane_y(&chart->plane, height_at(curve, step));
	appendStringInfo(
		out,
		"<path class=\"best c%d\" d=\"M%.1f %.1fl6 6l-6 6l-6 -6z\">"
		"<title>best step %.0f of job " INT64_FORMAT "</title></path>",
		curve->shown->index % REPORT_COLOURS, x, y - 6, step,
		curve->shown->job->id);
}

static int
compare_heights(const void *a, const void *b)
{
	const Curve *const *left = a;
	const Curve *const *right = b;
	double p = (*left)->mean[(*left)->count - 1];
	double q = (*right)->mean[(*right)->count - 1];

	return p > q ? -1 : p < q;
}

/* The job's number at the end of its curve, none over another. */
static void
put_labels(StringInfo out, const Chart *chart)
{
	const Curve **order = palloc(chart->count * sizeof(Curve *));
	double floor_y = chart->plane.top - LABEL_HEIGHT;

	for (int i = 0; i < chart->count; i++)
		order[i] = &chart->curves[i];
	qsort(order, chart->count, sizeof(Curve *), compare_heights);
	for (int i = 0; i < chart->count; i++)
	{
		const Curve *curve = order[i];
		double y = Max(plane_y(&chart->plane, curve->mean[curve->count - 1]),
		               floor_y + LABEL_HEIGHT);

		appendStringInfo(
			out,
			"<text class=\"end c%d\" x=\"%.1f\" y=\"%.1f\">" INT64_FORMAT
			"</text>",
			curve->shown->index % REPORT_COLOURS,
			plane_x(&chart->plane, curve->step[curve->count - 1]) + 6, y + 4,
			curve->shown->job->id);
		floor_y = y;
	}
}

/* ------------------------------------------------------------- one chart */

/* What a reader who does not see the chart is told. */
static void
put_description(StringInfo out, const Chart *chart)
{
	for (int i = 0; i < chart->count; i++)
	{
		const Curve *curve = &chart->curves[i];
		double first = curve->mean[0];

		appendStringInfo(
			out, "%sJob " INT64_FORMAT ": from %s to %s over %d points",
			i == 0 ? "" : ". ", curve->shown->job->id,
			axis_number(chart->plane.is_log ? pow(10, first) : first),
			axis_number(curve->last), curve->count);
		if (!isnan(curve->shown->best_step))
			appendStringInfo(out, ", best step %.0f", curve->shown->best_step);
	}
}

static void
put_chart(StringInfo out, const Chart *chart, int number)
{
	appendStringInfo(out, "<figure><figcaption><b>%s</b> %s%s</figcaption>",
	                 chart->kind->title, chart->kind->caption,
	                 chart->plane.is_log ? " (logarithmic)" : "");
	plane_begin(out, &chart->plane, psprintf("chart%d", number),
	            psprintf("%s by step", chart->kind->title));
	put_description(out, chart);
	appendStringInfoString(out, "</desc>");
	plane_axes(out, &chart->plane);
	for (int i = 0; i < chart->count; i++)
		put_band(out, chart, &chart->curves[i]);
	for (int i = 0; i < chart->count; i++)
		put_curve(out, chart, &chart->curves[i]);
	for (int i = 0; i < chart->count; i++)
		put_best(out, chart, &chart->curves[i]);
	if (chart->count > 1)
		put_labels(out, chart);
	appendStringInfoString(out, "</svg></figure>\n");
}

/* One chart; false when no job has the metric. */
static bool
report_chart(StringInfo out, const ChartKind *kind, ReportJob *const *jobs,
             int count, int number)
{
	Chart chart = {
		.kind = kind,
		.plane = {.width = 440,
	              .height = 250,
	              .left = 52,
	              .right = 26,
	              .top = 14,
	              .bottom = 36,
	              .x_name = "step"},
	};
	Series *series = palloc(count * sizeof(Series));

	for (int i = 0; i < count; i++)
		series_read(jobs[i]->job->id, kind->metric, &series[i]);
	if (!fit_axes(&chart, series, count))
		return false;
	chart.curves = palloc0(count * sizeof(Curve));
	for (int i = 0; i < count; i++)
	{
		Curve *curve = &chart.curves[chart.count];

		curve->shown = jobs[i];
		bin_series(&chart, &series[i], curve);
		if (curve->count > 0)
			chart.count++;
	}
	put_chart(out, &chart, number);
	return true;
}

bool
report_charts(StringInfo out, ReportJob *const *jobs, int count)
{
	bool any = false;

	for (size_t i = 0; i < lengthof(kinds); i++)
	{
		MemoryContext context = AllocSetContextCreate(
			CurrentMemoryContext, "alol chart", ALLOCSET_DEFAULT_SIZES);
		MemoryContext saved = MemoryContextSwitchTo(context);

		if (report_chart(out, &kinds[i], jobs, count, (int) i))
			any = true;
		MemoryContextSwitchTo(saved);
		MemoryContextDelete(context);
	}
	return any;
}
