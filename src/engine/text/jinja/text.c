/*
 * text.c
 *		Python's methods of strings, as filters and methods use them.
 */
#include "text/jinja/text.h"

#include "text/unicode.h"

#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

bool
text_is_space(uint32_t code)
{
	return unicode_is_space(code) || (code >= 0x1c && code <= 0x1f);
}

bool
text_is_letter(uint32_t code)
{
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code);

	return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool
text_is_alphanumeric(uint32_t code)
{
	return text_is_letter(code) || unicode_is_numeric(code);
}

/* Is the character one of those that go? */
static bool
goes(Value characters, const char *character, size_t length)
{
	size_t at = 0;

	if (characters.kind == VALUE_STRING)
		return memmem(characters.string->data, characters.string->length,
		              character, length) != NULL;
	return text_is_space(unicode_next(character, &at));
}

Value
text_strip(Run *run, Value text, Value characters, TextSide side)
{
	const char *data = text.string->data;
	size_t from = 0, to = text.string->length;

	run_charge(run, to);
	while ((side & TEXT_LEFT) != 0 && from < to)
	{
		size_t next = from;

		unicode_next(data, &next);
		if (!goes(characters, data + from, next - from))
			break;
		from = next;
	}
	while ((side & TEXT_RIGHT) != 0 && from < to)
	{
		size_t before = unicode_previous(data, to);

		if (!goes(characters, data + before, to - before))
			break;
		to = before;
	}
	return value_string(run, data + from, to - from);
}

static bool
is_cased(uint32_t code)
{
	utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code);

	return category == UTF8PROC_CATEGORY_LU ||
	       category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

Value
text_to_case(Run *run, Value text, TextCase to)
{
	const String *string = text.string;
	size_t since = run->length;
	bool first = true;

	for (size_t at = 0; at < string->length;)
	{
		uint32_t code = unicode_next(string->data, &at);
		bool cased = is_cased(code);
		bool up = to == TEXT_UPPER || (to != TEXT_LOWER && first);
		char bytes[4];

		if (up && code == 0xdf) /* the sharp s has no capital of its own */
			run_write(run, to == TEXT_UPPER ? "SS" : "Ss", 2);
		else
		{
			utf8proc_int32_t changed = (utf8proc_int32_t) code;

			if (up)
				changed = to == TEXT_UPPER ? utf8proc_toupper(changed)
				                           : utf8proc_totitle(changed);
			else
				changed = utf8proc_tolower(changed);
			run_write(run, bytes, unicode_put(bytes, (uint32_t) changed));
		}
		/* A title begins anew behind whatever is no letter with a case. */
		first = to == TEXT_TITLE && !cased;
	}
	return run_take(run, since);
}

/* ------------------------------------------------------------- splitting */

static void
add_part(Run *run, List *list, const String *text, size_t from, size_t to)
{
	list_add(run, list, value_string(run, text->data + from, to - from));
}

static void
reverse(List *list)
{
	for (size_t i = 0; i < list->count / 2; i++)
	{
		Value item = list->items[i];

		list->items[i] = list->items[list->count - 1 - i];
		list->items[list->count - 1 - i] = item;
	}
}

/* Behind characters that are (or are not) white space, from at. */
static size_t
skip(const String *text, size_t at, bool space)
{
	while (at < text->length)
	{
		size_t next = at;

		if (text_is_space(unicode_next(text->data, &next)) != space)
			break;
		at = next;
	}
	return at;
}

/* Before such characters, from end. */
static size_t
skip_back(const String *text, size_t end, bool space)
{
	while (end > 0)
	{
		size_t before = unicode_previous(text->data, end);
		size_t at = before;

		if (text_is_space(unicode_next(text->data, &at)) != space)
			break;
		end = before;
	}
	return end;
}

static void
split_at_space(Run *run, List *list, const String *text, int64_t most)
{
	size_t at = skip(text, 0, true);

	while (at < text->length)
	{
		size_t begin = at;

		if (most >= 0 && (int64_t) list->count == most)
		{
			add_part(run, list, text, at, text->length);
			return;
		}
		at = skip(text, at, false);
		add_part(run, list, text, begin, at);
		at = skip(text, at, true);
	}
}

/* The same from the right, parts in reverse order. */
static void
split_at_space_from_right(Run *run, List *list, const String *text,
                          int64_t most)
{
	size_t end = skip_back(text, text->length, true);

	while (end > 0)
	{
		size_t begin;

		if (most >= 0 && (int64_t) list->count == most)
		{
			add_part(run, list, text, 0, end);
			return;
		}
		begin = skip_back(text, end, false);
		add_part(run, list, text, begin, end);
		end = skip_back(text, begin, true);
	}
}

static void
split_at(Run *run, List *list, const String *text, const String *separator,
         int64_t most)
{
	size_t at = 0;

	while (most < 0 || (int64_t) list->count < most)
	{
		const char *found = memmem(text->data + at, text->length - at,
		                           separator->data, separator->length);

		if (found == NULL)
			break;
		add_part(run, list, text, at, (size_t) (found - text->data));
		at = (size_t) (found - text->data) + separator->length;
	}
	add_part(run, list, text, at, text->length);
}

static void
split_at_from_right(Run *run, List *list, const String *text,
                    const String *separator, int64_t most)
{
	size_t end = text->length;
	size_t at = end;

	while (at >= separator->length &&
	       (most < 0 || (int64_t) list->count < most))
	{
		size_t begin = at - separator->length;

		if (memcmp(text->data + begin, separator->data, separator->length) != 0)
		{
			at--;
			continue;
		}
		add_part(run, list, text, at, end);
		end = at = begin;
	}
	add_part(run, list, text, 0, end);
}

Value
text_split(Run *run, Value text, Value separator, int64_t most, bool from_right)
{
	List *list = list_new(run);

	run_charge(run, text.string->length);
	if (separator.kind != VALUE_STRING)
		(from_right ? split_at_space_from_right
		            : split_at_space)(run, list, text.string, most);
	else if (separator.string->length == 0)
		run_fail(run, FAILURE_BAD_INPUT, "empty separator");
	else
		(from_right ? split_at_from_right : split_at)(run, list, text.string,
		                                              separator.string, most);
	if (from_right)
		reverse(list);
	return value_list(VALUE_LIST, list);
}

static bool
ends_line(uint32_t code)
{
	return (code >= '\n' && code <= '\r') || (code >= 0x1c && code <= 0x1e) ||
	       code == 0x85 || code == 0x2028 || code == 0x2029;
}

Value
text_split_lines(Run *run, Value text, bool keeps_ends)
{
	const String *string = text.string;
	List *list = list_new(run);
	size_t begin = 0;

	run_charge(run, string->length);
	for (size_t at = 0; at < string->length;)
	{
		size_t end = at;
		uint32_t code = unicode_next(string->data, &at);

		if (!ends_line(code))
			continue;
		if (code == '\r' && at < string->length && string->data[at] == '\n')
			at++;
		add_part(run, list, string, begin, keeps_ends ? at : end);
		begin = at;
	}
	if (begin < string->length)
		add_part(run, list, string, begin, string->length);
	return value_list(VALUE_LIST, list);
}

/* --------------------------------------------------------------- joining */

Value
text_concatenate(Run *run, const String *a, const String *b)
{
	char *data;

	if (a->length == 0 || b->length == 0)
		return value_string(run, a->length == 0 ? b->data : a->data,
		                    a->length + b->length);
	run_charge(run, a->length + b->length);
	data = run_alloc(run, a->length + b->length, 1);
	memcpy(data, a->data, a->length);
	memcpy(data + a->length, b->data, b->length);
	return value_string(run, data, a->length + b->length);
}

Value
text_repeat(Run *run, const String *text, int64_t times)
{
	size_t count = times > 0 ? (size_t) times : 0;
	char *data = run_alloc(run, count, text->length);

	run_charge(run, count * text->length);
	if (text->length > 0)
		for (size_t i = 0; i < count; i++)
			memcpy(data + i * text->length, text->data, text->length);
	return value_string(run, data, count * text->length);
}

Value
text_join(Run *run, const String *separator, const List *items)
{
	size_t since = run->length;

	for (size_t i = 0; i < items->count; i++)
	{
		if (i > 0)
			run_write(run, separator->data, separator->length);
		value_write(run, items->items[i]);
	}
	return run_take(run, since);
}

/* What replaces an empty text stands before every character and at the end. */
static void
write_between(Run *run, const String *text, const String *after, int64_t most)
{
	size_t at = 0;

	for (;;)
	{
		size_t begin = at;

		if (most == 0)
			break;
		most--;
		run_write(run, after->data, after->length);
		if (at == text->length)
			return;
		unicode_next(text->data, &at);
		run_write(run, text->data + begin, at - begin);
	}
	run_write(run, text->data + at, text->length - at);
}

Value
text_replace(Run *run, Value text, const String *before, const String *after,
             int64_t most)
{
	const String *string = text.string;
	size_t since = run->length;
	size_t at = 0;

	run_charge(run, string->length);
	if (before->length == 0)
	{
		write_between(run, string, after, most);
		return run_take(run, since);
	}
	while (most != 0)
	{
		const char *found = memmem(string->data + at, string->length - at,
		                           before->data, before->length);
		size_t place;

		if (found == NULL)
			break;
		place = (size_t) (found - string->data);
		run_write(run, string->data + at, place - at);
		run_write(run, after->data, after->length);
		at = place + before->length;
		most--;
	}
	run_write(run, string->data + at, string->length - at);
	return run_take(run, since);
}

/* ------------------------------------------------------------ formatting */

static void
write_number(Run *run, char conversion, int precision, Value value)
{
	char text[400];

	if (!value_is_number(value))
		run_fail(run, FAILURE_BAD_INPUT,
		         "%%%c format: a number is required, "
		         "not %s",
		         conversion, value_type_name(value));
	if (conversion == 'f')
		snprintf(text, sizeof(text), "%.*f", precision < 0 ? 6 : precision,
		         value_number(value));
	else if (conversion == 'x')
		snprintf(text, sizeof(text), "%llx",
		         (unsigned long long) value_integer(value));
	else
		snprintf(text, sizeof(text), "%lld",
		         (long long) value_truncate(run, value));
	run_write(run, text, strlen(text));
}

Value
text_percent(Run *run, const String *format, Value values)
{
	const List one = {.items = &values, .count = 1};
	const List *list = values.kind == VALUE_TUPLE ? values.list : &one;
	size_t since = run->length;
	size_t used = 0;

	for (size_t at = 0; at < format->length; at++)
	{
		int precision = -1;
		char c = format->data[at];

		if (c != '%')
		{
			run_write(run, &c, 1);
			continue;
		}
		if (++at < format->length && format->data[at] == '.')
			for (precision = 0, at++;
			     at < format->length && format->data[at] >= '0' &&
			     format->data[at] <= '9' && precision < 20;
			     at++)
				precision = 10 * precision + (format->data[at] - '0');
		c = at < format->length ? format->data[at] : '\0';
		if (c == '%')
		{
			run_write(run, "%", 1);
			continue;
		}
		if (c == '\0' || strchr("sdifrx", c) == NULL)
			run_fail(run, FAILURE_UNSUPPORTED,
			         "a format other than %%s, %%r, %%d, %%i, %%x and %%f is "
			         "not supported");
		if (used == list->count)
			run_fail(run, FAILURE_BAD_INPUT,
			         "not enough arguments for format string");
		if (c == 's')
			value_write(run, list->items[used++]);
		else if (c == 'r')
			value_write_repr(run, list->items[used++]);
		else
			write_number(run, c, precision, list->items[used++]);
	}
	/* Python takes these for mappings, whose entries need not be used. */
	if (used < list->count && values.kind != VALUE_DICT &&
	    values.kind != VALUE_LIST && values.kind != VALUE_RANGE &&
	    values.kind != VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT,
		         "not all arguments converted during string formatting");
	return run_take(run, since);
}
