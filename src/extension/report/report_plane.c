/*
 * report_plane.c
 *		The plane of a drawing in SVG, between its axes.
 */
#include "alol.h"

#include <math.h>

#include "report/report_plane.h"

double
plane_x(const Plane *plane, double value)
{
	return plane->left + axis_place(&plane->x, value) *
	                         (plane->width - plane->left - plane->right);
}

double
plane_y(const Plane *plane, double value)
{
	return plane->top + (1 - axis_place(&plane->y, value)) *
	                        (plane->height - plane->top - plane->bottom);
}

int
plane_end(const Plane *plane)
{
	return plane->width - plane->right;
}

int
plane_base(const Plane *plane)
{
	return plane->height - plane->bottom;
}

void
plane_begin(StringInfo out, const Plane *plane, const char *id,
            const char *title)
{
	appendStringInfo(out,
	                 "<svg viewBox=\"0 0 %d %d\" role=\"img\" "
	                 "aria-labelledby=\"%s %sd\"><title id=\"%s\">%s</title>"
	                 "<desc id=\"%sd\">",
	                 plane->width, plane->height, id, id, id, title, id);
}

/* 0.01, or 1e-5 where that is shorter. */
static char *
power_label(double power)
{
	if (power >= -3 && power <= 4)
		return axis_number(pow(10, power));
	return psprintf("1e%.0f", power);
}

static void
put_y_tick(StringInfo out, const Plane *plane, double tick)
{
	double at = plane_y(plane, tick);

	appendStringInfo(out,
	                 "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
	                 "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
	                 plane->left, at, plane_end(plane), plane->left - 7, at + 4,
	                 plane->is_log ? power_label(tick)
	                               : axis_label(&plane->y, tick));
}

static void
put_x_tick(StringInfo out, const Plane *plane, double tick)
{
	double at = plane_x(plane, tick);
	int base = plane_base(plane);

	appendStringInfo(out,
	                 "<path class=\"tick\" d=\"M%.1f %dv5\"/><text "
	                 "x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
	                 at, base, at, base + 19, axis_label(&plane->x, tick));
}

void
plane_axes(StringInfo out, const Plane *plane)
{
	appendStringInfoString(out, "<g class=\"axis\">");
	for (int i = 0; i < plane->y.count; i++)
		put_y_tick(out, plane, axis_tick(&plane->y, i));
	for (int i = 0; i < plane->x.count; i++)
		put_x_tick(out, plane, axis_tick(&plane->x, i));
	appendStringInfo(out,
	                 "<path class=\"base\" d=\"M%d %dH%d\"/><text x=\"%d\" "
	                 "y=\"%d\" text-anchor=\"end\">%s</text></g>",
	                 plane->left, plane_base(plane), plane_end(plane),
	                 plane_end(plane), plane->height - 3, plane->x_name);
}
