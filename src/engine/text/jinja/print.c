/*
 * print.c
 *		Values as text: Python's str() and repr(), and its json.dumps().
 */
#include "text/jinja/value.h"

#include "text/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

Value
run_take(Run *run, size_t since)
{
	size_t length = run->length - since;

	run->length = since;
	return length == 0 ? value_string(run, "", 0)
	                   : value_copy(run, run->text + since, length);
}

static void
write_text(Run *run, const char *text)
{
	run_write(run, text, strlen(text));
}

/*
 * The fewest digits that read back as the number, as repr() has them: with an
 * exponent below 1e-4 and from 1e16 on.
 */
static void
write_float(Run *run, double number)
{
	char text[64], out[64];
	char digits[32];
	int exponent, count = 0;
	char *e;

	if (!isfinite(number))
	{
		write_text(run, isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
		return;
	}
	for (int precision = 0; precision < 17; precision++)
	{
		snprintf(text, sizeof(text), "%.*e", precision, number);
		if (strtod(text, NULL) == number)
			break;
	}
	e = strchr(text, 'e');
	exponent = atoi(e + 1);
	for (const char *at = text; at < e; at++)
		if (*at >= '0' && *at <= '9')
			digits[count++] = *at;
	digits[count] = '\0';
	if (signbit(number))
		write_text(run, "-");
	if (exponent < -4 || exponent >= 16)
		snprintf(out, sizeof(out), "%c%s%se%c%02d", digits[0],
		         count > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+',
		         abs(exponent));
	else if (exponent < 0)
		snprintf(out, sizeof(out), "0.%.*s%s", -exponent - 1, "0000", digits);
	else if (count <= exponent + 1)
		snprintf(out, sizeof(out), "%s%.*s.0", digits, exponent + 1 - count,
		         "0000000000000000");
	else
		snprintf(out, sizeof(out), "%.*s.%s", exponent + 1, digits,
		         digits + exponent + 1);
	write_text(run, out);
}

static bool
is_printable(uint32_t code)
{
	switch (utf8proc_category((utf8proc_int32_t) code))
	{
		case UTF8PROC_CATEGORY_CN:
		case UTF8PROC_CATEGORY_CC:
		case UTF8PROC_CATEGORY_CF:
		case UTF8PROC_CATEGORY_CS:
		case UTF8PROC_CATEGORY_CO:
		case UTF8PROC_CATEGORY_ZL:
		case UTF8PROC_CATEGORY_ZP:
			return false;
		case UTF8PROC_CATEGORY_ZS:
			return code == ' ';
		default:
			return true;
	}
}

static void
write_quoted(Run *run, const String *string)
{
	bool has_single = memchr(string->data, '\'', string->length) != NULL;
	bool has_double = memchr(string->data, '"', string->length) != NULL;
	char quote = has_single && !has_double ? '"' : '\'';

	run_write(run, &quote, 1);
	for (size_t at = 0; at < string->length;)
	{
		size_t begin = at;
		uint32_t code = unicode_next(string->data, &at);
		char escape[12] = "";

		if (code == (uint32_t) quote || code == '\\')
			snprintf(escape, sizeof(escape), "\\%c", (char) code);
		else if (code == '\n')
			strcpy(escape, "\\n");
		else if (code == '\r')
			strcpy(escape, "\\r");
		else if (code == '\t')
			strcpy(escape, "\\t");
		else if (!is_printable(code))
			snprintf(escape, sizeof(escape),
			         code < 0x100     ? "\\x%02x"
			         : code < 0x10000 ? "\\u%04x"
			                          : "\\U%08x",
			         code);
		if (escape[0] != '\0')
			write_text(run, escape);
		else
			run_write(run, string->data + begin, at - begin);
	}
	run_write(run, &quote, 1);
}

static void
write_items(Run *run, const char *open, const List *list, const char *close)
{
	write_text(run, open);
	for (size_t i = 0; i < list->count; i++)
	{
		if (i > 0)
			write_text(run, ", ");
		value_write_repr(run, list->items[i]);
	}
	write_text(run, close);
}

static void
write_dict(Run *run, const Dict *dict)
{
	write_text(run, "{");
	for (size_t i = 0; i < dict->count; i++)
	{
		if (i > 0)
			write_text(run, ", ");
		value_write_repr(run, dict->entries[i].key);
		write_text(run, ": ");
		value_write_repr(run, dict->entries[i].value);
	}
	write_text(run, "}");
}

void
value_write_repr(Run *run, Value value)
{
	char text[32];

	run_enter(run);
	switch (value.kind)
	{
		case VALUE_ABSENT:
			break;
		case VALUE_UNDEFINED:
			write_text(run, "Undefined");
			break;
		case VALUE_NONE:
			write_text(run, "None");
			break;
		case VALUE_BOOL:
			write_text(run, value.boolean ? "True" : "False");
			break;
		case VALUE_INT:
			snprintf(text, sizeof(text), "%lld", (long long) value.integer);
			write_text(run, text);
			break;
		case VALUE_FLOAT:
			write_float(run, value.number);
			break;
		case VALUE_STRING:
			write_quoted(run, value.string);
			break;
		case VALUE_LIST:
			write_items(run, "[", value.list, "]");
			break;
		case VALUE_TUPLE:
			write_items(run, "(", value.list,
			            value.list->count == 1 ? ",)" : ")");
			break;
		case VALUE_RANGE:
			write_text(run, value.list->label);
			break;
		case VALUE_VIEW:
			write_text(run, value.list->label);
			write_items(run, "([", value.list, "])");
			break;
		case VALUE_DICT:
			write_dict(run, value.dict);
			break;
		case VALUE_NAMESPACE:
			write_text(run, "<Namespace ");
			write_dict(run, value.dict);
			write_text(run, ">");
			break;
		default:
			run_fail(run, FAILURE_UNSUPPORTED, "a %s cannot be written",
			         value_type_name(value));
	}
	run_leave(run);
}

void
value_write(Run *run, Value value)
{
	if (value.kind == VALUE_STRING)
		run_write(run, value.string->data, value.string->length);
	else if (value.kind != VALUE_UNDEFINED)
		value_write_repr(run, value);
}

Value
value_str(Run *run, Value value)
{
	size_t since = run->length;

	if (value.kind == VALUE_STRING)
		return value;
	value_write(run, value);
	return run_take(run, since);
}

/* ------------------------------------------------------------------ JSON */

static void
json_write_string(Run *run, const String *string, bool ascii)
{
	run_write(run, "\"", 1);
	for (size_t at = 0; at < string->length;)
	{
		size_t begin = at;
		uint32_t code = unicode_next(string->data, &at);
		const char *short_form = NULL;
		char escape[16] = "";

		if (code < 0x80)
			short_form = code == '"'    ? "\\\""
			             : code == '\\' ? "\\\\"
			             : code == '\n' ? "\\n"
			             : code == '\r' ? "\\r"
			             : code == '\t' ? "\\t"
			             : code == '\b' ? "\\b"
			             : code == '\f' ? "\\f"
			                            : NULL;
		if (short_form != NULL)
			write_text(run, short_form);
		else if (code < 0x20 || (ascii && code > 0x7e && code < 0x10000))
		{
			snprintf(escape, sizeof(escape), "\\u%04x", code);
			write_text(run, code == 0x7f ? "\x7f" : escape);
		}
		else if (ascii && code >= 0x10000)
		{
			snprintf(escape, sizeof(escape), "\\u%04x\\u%04x",
			         0xd800 + ((code - 0x10000) >> 10),
			         0xdc00 + ((code - 0x10000) & 0x3ff));
			write_text(run, escape);
		}
		else
			run_write(run, string->data + begin, at - begin);
	}
	run_write(run, "\"", 1);
}

static void
json_write_line(Run *run, const JsonStyle *style, int level)
{
	if (style->indent == NULL)
		return;
	write_text(run, "\n");
	for (int i = 0; i < level; i++)
		run_write(run, style->indent->data, style->indent->length);
}

static void json_write(Run *run, Value value, const JsonStyle *style,
                       int level);

static void
json_write_list(Run *run, const List *list, const JsonStyle *style, int level)
{
	if (list->count == 0)
	{
		write_text(run, "[]");
		return;
	}
	write_text(run, "[");
	for (size_t i = 0; i < list->count; i++)
	{
		if (i > 0)
			run_write(run, style->item_separator->data,
			          style->item_separator->length);
		json_write_line(run, style, level + 1);
		json_write(run, list->items[i], style, level + 1);
	}
	json_write_line(run, style, level);
	write_text(run, "]");
}

/* Keys are strings in JSON, whatever they are in Python. */
static void
json_write_key(Run *run, Value key, const JsonStyle *style)
{
	size_t since = run->length;
	Value text = key;

	if (key.kind != VALUE_STRING)
	{
		if (key.kind != VALUE_NONE && !value_is_number(key))
			run_fail(run, FAILURE_BAD_INPUT,
			         "keys must be str, int, float, bool or None, not %s",
			         value_type_name(key));
		json_write(run, key, style, 0);
		text = run_take(run, since);
	}
	json_write_string(run, text.string, style->ascii);
}

/* The entries in the order in which they are written. */
static const DictEntry *
json_order(Run *run, const Dict *dict, const JsonStyle *style)
{
	DictEntry *entries;

	if (!style->sorts || dict->count < 2)
		return dict->entries;
	run_charge(run, dict->count * dict->count);
	entries = run_alloc(run, dict->count, sizeof(DictEntry));
	for (size_t i = 0; i < dict->count; i++)
	{
		size_t place = i;

		for (; place > 0 && value_compare(run, dict->entries[i].key,
		                                  entries[place - 1].key, "<") < 0;
		     place--)
			entries[place] = entries[place - 1];
		entries[place] = dict->entries[i];
	}
	return entries;
}

static void
json_write_dict(Run *run, const Dict *dict, const JsonStyle *style, int level)
{
	const DictEntry *entries = json_order(run, dict, style);

	if (dict->count == 0)
	{
		write_text(run, "{}");
		return;
	}
	write_text(run, "{");
	for (size_t i = 0; i < dict->count; i++)
	{
		if (i > 0)
			run_write(run, style->item_separator->data,
			          style->item_separator->length);
		json_write_line(run, style, level + 1);
		json_write_key(run, entries[i].key, style);
		run_write(run, style->key_separator->data,
		          style->key_separator->length);
		json_write(run, entries[i].value, style, level + 1);
	}
	json_write_line(run, style, level);
	write_text(run, "}");
}

static void
json_write(Run *run, Value value, const JsonStyle *style, int level)
{
	run_enter(run);
	switch (value.kind)
	{
		case VALUE_NONE:
			write_text(run, "null");
			break;
		case VALUE_BOOL:
			write_text(run, value.boolean ? "true" : "false");
			break;
		case VALUE_FLOAT:
			if (isfinite(value.number))
				write_float(run, value.number);
			else
				write_text(run, isnan(value.number) ? "NaN"
				                : value.number > 0  ? "Infinity"
				                                    : "-Infinity");
			break;
		case VALUE_INT:
			value_write(run, value);
			break;
		case VALUE_STRING:
			json_write_string(run, value.string, style->ascii);
			break;
		case VALUE_LIST:
		case VALUE_TUPLE:
			json_write_list(run, value.list, style, level);
			break;
		case VALUE_DICT:
			json_write_dict(run, value.dict, style, level);
			break;
		default:
			run_fail(run, FAILURE_BAD_INPUT,
			         "Object of type %s is not JSON serializable",
			         value_type_name(value));
	}
	run_leave(run);
}

Value
value_to_json(Run *run, Value value, const JsonStyle *style)
{
	size_t since = run->length;

	json_write(run, value, style, 0);
	return run_take(run, since);
}
