/*
 * call.c
 *		Calls of functions in C: arguments to parameters, names to functions.
 */
#include "text/jinja/call.h"

#include <string.h>

static int
parameter_count(const Function *function)
{
	int count = 0;

	while (function->parameters[count] != NULL)
		count++;
	return count;
}

Value
function_call(Run *run, const Function *function, Value self,
              const Arguments *arguments)
{
	Value given[PARAMETERS_MAX] = {ABSENT};
	int count = parameter_count(function);
	Value result;

	run_enter(run);
	if (function->apply_any != NULL)
	{
		result = function->apply_any(run, self, arguments);
		run_leave(run);
		return result;
	}
	for (size_t i = 0; i < arguments->count; i++)
	{
		Value name = arguments->names[i];
		int place = name.kind == VALUE_ABSENT ? (int) i : 0;

		if (name.kind != VALUE_ABSENT)
			while (place < count &&
			       !value_is_text(name, function->parameters[place]))
				place++;
		if (place >= count && name.kind == VALUE_ABSENT)
			run_fail(run, FAILURE_BAD_INPUT,
			         "%s takes at most %d argument(s), not %zu", function->name,
			         count, arguments->count);
		if (place >= count)
			run_fail(run, FAILURE_BAD_INPUT, "%s has no argument \"%s\"",
			         function->name, value_label(run, name));
		given[place] = arguments->values[i];
	}
	for (int i = 0; i < function->required; i++)
		if (given[i].kind == VALUE_ABSENT)
			run_fail(run, FAILURE_BAD_INPUT, "%s needs the argument \"%s\"",
			         function->name, function->parameters[i]);
	result = function->apply(run, self, given);
	run_leave(run);
	return result;
}

Value
arguments_named(const Arguments *arguments, const char *name)
{
	for (size_t i = 0; i < arguments->count; i++)
		if (value_is_text(arguments->names[i], name))
			return arguments->values[i];
	return ABSENT;
}

static const Function *
find(const Function *table, Value name)
{
	for (; table->name != NULL; table++)
		if (value_is_text(name, table->name))
			return table;
	return NULL;
}

const Function *
filter_find(Value name)
{
	const Function *found = find(text_filters, name);

	return found != NULL ? found : find(list_filters, name);
}
