/*
 * global.c
 *		Functions that every template has: range(), namespace() ... and those
 *		that transformers adds.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

/* The sandbox of jinja2 has the same limit. */
#define RANGE_MAX 100000

static Value
call_range(Run *run, Value self, const Arguments *arguments)
{
	int64_t bounds[3] = {0, 0, 1};
	List *list = list_new(run);
	char label[100];
	int64_t step;

	(void) self;
	if (arguments->count < 1 || arguments->count > 3)
		run_fail(run, FAILURE_BAD_INPUT, "range takes 1 to 3 numbers, not %zu",
		         arguments->count);
	for (size_t i = 0; i < arguments->count; i++)
	{
		Value value = arguments->values[i];

		if (value.kind != VALUE_INT && value.kind != VALUE_BOOL)
			run_fail(run, FAILURE_BAD_INPUT, "range takes integers, not %s",
			         value_type_name(value));
		bounds[arguments->count == 1 ? 1 : i] = value_integer(value);
	}
	step = bounds[2];
	if (step == 0)
		run_fail(run, FAILURE_BAD_INPUT, "range() arg 3 must not be zero");
	for (int64_t i = bounds[0]; step > 0 ? i < bounds[1] : i > bounds[1];)
	{
		if (list->count == RANGE_MAX)
			run_fail(run, FAILURE_BAD_INPUT, "a range of more than %d numbers",
			         RANGE_MAX);
		list_add(run, list, value_int(i));
		if (__builtin_add_overflow(i, step, &i))
			break;
	}
	if (step == 1)
		snprintf(label, sizeof(label), "range(%lld, %lld)",
		         (long long) bounds[0], (long long) bounds[1]);
	else
		snprintf(label, sizeof(label), "range(%lld, %lld, %lld)",
		         (long long) bounds[0], (long long) bounds[1],
		         (long long) step);
	list->label =
		memcpy(run_alloc(run, sizeof(label), 1), label, sizeof(label));
	return value_list(VALUE_RANGE, list);
}

/* A dict of a dict or of pairs, and of named arguments. */
static Dict *
make_dict(Run *run, const Arguments *arguments)
{
	Dict *dict = dict_new(run);

	for (size_t i = 0; i < arguments->count; i++)
	{
		Value value = arguments->values[i];

		if (arguments->names[i].kind != VALUE_ABSENT)
			dict_set(run, dict, arguments->names[i], value);
		else if (value.kind == VALUE_DICT || value.kind == VALUE_NAMESPACE)
			for (size_t j = 0; j < value.dict->count; j++)
				dict_set(run, dict, value.dict->entries[j].key,
				         value.dict->entries[j].value);
		else
		{
			const List *pairs = value_items(run, value);

			for (size_t j = 0; j < pairs->count; j++)
			{
				const List *pair = value_items(run, pairs->items[j]);

				if (pair->count != 2)
					run_fail(run, FAILURE_BAD_INPUT,
					         "a dict is made of pairs, not of %zu values",
					         pair->count);
				dict_set(run, dict, pair->items[0], pair->items[1]);
			}
		}
	}
	return dict;
}

static Value
call_dict(Run *run, Value self, const Arguments *arguments)
{
	(void) self;
	return (Value){.kind = VALUE_DICT, .dict = make_dict(run, arguments)};
}

static Value
call_namespace(Run *run, Value self, const Arguments *arguments)
{
	Dict *dict = make_dict(run, arguments);

	(void) self;
	for (size_t i = 0; i < dict->count; i++)
	{
		Value key = dict->entries[i].key;

		if (key.kind == VALUE_STRING && key.string->length > 0 &&
		    key.string->data[0] == '_')
			run_fail(run, FAILURE_BAD_INPUT,
			         "a name in a namespace must not begin with \"_\"");
	}
	return (Value){.kind = VALUE_NAMESPACE, .dict = dict};
}

static Value
call_cycler(Run *run, Value self, const Arguments *arguments)
{
	List *list = list_new(run);

	(void) self;
	if (arguments->count == 0)
		run_fail(run, FAILURE_BAD_INPUT,
		         "at least one item has to be provided");
	for (size_t i = 0; i < arguments->count; i++)
		list_add(run, list, arguments->values[i]);
	return value_list(VALUE_CYCLER, list);
}

static Value
call_joiner(Run *run, Value self, const Value *given)
{
	List *list = list_new(run);

	(void) self;
	list_add(run, list,
	         given[0].kind == VALUE_ABSENT ? value_text(run, ", ") : given[0]);
	return value_list(VALUE_JOINER, list);
}

static Value
call_raise(Run *run, Value self, const Value *given)
{
	Value message = value_str(run, given[0]);
	char *text = run_alloc(run, message.string->length + 1, 1);

	(void) self;
	memcpy(text, message.string->data, message.string->length);
	run_refuse(run, text);
}

/* One directive of strftime() at the local time; a naive time has no zone. */
static void
write_time(Run *run, const struct tm *now, long microseconds, const char *what)
{
	char text[200] = "";

	if (what[1] == 'f')
		snprintf(text, sizeof(text), "%06ld", microseconds);
	else if (what[1] != 'z' && what[1] != 'Z' &&
	         strftime(text, sizeof(text), what, now) == 0)
		text[0] = '\0';
	run_write(run, text, strlen(text));
}

static Value
call_strftime_now(Run *run, Value self, const Value *given)
{
	const String *format = value_str(run, given[0]).string;
	size_t since = run->length;
	struct timeval time;
	struct tm now;

	(void) self;
	gettimeofday(&time, NULL);
	localtime_r(&time.tv_sec, &now);
	for (size_t at = 0; at < format->length; at++)
	{
		char what[4] = {'%', 0, 0, 0};

		if (format->data[at] != '%' || at + 1 == format->length)
		{
			run_write(run, format->data + at, 1);
			continue;
		}
		what[1] = format->data[++at];
		/* "%-d": without the leading zero */
		if (what[1] == '-' && at + 1 < format->length)
			what[2] = format->data[++at];
		write_time(run, &now, time.tv_usec, what);
	}
	return run_take(run, since);
}

static const Function globals[] = {
	{.name = "range", .apply_any = call_range},
	{.name = "dict", .apply_any = call_dict},
	{.name = "namespace", .apply_any = call_namespace},
	{.name = "cycler", .apply_any = call_cycler},
	{.name = "joiner", .apply = call_joiner, .parameters = {"sep"}},
	{.name = "raise_exception",
     .apply = call_raise,
     .parameters = {"message"},
     .required = 1},
	{.name = "strftime_now",
     .apply = call_strftime_now,
     .parameters = {"format"},
     .required = 1},
};

const Function *
global_function(int number)
{
	return number < (int) (sizeof(globals) / sizeof(globals[0]))
	           ? &globals[number]
	           : NULL;
}
