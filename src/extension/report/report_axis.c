/*
 * report_axis.c
 *		Axes of charts: round ticks, and numbers as short as they can be told
 *		apart.
 */
#include "alol.h"

#include <math.h>

#include "report/report_axis.h"

#define VALUE_MAX 1e300
#define TICKS_MAX 20

/* From here on, and below a step of the other, numbers have exponents. */
#define PLAIN_MAX 1e6
#define PLAIN_STEP_MIN 1e-5

/* 1, 2 or 5 times a power of ten, at least this size. */
static double
round_step(double size)
{
	double power = pow(10, floor(log10(size)));
	double digits = size / power;

	if (digits <= 1)
		return power;
	if (digits <= 2)
		return 2 * power;
	return digits <= 5 ? 5 * power : 10 * power;
}

static Axis
fit(double low, double high, int ticks, double step_min)
{
	Axis axis;

	axis.low = Max(Min(low, VALUE_MAX), -VALUE_MAX);
	axis.high = Max(Min(high, VALUE_MAX), -VALUE_MAX);
	/* Numbers that a double hardly tells apart count as one. */
	if (!(axis.high - axis.low > 1e-12 * Max(fabs(axis.low), fabs(axis.high))))
	{
		double around = axis.low == 0 ? 1 : fabs(axis.low) * 0.1;

		around = Max(around, step_min);
		axis.low -= around;
		axis.high += around;
	}
	axis.step = round_step(Max((axis.high - axis.low) / ticks, step_min));
	/* A tick that rounding puts a hair outside still counts. */
	axis.first = ceil(axis.low / axis.step - 1e-9) * axis.step;
	axis.count =
		(int) Max(floor((axis.high - axis.first) / axis.step + 1e-9) + 1, 0);
	axis.count = Min(axis.count, TICKS_MAX);
	return axis;
}

Axis
axis_fit(double low, double high, int ticks)
{
	return fit(low, high, ticks, 0);
}

Axis
axis_fit_steps(double low, double high, int ticks)
{
	return fit(low, high, ticks, 1);
}

double
axis_tick(const Axis *axis, int i)
{
	double tick = axis->first + i * axis->step;

	/* Not 1e-17 where 0 is meant. */
	return fabs(tick) < axis->step * 1e-6 ? 0 : tick;
}

double
axis_place(const Axis *axis, double value)
{
	double place = (value - axis->low) / (axis->high - axis->low);

	return Max(Min(place, 1), 0);
}

/* 1.50e-05 as 1.5e-5. */
static char *
tidy_exponent(const char *number)
{
	const char *e = strchr(number, 'e');
	int digits = (int) (e - number);
	int exponent = atoi(e + 1);

	if (memchr(number, '.', digits) != NULL)
	{
		while (number[digits - 1] == '0')
			digits--;
		if (number[digits - 1] == '.')
			digits--;
	}
	return psprintf("%.*se%d", digits, number, exponent);
}

char *
axis_label(const Axis *axis, double tick)
{
	double largest = Max(fabs(axis->low), fabs(axis->high));
	int step_power = (int) floor(log10(axis->step) + 1e-9);

	if (tick == 0)
		return pstrdup("0");
	if (largest < PLAIN_MAX && axis->step >= PLAIN_STEP_MIN)
		return psprintf("%.*f", Max(-step_power, 0), tick);
	return tidy_exponent(psprintf(
		"%.*e",
		Min(Max((int) floor(log10(fabs(tick)) + 1e-9) - step_power, 0), 15),
		tick));
}

char *
axis_number(double value)
{
	char *number;

	if (isnan(value))
		return pstrdup("NaN");
	if (isinf(value))
		return pstrdup(value > 0 ? "Infinity" : "-Infinity");
	number = psprintf("%.4g", value);
	return strchr(number, 'e') == NULL ? number : tidy_exponent(number);
}
