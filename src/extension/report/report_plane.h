/*
 * report_plane.h
 *		The plane of a drawing in SVG, between its axes.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_axis.h"

/* In the drawing's own units, which the page scales; y grows downwards. */
typedef struct Plane
{
	int width; /* of all */
	int height;
	int left; /* margins */
	int right;
	int top;
	int bottom;
	Axis x;
	Axis y;
	const char *x_name;
	bool is_log; /* y holds logarithms to base 10 */
} Plane;

extern double plane_x(const Plane *plane, double value);
extern double plane_y(const Plane *plane, double value);

/* Where the plane ends at the right, and below. */
extern int plane_end(const Plane *plane);
extern int plane_base(const Plane *plane);

/* Opens the <svg>, whose title and description are the elements id and idd:
 * the caller appends the description, then "</desc>". */
extern void plane_begin(StringInfo out, const Plane *plane, const char *id,
                        const char *title);

/* Grid, ticks and their numbers. */
extern void plane_axes(StringInfo out, const Plane *plane);
