/*
 * report_axis.h
 *		Axes of charts: round ticks, and numbers as short as they can be told
 *		apart.
 */
#pragma once

typedef struct Axis
{
	double low; /* low < high, both finite */
	double high;
	double first; /* tick, at or above low */
	double step;  /* from tick to tick */
	int count;    /* of ticks */
} Axis;

/* An axis from low to high (made wider where they are equal or beyond
 * 1e300), with about so many ticks at 1, 2 or 5 times a power of ten. */
extern Axis axis_fit(double low, double high, int ticks);

/* The same of whole numbers. */
extern Axis axis_fit_steps(double low, double high, int ticks);

extern double axis_tick(const Axis *axis, int i);

/* Where a value lies from low (0) to high (1); values outside are cut off. */
extern double axis_place(const Axis *axis, double value);

/* A tick's number; palloc'd. */
extern char *axis_label(const Axis *axis, double tick);

/* A number in four significant digits: 0.01234, 1.234e-5; palloc'd. */
extern char *axis_number(double value);
