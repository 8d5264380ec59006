/*
 * method_list.c
 *		Methods of dicts, lists, loops and cyclers, and finding any method.
 */
#include "text/jinja/call.h"

/* ------------------------------------------------------------------ dicts */

static Value
view(List *list, const char *label)
{
	list->label = label;
	return value_list(VALUE_VIEW, list);
}

static Value
call_keys(Run *run, Value self, const Value *given)
{
	List *list = list_new(run);

	(void) given;
	for (size_t i = 0; i < self.dict->count; i++)
		list_add(run, list, self.dict->entries[i].key);
	return view(list, "dict_keys");
}

static Value
call_values(Run *run, Value self, const Value *given)
{
	List *list = list_new(run);

	(void) given;
	for (size_t i = 0; i < self.dict->count; i++)
		list_add(run, list, self.dict->entries[i].value);
	return view(list, "dict_values");
}

static Value
call_items(Run *run, Value self, const Value *given)
{
	List *list = list_new(run);

	(void) given;
	for (size_t i = 0; i < self.dict->count; i++)
	{
		List *pair = list_new(run);

		list_add(run, pair, self.dict->entries[i].key);
		list_add(run, pair, self.dict->entries[i].value);
		list_add(run, list, value_list(VALUE_TUPLE, pair));
	}
	return view(list, "dict_items");
}

static Value
call_get(Run *run, Value self, const Value *given)
{
	const Value *found = dict_find(run, self.dict, given[0]);

	if (found != NULL)
		return *found;
	return given[1].kind == VALUE_ABSENT ? NONE : given[1];
}

/* Values never change, so what would be a copy is the thing itself. */
static Value
call_copy(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return self;
}

static const Function dict_methods[] = {
	{.name = "keys", .apply = call_keys},
	{.name = "values", .apply = call_values},
	{.name = "items", .apply = call_items},
	{.name = "get",
     .apply = call_get,
     .parameters = {"key", "default"},
     .required = 1},
	{.name = "copy", .apply = call_copy},
	{.name = NULL},
};

/* ------------------------------------------------------------------ lists */

static Value
call_index(Run *run, Value self, const Value *given)
{
	for (size_t i = 0; i < self.list->count; i++)
		if (value_equal(run, self.list->items[i], given[0]))
			return value_int((int64_t) i);
	run_fail(run, FAILURE_BAD_INPUT, "the value is not in the list");
}

static Value
call_count(Run *run, Value self, const Value *given)
{
	int64_t count = 0;

	for (size_t i = 0; i < self.list->count; i++)
		count += value_equal(run, self.list->items[i], given[0]);
	return value_int(count);
}

/* Templates must not change what others see; jinja2's sandbox refuses too. */
static Value
call_change(Run *run, Value self, const Arguments *arguments)
{
	(void) arguments;
	run_fail(run, FAILURE_BAD_INPUT, "a template must not change a %s",
	         value_type_name(self));
}

static const Function list_methods[] = {
	{.name = "index",
     .apply = call_index,
     .parameters = {"value"},
     .required = 1},
	{.name = "count",
     .apply = call_count,
     .parameters = {"value"},
     .required = 1},
	{.name = "copy", .apply = call_copy},
	{.name = "append", .apply_any = call_change},
	{.name = "extend", .apply_any = call_change},
	{.name = "insert", .apply_any = call_change},
	{.name = "pop", .apply_any = call_change},
	{.name = "remove", .apply_any = call_change},
	{.name = NULL},
};

/* ------------------------------------------------------- loops and cyclers */

static Value
call_cycle(Run *run, Value self, const Arguments *arguments)
{
	if (arguments->count == 0)
		run_fail(run, FAILURE_BAD_INPUT, "no items for cycling given");
	return arguments->values[self.loop->index % arguments->count];
}

static Value
call_changed(Run *run, Value self, const Arguments *arguments)
{
	List *list = list_new(run);
	Value now, before = self.loop->changed;

	for (size_t i = 0; i < arguments->count; i++)
		list_add(run, list, arguments->values[i]);
	now = value_list(VALUE_TUPLE, list);
	self.loop->changed = now;
	return value_bool(before.kind == VALUE_ABSENT ||
	                  !value_equal(run, before, now));
}

static const Function loop_methods[] = {
	{.name = "cycle", .apply_any = call_cycle},
	{.name = "changed", .apply_any = call_changed},
	{.name = NULL},
};

static Value
call_next(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return self.list->items[self.list->next++ % self.list->count];
}

static Value
call_reset(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	self.list->next = 0;
	return NONE;
}

static const Function cycler_methods[] = {
	{.name = "next", .apply = call_next},
	{.name = "reset", .apply = call_reset},
	{.name = NULL},
};

const Function *
method_find(ValueKind kind, Value name)
{
	const Function *table =
		kind == VALUE_STRING ? string_methods
		: kind == VALUE_DICT ? dict_methods
		: kind == VALUE_LIST || kind == VALUE_TUPLE || kind == VALUE_RANGE
			? list_methods
		: kind == VALUE_LOOP   ? loop_methods
		: kind == VALUE_CYCLER ? cycler_methods
							   : NULL;

	for (; table != NULL && table->name != NULL; table++)
		if (value_is_text(name, table->name))
			return table;
	return NULL;
}
