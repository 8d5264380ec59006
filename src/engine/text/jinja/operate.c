/*
 * operate.c
 *		Operators, attributes, items and slices of values, as in Python.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"

#include <math.h>
#include <string.h>

static _Noreturn void
refuse(Run *run, const char *operator, Value left, Value right)
{
	if (left.kind == VALUE_UNDEFINED || right.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s",
		         left.kind == VALUE_UNDEFINED ? left.why : right.why);
	run_fail(run, FAILURE_BAD_INPUT,
	         "unsupported operand type(s) for %s: '%s' and '%s'", operator,
	         value_type_name(left), value_type_name(right));
}

/* --------------------------------------------------------------- numbers */

static _Noreturn void
too_large(Run *run)
{
	run_fail(run, FAILURE_UNSUPPORTED, "a number needs more than 64 bits");
}

static int64_t
power(Run *run, int64_t base, int64_t exponent)
{
	int64_t result = 1;

	if (base >= -1 && base <= 1)
		return base == 0 ? exponent == 0 : exponent % 2 != 0 ? base : 1;
	for (int64_t i = 0; i < exponent; i++)
		if (__builtin_mul_overflow(result, base, &result))
			too_large(run);
	return result;
}

static int64_t
floor_divide(Run *run, int64_t a, int64_t b)
{
	if (b == 0)
		run_fail(run, FAILURE_BAD_INPUT, "integer division or modulo by zero");
	if (a == INT64_MIN && b == -1)
		too_large(run);
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static Value
operate_integers(Run *run, char operator, bool is_double, int64_t a, int64_t b)
{
	int64_t result = 0;
	bool overflows = false;

	if (operator== '+')
		overflows = __builtin_add_overflow(a, b, &result);
	else if (operator== '-')
		overflows = __builtin_sub_overflow(a, b, &result);
	else if (operator== '*' && is_double)
		result = power(run, a, b);
	else if (operator== '*')
		overflows = __builtin_mul_overflow(a, b, &result);
	else if (operator== '/')
		result = floor_divide(run, a, b);
	else if (b == -1)
		result = 0;
	else
		result = a - b * floor_divide(run, a, b);
	if (overflows)
		too_large(run);
	return value_int(result);
}

static Value
power_of_floats(Run *run, double a, double b)
{
	double result = pow(a, b);

	if (isnan(result) && !isnan(a) && !isnan(b))
		run_fail(run, FAILURE_UNSUPPORTED,
		         "%g ** %g is complex, which is not supported", a, b);
	if (isinf(result) && isfinite(a) && isfinite(b))
		run_fail(run, FAILURE_BAD_INPUT, "%g ** %g is out of range", a, b);
	return value_float(result);
}

static Value
operate_floats(Run *run, char operator, bool is_double, double a, double b)
{
	double rest;

	if ((operator== '/' || operator== '%') && b == 0)
		run_fail(run, FAILURE_BAD_INPUT,
		              operator== '/' && !is_double ? "division by zero"
		                                           : "float floor division or "
		                                             "modulo by zero");
	if (operator== '+')
		return value_float(a + b);
	if (operator== '-')
		return value_float(a - b);
	if (operator== '*')
		return is_double ? power_of_floats(run, a, b) : value_float(a * b);
	if (operator== '/' && !is_double)
		return value_float(a / b);
	rest = fmod(a, b);
	if (rest != 0 && (b < 0) != (rest < 0))
		rest += b;
	return value_float(operator== '%' ? rest : floor((a - rest) / b + 0.5));
}

static Value
operate_numbers(Run *run, const char *operator, Value left, Value right)
{
	bool is_double = operator[1] != '\0';
	bool whole = left.kind != VALUE_FLOAT && right.kind != VALUE_FLOAT;

	if (whole && operator[0] == '*' && is_double && value_integer(right) < 0)
	{
		if (value_integer(left) == 0)
			run_fail(run, FAILURE_BAD_INPUT,
			         "0.0 cannot be raised to a negative power");
		whole = false;
	}
	if (whole && (operator[0] != '/' || is_double))
		return operate_integers(run, operator[0], is_double,
		                        value_integer(left), value_integer(right));
	return operate_floats(run, operator[0], is_double, value_number(left),
	                      value_number(right));
}

/* ----------------------------------------------------- strings and lists */

static Value
concatenate_lists(Run *run, Value left, Value right)
{
	List *list = list_new(run);

	for (size_t i = 0; i < left.list->count; i++)
		list_add(run, list, left.list->items[i]);
	for (size_t i = 0; i < right.list->count; i++)
		list_add(run, list, right.list->items[i]);
	return value_list(left.kind, list);
}

static Value
repeat_list(Run *run, Value value, int64_t times)
{
	List *list = list_new(run);

	if (value.list->count > 0)
		for (int64_t i = 0; i < times; i++)
			for (size_t j = 0; j < value.list->count; j++)
				list_add(run, list, value.list->items[j]);
	return value_list(value.kind, list);
}

static bool
is_list(Value value)
{
	return value.kind == VALUE_LIST || value.kind == VALUE_TUPLE;
}

static bool
is_whole(Value value)
{
	return value.kind == VALUE_INT || value.kind == VALUE_BOOL;
}

Value
value_operate(Run *run, const char *operator, Value left, Value right)
{
	bool text = left.kind == VALUE_STRING;

	run_charge(run, 0);
	if (operator[0] == '~')
		return text_concatenate(run, value_str(run, left).string,
		                        value_str(run, right).string);
	if (value_is_number(left) && value_is_number(right))
		return operate_numbers(run, operator, left, right);
	if (strcmp(operator, "+") == 0 && text && right.kind == VALUE_STRING)
		return text_concatenate(run, left.string, right.string);
	if (strcmp(operator, "+") == 0 && is_list(left) && right.kind == left.kind)
		return concatenate_lists(run, left, right);
	if (strcmp(operator, "+") == 0 && text && right.kind != VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT,
		         "can only concatenate str (not \"%s\") to str",
		         value_type_name(right));
	if (strcmp(operator, "%") == 0 && text)
		return text_percent(run, left.string, right);
	if (strcmp(operator, "*") == 0 && is_whole(left))
	{
		Value number = left;

		left = right;
		right = number;
	}
	if (strcmp(operator, "*") == 0 && is_whole(right))
	{
		if (left.kind == VALUE_STRING)
			return text_repeat(run, left.string, value_integer(right));
		if (is_list(left))
			return repeat_list(run, left, value_integer(right));
	}
	refuse(run, operator, left, right);
}

/* -------------------------------------------------- attributes and items */

/* As jinja2 names an object in messages. */
static const char *
object_name(Value value)
{
	return value.kind == VALUE_NONE ? "None" : value_type_name(value);
}

static Value
missing(Run *run, Value value, Value name)
{
	return value_undefined(
		run, "'%s%s' has no attribute '%s'", object_name(value),
		value.kind == VALUE_NONE ? "" : " object", value_label(run, name));
}

static Value
neighbour(Run *run, const Loop *loop, bool previous)
{
	if (previous && loop->index > 0)
		return loop->items->items[loop->index - 1];
	if (!previous && loop->index + 1 < loop->items->count)
		return loop->items->items[loop->index + 1];
	return value_undefined(run, "there is no %s item",
	                       previous ? "previous" : "next");
}

static Value
loop_attribute(Run *run, Value value, Value name)
{
	const Loop *loop = value.loop;
	int64_t index = (int64_t) loop->index;
	int64_t count = (int64_t) loop->items->count;
	const struct
	{
		const char *name;
		int64_t number;
	} numbers[] = {
		{"index", index + 1},        {"index0", index},
		{"revindex", count - index}, {"revindex0", count - index - 1},
		{"length", count},           {"depth", loop->depth},
		{"depth0", loop->depth - 1}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (value_is_text(name, numbers[i].name))
			return value_int(numbers[i].number);
	if (value_is_text(name, "first"))
		return value_bool(index == 0);
	if (value_is_text(name, "last"))
		return value_bool(index + 1 == count);
	if (value_is_text(name, "previtem") || value_is_text(name, "nextitem"))
		return neighbour(run, loop, value_is_text(name, "previtem"));
	return missing(run, value, name);
}

static const Bound *
bind(Run *run, const Function *function, Value self)
{
	Bound *bound = run_alloc(run, 1, sizeof(Bound));

	*bound = (Bound){function, self};
	return bound;
}

Value
value_attribute(Run *run, Value value, Value name)
{
	const Function *method;

	run_charge(run, 0);
	if (value.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", value.why);
	method = method_find(value.kind, name);
	if (method != NULL)
		return (Value){.kind = VALUE_METHOD, .bound = bind(run, method, value)};
	if (value.kind == VALUE_DICT || value.kind == VALUE_NAMESPACE)
	{
		const Value *found = dict_find(run, value.dict, name);

		return found != NULL ? *found : missing(run, value, name);
	}
	if (value.kind == VALUE_LOOP)
		return loop_attribute(run, value, name);
	if (value.kind == VALUE_CYCLER && value_is_text(name, "current"))
		return value.list->items[value.list->next % value.list->count];
	return missing(run, value, name);
}

/* Which of count items the index means; false beyond them. */
static bool
find_place(Value index, size_t count, size_t *place)
{
	int64_t number = value_integer(index);

	if (number < 0)
		number += (int64_t) count;
	*place = (size_t) number;
	return number >= 0 && number < (int64_t) count;
}

Value
value_item(Run *run, Value value, Value key)
{
	size_t place;

	run_charge(run, 0);
	if (value.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", value.why);
	if (value.kind == VALUE_DICT)
	{
		const Value *found = dict_find(run, value.dict, key);

		if (found != NULL)
			return *found;
	}
	else if (is_whole(key) && value.kind == VALUE_STRING)
	{
		if (find_place(key, string_characters(run, value.string), &place))
			return string_part(run, value, place, place + 1);
	}
	else if (is_whole(key) && (is_list(value) || value.kind == VALUE_RANGE))
	{
		if (find_place(key, value.list->count, &place))
			return value.list->items[place];
	}
	if (key.kind == VALUE_STRING)
		return value_attribute(run, value, key);
	return value_undefined(run, "%s object has no element %lld",
	                       object_name(value),
	                       is_whole(key) ? (long long) value_integer(key) : 0);
}

/* ---------------------------------------------------------------- slices */

/* A bound of a slice; absent and none are the fallback. */
static int64_t
slice_bound(Run *run, Value bound, int64_t fallback)
{
	if (bound.kind == VALUE_ABSENT || bound.kind == VALUE_NONE)
		return fallback;
	if (bound.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", bound.why);
	if (!is_whole(bound))
		run_fail(run, FAILURE_BAD_INPUT,
		         "slice indices must be integers or None, not %s",
		         value_type_name(bound));
	return value_integer(bound);
}

/* Counted from the end where negative, kept within [low, high]. */
static int64_t
clamp(int64_t bound, int64_t count, int64_t low, int64_t high)
{
	if (bound < 0)
		bound = bound < -count ? low : bound + count;
	return bound < low ? low : bound > high ? high : bound;
}

Value
value_slice(Run *run, Value value, Value first, Value last, Value step)
{
	int64_t by = slice_bound(run, step, 1);
	List *list = list_new(run);
	const List *items;
	int64_t count, from, to;

	if (value.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", value.why);
	if (!is_list(value) && value.kind != VALUE_STRING &&
	    value.kind != VALUE_RANGE)
		run_fail(run, FAILURE_BAD_INPUT, "'%s' object is not subscriptable",
		         value_type_name(value));
	if (by == 0)
		run_fail(run, FAILURE_BAD_INPUT, "slice step cannot be zero");
	count = (int64_t) value_length(run, value);
	from = clamp(slice_bound(run, first, by > 0 ? 0 : count - 1), count,
	             by > 0 ? 0 : -1, by > 0 ? count : count - 1);
	to = by > 0 || (last.kind != VALUE_ABSENT && last.kind != VALUE_NONE)
	         ? clamp(slice_bound(run, last, count), count, by > 0 ? 0 : -1,
	                 by > 0 ? count : count - 1)
	         : -1;
	if (by == 1 && value.kind == VALUE_STRING)
		return string_part(run, value, (size_t) from,
		                   (size_t) (to > from ? to : from));
	items = value_items(run, value);
	while (by > 0 ? from < to : from > to)
	{
		list_add(run, list, items->items[from]);
		if (__builtin_add_overflow(from, by, &from))
			break;
	}
	if (value.kind == VALUE_STRING)
		return text_join(run, &(String){"", 0}, list);
	return value_list(value.kind == VALUE_TUPLE ? VALUE_TUPLE : VALUE_LIST,
	                  list);
}
