/*
 * method.c
 *		Methods of strings, lists, dicts and loops: those that change nothing.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"

#include "text/unicode.h"

#include <string.h>

#include <utf8proc.h>

/* ---------------------------------------------------------------- strings */

static const String *
need_string(Run *run, const char *method, Value value)
{
	if (value.kind != VALUE_STRING)
		run_fail(run, FAILURE_BAD_INPUT, "%s needs a str, not %s", method,
		         value.kind == VALUE_ABSENT ? "nothing"
		                                    : value_type_name(value));
	return value.string;
}

static int64_t
number_or(Run *run, Value value, int64_t fallback)
{
	return value_is_number(value) ? value_truncate(run, value) : fallback;
}

static Value
call_upper(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, self, TEXT_UPPER);
}

static Value
call_lower(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, self, TEXT_LOWER);
}

static Value
call_title(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, self, TEXT_TITLE);
}

static Value
call_capitalize(Run *run, Value self, const Value *given)
{
	(void) given;
	return text_to_case(run, self, TEXT_CAPITALIZE);
}

static Value
call_strip(Run *run, Value self, const Value *given)
{
	return text_strip(run, self, given[0], TEXT_BOTH);
}

static Value
call_lstrip(Run *run, Value self, const Value *given)
{
	return text_strip(run, self, given[0], TEXT_LEFT);
}

static Value
call_rstrip(Run *run, Value self, const Value *given)
{
	return text_strip(run, self, given[0], TEXT_RIGHT);
}

static Value
call_split(Run *run, Value self, const Value *given)
{
	return text_split(run, self, given[0], number_or(run, given[1], -1), false);
}

static Value
call_rsplit(Run *run, Value self, const Value *given)
{
	return text_split(run, self, given[0], number_or(run, given[1], -1), true);
}

static Value
call_splitlines(Run *run, Value self, const Value *given)
{
	return text_split_lines(run, self, value_truth(given[0]));
}

static Value
call_replace(Run *run, Value self, const Value *given)
{
	return text_replace(run, self, need_string(run, "replace", given[0]),
	                    need_string(run, "replace", given[1]),
	                    number_or(run, given[2], -1));
}

static Value
call_join(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, given[0]);

	for (size_t i = 0; i < items->count; i++)
		if (items->items[i].kind != VALUE_STRING)
			run_fail(run, FAILURE_BAD_INPUT,
			         "sequence item %zu: expected str instance, %s found", i,
			         value_type_name(items->items[i]));
	return text_join(run, self.string, items);
}

static bool
has_at(const String *text, const String *part, bool at_end)
{
	return part->length <= text->length &&
	       memcmp(text->data + (at_end ? text->length - part->length : 0),
	              part->data, part->length) == 0;
}

/* With one string, or any of a tuple of them. */
static bool
has_any_at(Run *run, Value self, Value parts, bool at_end)
{
	const char *method = at_end ? "endswith" : "startswith";

	if (parts.kind != VALUE_TUPLE)
		return has_at(self.string, need_string(run, method, parts), at_end);
	for (size_t i = 0; i < parts.list->count; i++)
		if (has_at(self.string, need_string(run, method, parts.list->items[i]),
		           at_end))
			return true;
	return false;
}

static Value
call_startswith(Run *run, Value self, const Value *given)
{
	return value_bool(has_any_at(run, self, given[0], false));
}

static Value
call_endswith(Run *run, Value self, const Value *given)
{
	return value_bool(has_any_at(run, self, given[0], true));
}

static Value
call_removeprefix(Run *run, Value self, const Value *given)
{
	const String *part = need_string(run, "removeprefix", given[0]);

	return has_at(self.string, part, false)
	           ? value_string(run, self.string->data + part->length,
	                          self.string->length - part->length)
	           : self;
}

static Value
call_removesuffix(Run *run, Value self, const Value *given)
{
	const String *part = need_string(run, "removesuffix", given[0]);

	return has_at(self.string, part, true)
	           ? value_string(run, self.string->data,
	                          self.string->length - part->length)
	           : self;
}

/* The character at which the part begins, the first or last of them, or -1. */
static int64_t
find_part(Run *run, Value self, const String *part, bool from_right)
{
	const String *text = self.string;
	const char *found = NULL;

	run_charge(run, text->length);
	if (!from_right)
		found = part->length == 0 ? text->data
		                          : memmem(text->data, text->length, part->data,
		                                   part->length);
	else if (part->length <= text->length)
		for (size_t at = text->length - part->length + 1; at > 0; at--)
			if (memcmp(text->data + at - 1, part->data, part->length) == 0)
			{
				found = text->data + at - 1;
				break;
			}
	if (found == NULL)
		return -1;
	return (int64_t) string_characters(
		run, &(String){text->data, (size_t) (found - text->data)});
}

static Value
call_find(Run *run, Value self, const Value *given)
{
	return value_int(
		find_part(run, self, need_string(run, "find", given[0]), false));
}

static Value
call_rfind(Run *run, Value self, const Value *given)
{
	return value_int(
		find_part(run, self, need_string(run, "rfind", given[0]), true));
}

static Value
call_index(Run *run, Value self, const Value *given)
{
	int64_t place =
		find_part(run, self, need_string(run, "index", given[0]), false);

	if (place < 0)
		run_fail(run, FAILURE_BAD_INPUT, "substring not found");
	return value_int(place);
}

static Value
call_count(Run *run, Value self, const Value *given)
{
	const String *part = need_string(run, "count", given[0]);

	if (part->length == 0)
		return value_int((int64_t) string_characters(run, self.string) + 1);
	return value_int(
		(int64_t) text_split(run, self, given[0], -1, false).list->count - 1);
}

static Value
part_of(Run *run, const String *text, size_t from, size_t to)
{
	return value_string(run, text->data + from, to - from);
}

/* Before, the separator, behind; all before or behind where it is not. */
static Value
partition(Run *run, Value self, Value separator, bool from_right)
{
	const String *text = self.string;
	const String *part = need_string(run, "partition", separator);
	const List *parts = text_split(run, self, separator, 1, from_right).list;
	size_t before = parts->count > 1 ? parts->items[0].string->length
	                : from_right     ? 0
	                                 : text->length;
	size_t behind = parts->count > 1 ? before + part->length : before;
	List *list = list_new(run);

	list_add(run, list, part_of(run, text, 0, before));
	list_add(run, list, part_of(run, text, before, behind));
	list_add(run, list, part_of(run, text, behind, text->length));
	return value_list(VALUE_TUPLE, list);
}

static Value
call_partition(Run *run, Value self, const Value *given)
{
	return partition(run, self, given[0], false);
}

static Value
call_rpartition(Run *run, Value self, const Value *given)
{
	return partition(run, self, given[0], true);
}

/* What a character has to be for isdigit() and its like. */
typedef bool (*CharacterTest)(uint32_t code);

static bool
is_digit(uint32_t code)
{
	return utf8proc_category((utf8proc_int32_t) code) == UTF8PROC_CATEGORY_ND ||
	       code == 0xb2 || code == 0xb3 || code == 0xb9;
}

static Value
is_all(Value self, CharacterTest holds)
{
	const String *text = self.string;

	for (size_t at = 0; at < text->length;)
		if (!holds(unicode_next(text->data, &at)))
			return value_bool(false);
	return value_bool(text->length > 0);
}

static Value
call_isdigit(Run *run, Value self, const Value *given)
{
	(void) given;
	run_charge(run, self.string->length);
	return is_all(self, is_digit);
}

static Value
call_isalpha(Run *run, Value self, const Value *given)
{
	(void) given;
	run_charge(run, self.string->length);
	return is_all(self, text_is_letter);
}

static Value
call_isalnum(Run *run, Value self, const Value *given)
{
	(void) given;
	run_charge(run, self.string->length);
	return is_all(self, text_is_alphanumeric);
}

static Value
call_isspace(Run *run, Value self, const Value *given)
{
	(void) given;
	run_charge(run, self.string->length);
	return is_all(self, text_is_space);
}

static Value
call_islower(Run *run, Value self, const Value *given)
{
	return test_find(value_text(run, "lower"))->apply(run, self, given);
}

static Value
call_isupper(Run *run, Value self, const Value *given)
{
	return test_find(value_text(run, "upper"))->apply(run, self, given);
}

/* "{}", "{0}" and "{name}"; no conversions, no formats. */
static Value
call_format(Run *run, Value self, const Arguments *arguments)
{
	const String *text = self.string;
	size_t since = run->length, next = 0;

	for (size_t at = 0; at < text->length; at++)
	{
		char c = text->data[at];
		const char *end;
		Value field, value = ABSENT;

		if (c != '{' && c != '}')
		{
			run_write(run, &c, 1);
			continue;
		}
		if (at + 1 < text->length && text->data[at + 1] == c)
		{
			run_write(run, &c, 1);
			at++;
			continue;
		}
		end = memchr(text->data + at, '}', text->length - at);
		if (c == '}' || end == NULL)
			run_fail(run, FAILURE_BAD_INPUT, "a brace of the format is alone");
		field = part_of(run, text, at + 1, (size_t) (end - text->data));
		at = (size_t) (end - text->data);
		if (field.string->length == 1 && field.string->data[0] >= '0' &&
		    field.string->data[0] <= '9')
			next = (size_t) (field.string->data[0] - '0');
		if (field.string->length > 1 ||
		    (field.string->length == 1 &&
		     !(field.string->data[0] >= '0' && field.string->data[0] <= '9')))
			value = arguments_named(arguments, value_label(run, field));
		else if (next < arguments->count &&
		         arguments->names[next].kind == VALUE_ABSENT)
			value = arguments->values[next++];
		if (value.kind == VALUE_ABSENT)
			run_fail(run, FAILURE_BAD_INPUT,
			         "the format's field {%s} has no argument, or is not "
			         "supported",
			         value_label(run, field));
		value_write(run, value);
	}
	return run_take(run, since);
}

const Function string_methods[] = {
	{.name = "upper", .apply = call_upper},
	{.name = "lower", .apply = call_lower},
	{.name = "casefold", .apply = call_lower},
	{.name = "title", .apply = call_title},
	{.name = "capitalize", .apply = call_capitalize},
	{.name = "strip", .apply = call_strip, .parameters = {"chars"}},
	{.name = "lstrip", .apply = call_lstrip, .parameters = {"chars"}},
	{.name = "rstrip", .apply = call_rstrip, .parameters = {"chars"}},
	{.name = "split", .apply = call_split, .parameters = {"sep", "maxsplit"}},
	{.name = "rsplit", .apply = call_rsplit, .parameters = {"sep", "maxsplit"}},
	{.name = "splitlines",
     .apply = call_splitlines,
     .parameters = {"keepends"}},
	{.name = "replace",
     .apply = call_replace,
     .parameters = {"old", "new", "count"},
     .required = 2},
	{.name = "join",
     .apply = call_join,
     .parameters = {"iterable"},
     .required = 1},
	{.name = "startswith",
     .apply = call_startswith,
     .parameters = {"prefix"},
     .required = 1},
	{.name = "endswith",
     .apply = call_endswith,
     .parameters = {"suffix"},
     .required = 1},
	{.name = "removeprefix",
     .apply = call_removeprefix,
     .parameters = {"prefix"},
     .required = 1},
	{.name = "removesuffix",
     .apply = call_removesuffix,
     .parameters = {"suffix"},
     .required = 1},
	{.name = "find", .apply = call_find, .parameters = {"sub"}, .required = 1},
	{.name = "rfind",
     .apply = call_rfind,
     .parameters = {"sub"},
     .required = 1},
	{.name = "index",
     .apply = call_index,
     .parameters = {"sub"},
     .required = 1},
	{.name = "count",
     .apply = call_count,
     .parameters = {"sub"},
     .required = 1},
	{.name = "partition",
     .apply = call_partition,
     .parameters = {"sep"},
     .required = 1},
	{.name = "rpartition",
     .apply = call_rpartition,
     .parameters = {"sep"},
     .required = 1},
	{.name = "isdigit", .apply = call_isdigit},
	{.name = "isnumeric", .apply = call_isdigit},
	{.name = "isalpha", .apply = call_isalpha},
	{.name = "isalnum", .apply = call_isalnum},
	{.name = "isspace", .apply = call_isspace},
	{.name = "islower", .apply = call_islower},
	{.name = "isupper", .apply = call_isupper},
	{.name = "format", .apply_any = call_format},
	{.name = NULL},
};
