/*
 * report_plot.c
 *		alol_plot(): a metric of a job as a chart for the terminal.
 *
 * In a database in UTF8 a cell holds two by four dots of Braille, otherwise
 * one star.  Where steps outnumber the columns of dots each column shows the
 * mean of its steps.
 */
#include "alol.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "job/job.h"
#include "base/nearest.h"
#include "report/report_axis.h"
#include "report/report_series.h"

#define WIDTH 72 /* of all, in characters */
#define ROWS 13  /* of the plane, in cells */
#define Y_TICKS 5
#define X_TICKS 6

typedef struct Canvas
{
	bool is_utf8;
	int cells_x;
	int across; /* dots in a cell */
	int down;
	uint8 *cells; /* [ROWS, cells_x]: the dots that are set, as Braille has
	               * them, or whether there is one */
} Canvas;

/* ----------------------------------------------------------------- dots */

static int
dots_x(const Canvas *canvas)
{
	return canvas->cells_x * canvas->across;
}

static int
dots_y(const Canvas *canvas)
{
	return ROWS * canvas->down;
}

/* Column from the left, row from below. */
static void
set_dot(Canvas *canvas, int x, int y)
{
	/* Bits of the left and right column of a cell, from the top (Unicode,
	 * "Braille Patterns"). */
	static const uint8 bits[4][2] = {
		{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
	int row = dots_y(canvas) - 1 - y;
	uint8 *cell =
		&canvas
			 ->cells[row / canvas->down * canvas->cells_x + x / canvas->across];

	*cell |= canvas->is_utf8 ? bits[row % canvas->down][x % canvas->across] : 1;
}

/* From the dot at x0 to the right, without it. */
static void
draw_line(Canvas *canvas, int x0, int y0, int x1, int y1)
{
	int length = Max(x1 - x0, abs(y1 - y0));

	for (int i = 1; i <= length; i++)
		set_dot(canvas, x0 + (int) lround((double) (x1 - x0) * i / length),
		        y0 + (int) lround((double) (y1 - y0) * i / length));
}

/* The series, binned to the columns of dots; a gap where a value is missing. */
static void
draw_series(Canvas *canvas, const Series *series, const Axis *x, const Axis *y)
{
	int columns = dots_x(canvas);
	double *sum = palloc0(columns * sizeof(double));
	int *count = palloc0(columns * sizeof(int));
	bool *is_broken = palloc0(columns * sizeof(bool));
	int before = -1;
	int height = 0;

	for (int i = 0; i < series->count; i++)
	{
		int at = (int) lround(axis_place(x, series->step[i]) * (columns - 1));

		if (!isfinite(series->value[i]))
		{
			is_broken[at] = true;
			continue;
		}
		/* Places, not values: a sum of those may overflow. */
		sum[at] += axis_place(y, series->value[i]);
		count[at]++;
	}
	for (int at = 0; at < columns; at++)
	{
		int dot;

		if (is_broken[at] && count[at] == 0)
			before = -1;
		if (count[at] == 0)
			continue;
		dot = (int) lround(sum[at] / count[at] * (dots_y(canvas) - 1));
		set_dot(canvas, at, dot);
		/* One dot alone is easily overlooked. */
		if (series->count == 1)
			set_dot(canvas, at ^ (canvas->across - 1), dot);
		if (before >= 0)
			draw_line(canvas, before, height, at, dot);
		before = at;
		height = dot;
	}
}

/* --------------------------------------------------------------- the text */

static void
put_cell(StringInfo out, const Canvas *canvas, uint8 cell)
{
	if (cell == 0)
		appendStringInfoChar(out, ' ');
	else if (!canvas->is_utf8)
		appendStringInfoChar(out, '*');
	else
	{
		/* U+2800 and its bits */
		appendStringInfoChar(out, (char) 0xE2);
		appendStringInfoChar(out, (char) (0xA0 | cell >> 6));
		appendStringInfoChar(out, (char) (0x80 | (cell & 0x3F)));
	}
}

static void
trim(StringInfo out)
{
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
}

/* labels[ROWS]: the number beside each row, or NULL. */
static int
label_rows(const Canvas *canvas, const Axis *y, char **labels)
{
	int width = 0;

	for (int i = 0; i < y->count; i++)
	{
		double tick = axis_tick(y, i);
		int dot = (int) lround(axis_place(y, tick) * (dots_y(canvas) - 1));
		int row = ROWS - 1 - dot / canvas->down;

		labels[row] = axis_label(y, tick);
		width = Max(width, (int) strlen(labels[row]));
	}
	return width;
}

static void
put_rows(StringInfo out, const Canvas *canvas, char *const *labels, int width)
{
	for (int row = 0; row < ROWS; row++)
	{
		bool is_tick = labels[row] != NULL;

		appendStringInfo(out, "%*s ", width, is_tick ? labels[row] : "");
		if (canvas->is_utf8)
			appendStringInfoString(out, is_tick ? "┤" : "│");
		else
			appendStringInfoChar(out, is_tick ? '+' : '|');
		for (int i = 0; i < canvas->cells_x; i++)
			put_cell(out, canvas, canvas->cells[row * canvas->cells_x + i]);
		trim(out);
		appendStringInfoChar(out, '\n');
	}
}

/* The line below, and the steps below it. */
static void
put_x_axis(StringInfo out, const Canvas *canvas, const Axis *x, int width)
{
	char *marks = palloc0(canvas->cells_x + 1);
	char steps[2 * WIDTH];
	int end = 0; /* of the steps so far */

	memset(marks, '-', canvas->cells_x);
	memset(steps, ' ', sizeof(steps));
	for (int i = 0; i < x->count; i++)
	{
		double tick = axis_tick(x, i);
		char *label = axis_label(x, tick);
		int length = (int) strlen(label);
		int cell = (int) lround(axis_place(x, tick) * (dots_x(canvas) - 1)) /
		           canvas->across;
		int begin = Max(width + 2 + cell - length / 2, 0);

		if (tick < 0 || (end > 0 && begin <= end))
			continue;
		if (begin + length > (int) sizeof(steps))
			break;
		marks[cell] = '+';
		memcpy(steps + begin, label, length);
		end = begin + length;
	}
	appendStringInfo(out, "%*s ", width, "");
	appendStringInfoString(out, canvas->is_utf8 ? "└" : "+");
	for (int i = 0; i < canvas->cells_x; i++)
	{
		if (canvas->is_utf8)
			appendStringInfoString(out, marks[i] == '+' ? "┬" : "─");
		else
			appendStringInfoChar(out, marks[i]);
	}
	appendStringInfo(out, "\n%.*s  step", end, steps);
}

static void
put_title(StringInfo out, int64 job, const char *metric, const Series *series)
{
	const char *unit = series_unit(metric);
	int last = series->count - 1;

	for (const char *at = metric; *at != '\0'; at++)
		appendStringInfoChar(out, (unsigned char) *at < 0x20 ? '?' : *at);
	appendStringInfo(out,
	                 " of job " INT64_FORMAT "%s%s, last %s at step %.0f\n",
	                 job, unit == NULL ? "" : " in ", unit == NULL ? "" : unit,
	                 axis_number(series->value[last]), series->step[last]);
}

/* What the chart does not show as it is. */
static void
put_remarks(StringInfo out, const Series *series, const Canvas *canvas)
{
	int missing = series_missing(series);

	if (series->count > dots_x(canvas))
		appendStringInfo(out, "\n%d values, each point the mean of up to %d",
		                 series->count,
		                 (series->count + dots_x(canvas) - 1) / dots_x(canvas));
	if (missing > 0)
		appendStringInfo(out, "\n%d of %d values are not finite, and left out",
		                 missing, series->count);
}

static char *
draw_chart(int64 job, const char *metric, const Series *series)
{
	bool is_utf8 = GetDatabaseEncoding() == PG_UTF8;
	Canvas canvas = {
		.is_utf8 = is_utf8,
		.across = is_utf8 ? 2 : 1,
		.down = is_utf8 ? 4 : 1,
	};
	char *labels[ROWS] = {NULL};
	StringInfoData out;
	double low = 0;
	double high = 0;
	bool any = series_range(series, &low, &high);
	Axis y = axis_fit(low, high, Y_TICKS);
	Axis x = axis_fit_steps(series->step[0], series->step[series->count - 1],
	                        X_TICKS);
	int width;

	width = label_rows(&canvas, &y, labels);
	canvas.cells_x = WIDTH - width - 2;
	canvas.cells = palloc0((size_t) ROWS * canvas.cells_x);
	initStringInfo(&out);
	put_title(&out, job, metric, series);
	if (any)
	{
		draw_series(&canvas, series, &x, &y);
		put_rows(&out, &canvas, labels, width);
		put_x_axis(&out, &canvas, &x, width);
	}
	else
		appendStringInfoString(&out, "there is nothing to draw");
	put_remarks(&out, series, &canvas);
	return out.data;
}

/* ------------------------------------------------------------ the function */

static void
fail_unknown(int64 job, const char *metric)
{
	int count;
	char **names = series_metrics(job, &count);
	const char *nearest =
		nearest_name(metric, (const char *const *) names, count);
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : ", ", names[i]);
	ereport(
		ERROR,
		(errcode(ERRCODE_UNDEFINED_OBJECT),
	     errmsg("job " INT64_FORMAT " has no metric \"%s\"", job, metric),
	     count == 0 ? errdetail("It has none yet.")
	                : errdetail("It has %s.", list.data),
	     nearest == NULL ? 0 : errhint("Perhaps you mean \"%s\".", nearest)));
}

ALOL_FUNCTION(alol_plot);
Datum
alol_plot(PG_FUNCTION_ARGS)
{
	int64 job = job_get(PG_GETARG_INT64(0))->id;
	char *metric = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Series series;

	series_read(job, metric, &series);
	if (series.count == 0)
		fail_unknown(job, metric);
	PG_RETURN_TEXT_P(cstring_to_text(draw_chart(job, metric, &series)));
}
