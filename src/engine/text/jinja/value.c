/*
 * value.c
 *		What the expressions of a template are worth, with Python's rules.
 */
#include "text/jinja/value.h"

#include "text/unicode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int64_t
value_integer(Value value)
{
	return value.kind == VALUE_BOOL ? value.boolean : value.integer;
}

double
value_number(Value value)
{
	return value.kind == VALUE_FLOAT ? value.number
	                                 : (double) value_integer(value);
}

int64_t
value_truncate(Run *run, Value value)
{
	if (value.kind != VALUE_FLOAT)
		return value_integer(value);
	if (!(fabs(value.number) < 9.2e18))
		run_fail(run, FAILURE_BAD_INPUT, "cannot convert float %g to integer",
		         value.number);
	return (int64_t) value.number;
}

/* ----------------------------------------------------------- making them */

Value
value_string(Run *run, const char *data, size_t length)
{
	String *string = run_alloc(run, 1, sizeof(String));

	*string = (String){data, length};
	return (Value){.kind = VALUE_STRING, .string = string};
}

Value
value_copy(Run *run, const char *data, size_t length)
{
	char *copy = run_alloc(run, length, 1);

	run_charge(run, length);
	if (length > 0)
		memcpy(copy, data, length);
	return value_string(run, copy, length);
}

Value
value_text(Run *run, const char *text)
{
	return value_string(run, text, strlen(text));
}

Value
value_undefined(Run *run, const char *format, ...)
{
	char why[256];
	size_t length;
	va_list arguments;
	char *kept;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	length = strlen(why);
	kept = run_alloc(run, length + 1, 1);
	memcpy(kept, why, length);
	return (Value){.kind = VALUE_UNDEFINED, .why = kept};
}

List *
list_new(Run *run)
{
	return run_alloc(run, 1, sizeof(List));
}

void
list_add(Run *run, List *list, Value value)
{
	run_charge(run, 0);
	list->items =
		run_grow(run, list->items, list->count, &list->capacity, sizeof(Value));
	list->items[list->count++] = value;
}

Value
value_list(ValueKind kind, List *list)
{
	return (Value){.kind = kind, .list = list};
}

Dict *
dict_new(Run *run)
{
	return run_alloc(run, 1, sizeof(Dict));
}

Value *
dict_find(Run *run, const Dict *dict, Value key)
{
	run_charge(run, dict->count);
	for (size_t i = 0; i < dict->count; i++)
		if (value_equal(run, dict->entries[i].key, key))
			return &dict->entries[i].value;
	return NULL;
}

static void
dict_add(Run *run, Dict *dict, Value key, Value value)
{
	dict->entries = run_grow(run, dict->entries, dict->count, &dict->capacity,
	                         sizeof(DictEntry));
	dict->entries[dict->count++] = (DictEntry){key, value};
}

void
dict_set(Run *run, Dict *dict, Value key, Value value)
{
	Value *place;

	if (key.kind == VALUE_LIST || key.kind == VALUE_DICT)
		run_fail(run, FAILURE_BAD_INPUT, "unhashable type: '%s'",
		         value_type_name(key));
	place = dict_find(run, dict, key);
	if (place != NULL)
		*place = value;
	else
		dict_add(run, dict, key, value);
}

static Value
dict_of_json(Run *run, const json_t *json)
{
	Dict *dict = dict_new(run);
	const char *key;
	json_t *member;

	/* A reader of JSON takes no key twice. */
	json_object_foreach((json_t *) (uintptr_t) json, key, member)
	{
		Value name = value_copy(run, key, strlen(key));

		dict_add(run, dict, name, value_of_json(run, member));
	}
	return (Value){.kind = VALUE_DICT, .dict = dict};
}

Value
value_of_json(Run *run, const json_t *json)
{
	Value value = NONE;
	List *list;

	run_enter(run);
	switch (json_typeof(json))
	{
		case JSON_OBJECT:
			value = dict_of_json(run, json);
			break;
		case JSON_ARRAY:
			list = list_new(run);
			for (size_t i = 0; i < json_array_size(json); i++)
				list_add(run, list,
				         value_of_json(run, json_array_get(json, i)));
			value = value_list(VALUE_LIST, list);
			break;
		case JSON_STRING:
			value = value_copy(run, json_string_value(json),
			                   json_string_length(json));
			break;
		case JSON_INTEGER:
			value = value_int(json_integer_value(json));
			break;
		case JSON_REAL:
			value = value_float(json_real_value(json));
			break;
		case JSON_TRUE:
		case JSON_FALSE:
			value = value_bool(json_is_true(json));
			break;
		case JSON_NULL:
			break;
	}
	run_leave(run);
	return value;
}

/* -------------------------------------------------------- asking them */

bool
value_is_text(Value value, const char *text)
{
	size_t length = strlen(text);

	return value.kind == VALUE_STRING && value.string->length == length &&
	       memcmp(value.string->data, text, length) == 0;
}

const char *
value_label(Run *run, Value value)
{
	size_t length = value.string->length < 80 ? value.string->length : 80;
	char *label = run_alloc(run, length + 1, 1);

	memcpy(label, value.string->data, length);
	return label;
}

bool
value_truth(Value value)
{
	switch (value.kind)
	{
		case VALUE_ABSENT:
		case VALUE_UNDEFINED:
		case VALUE_NONE:
			return false;
		case VALUE_BOOL:
			return value.boolean;
		case VALUE_INT:
			return value.integer != 0;
		case VALUE_FLOAT:
			return value.number != 0;
		case VALUE_STRING:
			return value.string->length > 0;
		case VALUE_LIST:
		case VALUE_TUPLE:
		case VALUE_RANGE:
		case VALUE_VIEW:
			return value.list->count > 0;
		case VALUE_DICT:
			return value.dict->count > 0;
		default:
			return true;
	}
}

static bool
lists_equal(Run *run, const List *a, const List *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!value_equal(run, a->items[i], b->items[i]))
			return false;
	return true;
}

static bool
dicts_equal(Run *run, const Dict *a, const Dict *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
	{
		const Value *other = dict_find(run, b, a->entries[i].key);

		if (other == NULL || !value_equal(run, a->entries[i].value, *other))
			return false;
	}
	return true;
}

static int
compare_numbers(Value a, Value b)
{
	if (a.kind != VALUE_FLOAT && b.kind != VALUE_FLOAT)
		return (value_integer(a) > value_integer(b)) -
		       (value_integer(a) < value_integer(b));
	return (value_number(a) > value_number(b)) -
	       (value_number(a) < value_number(b));
}

/* Bytes in order are code points in order. */
static int
compare_strings(const String *a, const String *b)
{
	size_t shorter = a->length < b->length ? a->length : b->length;
	int order = shorter == 0 ? 0 : memcmp(a->data, b->data, shorter);

	return order != 0 ? order
	                  : (a->length > b->length) - (a->length < b->length);
}

bool
value_equal(Run *run, Value a, Value b)
{
	bool equal = false;

	run_enter(run);
	if (value_is_number(a) && value_is_number(b))
		equal = compare_numbers(a, b) == 0 && !isnan(value_number(a)) &&
		        !isnan(value_number(b));
	else if (a.kind == b.kind)
		switch (a.kind)
		{
			case VALUE_UNDEFINED:
			case VALUE_NONE:
			case VALUE_ABSENT:
				equal = true;
				break;
			case VALUE_STRING:
				run_charge(run, a.string->length);
				equal = a.string->length == b.string->length &&
				        compare_strings(a.string, b.string) == 0;
				break;
			case VALUE_LIST:
			case VALUE_TUPLE:
			case VALUE_RANGE:
				equal = lists_equal(run, a.list, b.list);
				break;
			case VALUE_DICT:
				equal = dicts_equal(run, a.dict, b.dict);
				break;
			default:
				equal = a.list == b.list;
		}
	run_leave(run);
	return equal;
}

static int
compare_lists(Run *run, const List *a, const List *b, const char *operator)
{
	for (size_t i = 0; i < a->count && i < b->count; i++)
		if (!value_equal(run, a->items[i], b->items[i]))
			return value_compare(run, a->items[i], b->items[i], operator);
	return (a->count > b->count) - (a->count < b->count);
}

int
value_compare(Run *run, Value a, Value b, const char *operator)
{
	int order = 0;

	run_enter(run);
	if (value_is_number(a) && value_is_number(b))
		order = compare_numbers(a, b);
	else if (a.kind == VALUE_STRING && b.kind == VALUE_STRING)
	{
		run_charge(run, a.string->length);
		order = compare_strings(a.string, b.string);
	}
	else if ((a.kind == VALUE_LIST || a.kind == VALUE_TUPLE) &&
	         a.kind == b.kind)
		order = compare_lists(run, a.list, b.list, operator);
	else if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s",
		         a.kind == VALUE_UNDEFINED ? a.why : b.why);
	else
		run_fail(
			run, FAILURE_BAD_INPUT,
			"'%s' not supported between instances of '%s' and '%s'", operator,
			value_type_name(a), value_type_name(b));
	run_leave(run);
	return order;
}

bool
value_contains(Run *run, Value container, Value item)
{
	const List *items;

	if (container.kind == VALUE_STRING)
	{
		if (item.kind != VALUE_STRING)
			run_fail(run, FAILURE_BAD_INPUT,
			         "'in <string>' requires string as left operand, not %s",
			         value_type_name(item));
		run_charge(run, container.string->length);
		return item.string->length == 0 ||
		       memmem(container.string->data, container.string->length,
		              item.string->data, item.string->length) != NULL;
	}
	if (container.kind == VALUE_DICT)
		return dict_find(run, container.dict, item) != NULL;
	if (!value_is_iterable(container))
		run_fail(run, FAILURE_BAD_INPUT,
		         "argument of type '%s' is not iterable",
		         value_type_name(container));
	items = value_items(run, container);
	for (size_t i = 0; i < items->count; i++)
		if (value_equal(run, items->items[i], item))
			return true;
	return false;
}

const char *
value_type_name(Value value)
{
	static const char *const names[] = {
		"nothing",   "Undefined", "NoneType", "bool",      "int",
		"float",     "str",       "list",     "tuple",     "range",
		"dict view", "generator", "dict",     "Namespace", "LoopContext",
		"function",  "method",    "Macro",    "Cycler",    "Joiner"};

	return names[value.kind];
}

/* ------------------------------------------------------- strings and items */

size_t
string_characters(Run *run, const String *string)
{
	size_t count = 0;

	run_charge(run, string->length);
	for (size_t i = 0; i < string->length; i++)
		count += ((unsigned char) string->data[i] & 0xc0) != 0x80;
	return count;
}

/* Where the character with this number begins, or the end. */
static size_t
character_at(const String *string, size_t number)
{
	size_t at = 0;

	while (number > 0 && at < string->length)
	{
		at++;
		while (at < string->length &&
		       ((unsigned char) string->data[at] & 0xc0) == 0x80)
			at++;
		number--;
	}
	return at;
}

Value
string_part(Run *run, Value string, size_t first, size_t last)
{
	size_t from, to;

	run_charge(run, string.string->length);
	from = character_at(string.string, first);
	to = character_at(string.string, last);
	return value_string(run, string.string->data + from,
	                    to > from ? to - from : 0);
}

size_t
value_length(Run *run, Value value)
{
	switch (value.kind)
	{
		case VALUE_UNDEFINED:
			return 0;
		case VALUE_STRING:
			return string_characters(run, value.string);
		case VALUE_LIST:
		case VALUE_TUPLE:
		case VALUE_RANGE:
		case VALUE_VIEW:
			return value.list->count;
		case VALUE_DICT:
			return value.dict->count;
		case VALUE_LOOP:
			return value.loop->items->count;
		default:
			run_fail(run, FAILURE_BAD_INPUT, "object of type '%s' has no len()",
			         value_type_name(value));
	}
}

bool
value_is_iterable(Value value)
{
	return value.kind == VALUE_UNDEFINED ||
	       (value.kind >= VALUE_STRING && value.kind <= VALUE_DICT);
}

static const List *
characters_of(Run *run, const String *string)
{
	List *list = list_new(run);

	for (size_t at = 0; at < string->length;)
	{
		size_t begin = at;

		unicode_next(string->data, &at);
		list_add(run, list,
		         value_string(run, string->data + begin, at - begin));
	}
	return list;
}

const List *
value_items(Run *run, Value value)
{
	List *list;

	if (value.kind == VALUE_STRING)
		return characters_of(run, value.string);
	if (value.kind >= VALUE_LIST && value.kind <= VALUE_VIEW)
		return value.list;
	if (!value_is_iterable(value))
		run_fail(run, FAILURE_BAD_INPUT, "'%s' object is not iterable",
		         value_type_name(value));
	list = list_new(run);
	if (value.kind == VALUE_DICT)
		for (size_t i = 0; i < value.dict->count; i++)
			list_add(run, list, value.dict->entries[i].key);
	/* What is left of it; nothing is afterwards. */
	if (value.kind == VALUE_ITERATOR)
		while (value.list->next < value.list->count)
			list_add(run, list, value.list->items[value.list->next++]);
	return list;
}
