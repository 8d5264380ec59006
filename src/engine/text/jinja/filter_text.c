/*
 * filter_text.c
 *		Filters of strings, numbers and single values.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"
#include "text/unicode.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Value
apply_upper(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, value_str(run, self), TEXT_UPPER);
}

static Value
apply_lower(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, value_str(run, self), TEXT_LOWER);
}

/* Unlike the method, words begin only behind white space and - ( { [ <. */
static Value
apply_title(Run *run, Value self, const Value *given)
{
	Value text = value_str(run, self);
	const String *string = text.string;
	size_t since = run->length;
	size_t at = 0;

	(void) given;
	while (at < string->length)
	{
		size_t end = at;
		Value word;

		while (end < string->length &&
		       strchr("-({[< \t\n\r\f\v", string->data[end]) == NULL)
			end++;
		word = value_string(run, string->data + at, end - at);
		value_write(run, text_to_case(run, word, TEXT_CAPITALIZE));
		if (end < string->length)
			run_write(run, string->data + end++, 1);
		at = end;
	}
	return run_take(run, since);
}

static Value
apply_capitalize(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, value_str(run, self), TEXT_CAPITALIZE);
}

static Value
apply_trim(Run *run, Value self, const Value *given)
{
	return text_strip(run, value_str(run, self), given[0], TEXT_BOTH);
}

static Value
apply_string(Run *run, Value self, const Value *given)
{
	(void) given;
	return value_str(run, self);
}

static Value
apply_safe(Run *run, Value self, const Value *given)
{
	(void) given;
	return value_str(run, self);
}

static Value
apply_escape(Run *run, Value self, const Value *given)
{
	static const char *const pairs[] = {"&", "&amp;", "<",  "&lt;", ">", "&gt;",
	                                    "'", "&#39;", "\"", "&#34;"};
	Value text = value_str(run, self);

	(void) given;
	for (int i = 0; i < 10; i += 2)
		text = text_replace(run, text, value_text(run, pairs[i]).string,
		                    value_text(run, pairs[i + 1]).string, -1);
	return text;
}

static Value
apply_replace(Run *run, Value self, const Value *given)
{
	int64_t most = given[2].kind == VALUE_ABSENT || given[2].kind == VALUE_NONE
	                   ? -1
	                   : value_truncate(run, given[2]);

	return text_replace(run, value_str(run, self),
	                    value_str(run, given[0]).string,
	                    value_str(run, given[1]).string, most);
}

static Value
apply_indent(Run *run, Value self, const Value *given)
{
	Value width = given[0];
	const String *indent;
	const List *lines;
	size_t since = run->length;

	if (self.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", self.why);
	if (self.kind != VALUE_STRING)
		run_fail(run, FAILURE_BAD_INPUT, "indent needs a string, not %s",
		         value_type_name(self));
	if (width.kind == VALUE_ABSENT)
		width = value_int(4);
	indent =
		width.kind == VALUE_STRING
			? width.string
			: text_repeat(run, &(String){" ", 1}, value_truncate(run, width))
				  .string;
	lines =
		text_split_lines(
			run, text_concatenate(run, self.string, &(String){"\n", 1}), false)
			.list;
	for (size_t i = 0; i < lines->count; i++)
	{
		const String *line = lines->items[i].string;
		bool indents = i == 0 ? value_truth(given[1])
		                      : line->length > 0 || value_truth(given[2]);

		if (i > 0)
			run_write(run, "\n", 1);
		if (indents)
			run_write(run, indent->data, indent->length);
		run_write(run, line->data, line->length);
	}
	return run_take(run, since);
}

static Value
apply_format(Run *run, Value self, const Arguments *arguments)
{
	List *values = list_new(run);

	for (size_t i = 0; i < arguments->count; i++)
		list_add(run, values, arguments->values[i]);
	return text_percent(run, value_str(run, self).string,
	                    value_list(VALUE_TUPLE, values));
}

/* Runs of letters, numbers and underscores. */
static Value
apply_wordcount(Run *run, Value self, const Value *given)
{
	const String *text = value_str(run, self).string;
	bool was_word = false;
	int64_t count = 0;

	(void) given;
	run_charge(run, text->length);
	for (size_t at = 0; at < text->length;)
	{
		uint32_t code = unicode_next(text->data, &at);
		bool is_word = text_is_alphanumeric(code) || code == '_';

		count += is_word && !was_word;
		was_word = is_word;
	}
	return value_int(count);
}

/* --------------------------------------------------------------- numbers */

/* A number as Python's int() and float() read it; false if it is none. */
static bool
read_number(Run *run, const String *text, int base, Value *value)
{
	Value stripped = text_strip(
		run, (Value){.kind = VALUE_STRING, .string = text}, ABSENT, TEXT_BOTH);
	char digits[128];
	size_t length = stripped.string->length;
	char *end;

	if (length == 0 || length >= sizeof(digits))
		return false;
	memcpy(digits, stripped.string->data, length);
	digits[length] = '\0';
	if (strlen(digits) != length || strpbrk(digits, "xXpP") != NULL)
		return base == 16;
	errno = 0;
	*value = value_int(strtoll(digits, &end, base == 0 ? 10 : base));
	if (*end == '\0' && errno == 0)
		return true;
	*value = value_float(strtod(digits, &end));
	return *end == '\0';
}

static Value
apply_int(Run *run, Value self, const Value *given)
{
	Value fallback = given[0].kind == VALUE_ABSENT ? value_int(0) : given[0];
	Value number = self;

	if (self.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", self.why);
	if (given[1].kind != VALUE_ABSENT &&
	    !(given[1].kind == VALUE_INT && given[1].integer == 10))
		run_fail(run, FAILURE_UNSUPPORTED,
		         "int to another base than 10 is not supported");
	if (self.kind == VALUE_STRING &&
	    !read_number(run, self.string, 10, &number))
		return fallback;
	if (!value_is_number(number) ||
	    (number.kind == VALUE_FLOAT && !isfinite(number.number)))
		return fallback;
	return value_int(value_truncate(run, number));
}

static Value
apply_float(Run *run, Value self, const Value *given)
{
	Value fallback = given[0].kind == VALUE_ABSENT ? value_float(0) : given[0];
	Value number = self;

	if (self.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", self.why);
	if (self.kind == VALUE_STRING &&
	    !read_number(run, self.string, 10, &number))
		return fallback;
	return value_is_number(number) ? value_float(value_number(number))
	                               : fallback;
}

static void
need_number(Run *run, const char *what, Value value)
{
	if (value.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", value.why);
	if (!value_is_number(value))
		run_fail(run, FAILURE_BAD_INPUT, "%s needs a number, not %s", what,
		         value_type_name(value));
}

static Value
apply_abs(Run *run, Value self, const Value *given)
{
	(void) given;
	need_number(run, "abs", self);
	if (self.kind == VALUE_FLOAT)
		return value_float(fabs(self.number));
	if (value_integer(self) >= 0)
		return value_int(value_integer(self));
	return value_operate(run, "-", value_int(0), self);
}

static Value
apply_round(Run *run, Value self, const Value *given)
{
	int64_t precision =
		given[0].kind == VALUE_ABSENT ? 0 : value_truncate(run, given[0]);
	double scale = pow(10, (double) precision);
	char text[512];
	double number;

	need_number(run, "round", self);
	number = value_number(self);
	if (value_is_text(given[1], "ceil"))
		return value_float(ceil(number * scale) / scale);
	if (value_is_text(given[1], "floor"))
		return value_float(floor(number * scale) / scale);
	if (given[1].kind != VALUE_ABSENT && !value_is_text(given[1], "common"))
		run_fail(run, FAILURE_BAD_INPUT,
		         "method must be common, ceil or floor");
	if (self.kind != VALUE_FLOAT && precision >= 0)
		return value_int(value_integer(self));
	if (precision < 0)
		number = nearbyint(number * scale) / scale;
	else if (precision <= 100 && isfinite(number))
	{
		snprintf(text, sizeof(text), "%.*f", (int) precision, number);
		number = strtod(text, NULL);
	}
	return self.kind == VALUE_FLOAT ? value_float(number)
	                                : value_int((int64_t) number);
}

/* ----------------------------------------------------------- any values */

static Value
apply_default(Run *run, Value self, const Value *given)
{
	if (self.kind != VALUE_UNDEFINED &&
	    (!value_truth(given[1]) || value_truth(self)))
		return self;
	return given[0].kind == VALUE_ABSENT ? value_text(run, "") : given[0];
}

/* Attributes alone, not the members of a dict. */
static Value
apply_attr(Run *run, Value self, const Value *given)
{
	Value name = value_str(run, given[0]);

	if (self.kind == VALUE_DICT && method_find(VALUE_DICT, name) == NULL)
		return value_undefined(run, "'dict object' has no attribute '%s'",
		                       value_label(run, name));
	return value_attribute(run, self, name);
}

static const String *
json_separator(Run *run, Value separators, size_t place, const char *fallback)
{
	if ((separators.kind == VALUE_LIST || separators.kind == VALUE_TUPLE) &&
	    place < separators.list->count)
		return value_str(run, separators.list->items[place]).string;
	return value_text(run, fallback).string;
}

static Value
apply_tojson(Run *run, Value self, const Value *given)
{
	Value indent = given[1];
	JsonStyle style = {
		.ascii = value_truth(given[0]),
		.sorts = value_truth(given[3]),
		.item_separator = json_separator(
			run, given[2], 0,
			indent.kind == VALUE_ABSENT || indent.kind == VALUE_NONE ? ", "
																	 : ","),
		.key_separator = json_separator(run, given[2], 1, ": ")};

	if (indent.kind == VALUE_STRING)
		style.indent = indent.string;
	else if (indent.kind == VALUE_INT || indent.kind == VALUE_BOOL)
		style.indent =
			text_repeat(run, &(String){" ", 1}, value_integer(indent)).string;
	else if (indent.kind != VALUE_ABSENT && indent.kind != VALUE_NONE)
		run_fail(run, FAILURE_BAD_INPUT, "indent must be a number, not %s",
		         value_type_name(indent));
	return value_to_json(run, self, &style);
}

const Function text_filters[] = {
	{.name = "upper", .apply = apply_upper},
	{.name = "lower", .apply = apply_lower},
	{.name = "title", .apply = apply_title},
	{.name = "capitalize", .apply = apply_capitalize},
	{.name = "trim", .apply = apply_trim, .parameters = {"chars"}},
	{.name = "string", .apply = apply_string},
	{.name = "safe", .apply = apply_safe},
	{.name = "escape", .apply = apply_escape},
	{.name = "e", .apply = apply_escape},
	{.name = "forceescape", .apply = apply_escape},
	{.name = "replace",
     .apply = apply_replace,
     .parameters = {"old", "new", "count"},
     .required = 2},
	{.name = "indent",
     .apply = apply_indent,
     .parameters = {"width", "first", "blank"}},
	{.name = "format", .apply_any = apply_format},
	{.name = "wordcount", .apply = apply_wordcount},
	{.name = "int", .apply = apply_int, .parameters = {"default", "base"}},
	{.name = "float", .apply = apply_float, .parameters = {"default"}},
	{.name = "abs", .apply = apply_abs},
	{.name = "round",
     .apply = apply_round,
     .parameters = {"precision", "method"}},
	{.name = "default",
     .apply = apply_default,
     .parameters = {"default_value", "boolean"}},
	{.name = "d",
     .apply = apply_default,
     .parameters = {"default_value", "boolean"}},
	{.name = "attr",
     .apply = apply_attr,
     .parameters = {"name"},
     .required = 1},
	{.name = "tojson",
     .apply = apply_tojson,
     .parameters = {"ensure_ascii", "indent", "separators", "sort_keys"}},
	{.name = NULL},
};
