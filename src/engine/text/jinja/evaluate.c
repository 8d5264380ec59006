/*
 * evaluate.c
 *		The expressions of a template, from their tree to their values.
 */
#include "text/jinja/evaluate.h"

#include "text/jinja/text.h"

#include <string.h>

Scope *
scope_new(Run *run, Scope *outer)
{
	Scope *scope = run_alloc(run, 1, sizeof(Scope));

	scope->outer = outer;
	return scope;
}

void
scope_set(Run *run, Scope *scope, Value name, Value value)
{
	dict_set(run, &scope->names, name, value);
}

static Value
look_up(Run *run, const Scope *scope, Value name)
{
	for (; scope != NULL; scope = scope->outer)
	{
		const Value *found = dict_find(run, &scope->names, name);

		if (found != NULL)
			return *found;
	}
	return value_undefined(run, "'%s' is undefined", value_label(run, name));
}

static List *
evaluate_all(Run *run, Scope *scope, const NodeList *nodes)
{
	List *list = list_new(run);

	for (size_t i = 0; i < nodes->count; i++)
		list_add(run, list, evaluate(run, scope, nodes->items[i]));
	return list;
}

static Value
evaluate_dict(Run *run, Scope *scope, const Node *node)
{
	Dict *dict = dict_new(run);

	for (size_t i = 0; i + 1 < node->items.count; i += 2)
	{
		Value key = evaluate(run, scope, node->items.items[i]);

		dict_set(run, dict, key,
		         evaluate(run, scope, node->items.items[i + 1]));
	}
	return (Value){.kind = VALUE_DICT, .dict = dict};
}

static Value
evaluate_slice(Run *run, Scope *scope, const Node *node)
{
	Value value = evaluate(run, scope, node->left);
	Value bounds[3] = {ABSENT, ABSENT, ABSENT};

	for (size_t i = 0; i < node->items.count && i < 3; i++)
		if (node->items.items[i] != NULL)
			bounds[i] = evaluate(run, scope, node->items.items[i]);
	return value_slice(run, value, bounds[0], bounds[1], bounds[2]);
}

static Value
evaluate_unary(Run *run, Scope *scope, const Node *node)
{
	Value value = evaluate(run, scope, node->left);

	if (value_is_text(node->value, "not"))
		return value_bool(!value_truth(value));
	if (value.kind == VALUE_UNDEFINED)
		run_fail(run, FAILURE_BAD_INPUT, "%s", value.why);
	if (!value_is_number(value))
		run_fail(run, FAILURE_BAD_INPUT, "bad operand type for unary %s: '%s'",
		         value_is_text(node->value, "-") ? "-" : "+",
		         value_type_name(value));
	if (value_is_text(node->value, "-"))
		return value.kind == VALUE_FLOAT
		           ? value_float(-value.number)
		           : value_operate(run, "-", value_int(0), value);
	return value.kind == VALUE_BOOL ? value_int(value.boolean) : value;
}

static bool
holds(Run *run, Value operator, Value left, Value right)
{
	const char *name = operator.string->data;

	if (strcmp(name, "==") == 0)
		return value_equal(run, left, right);
	if (strcmp(name, "!=") == 0)
		return !value_equal(run, left, right);
	if (strcmp(name, "in") == 0)
		return value_contains(run, right, left);
	if (strcmp(name, "not in") == 0)
		return !value_contains(run, right, left);
	if (strcmp(name, "<") == 0)
		return value_compare(run, left, right, name) < 0;
	if (strcmp(name, "<=") == 0)
		return value_compare(run, left, right, name) <= 0;
	if (strcmp(name, ">") == 0)
		return value_compare(run, left, right, name) > 0;
	return value_compare(run, left, right, name) >= 0;
}

/* a < b < c is a < b and b < c. */
static Value
evaluate_compare(Run *run, Scope *scope, const Node *node)
{
	Value left = evaluate(run, scope, node->left);

	for (size_t i = 0; i < node->items.count; i++)
	{
		Value right = evaluate(run, scope, node->items.items[i]);

		if (!holds(run, node->names->items[i], left, right))
			return value_bool(false);
		left = right;
	}
	return value_bool(true);
}

static Value
evaluate_conditional(Run *run, Scope *scope, const Node *node)
{
	if (value_truth(evaluate(run, scope, node->right)))
		return evaluate(run, scope, node->left);
	if (node->other != NULL)
		return evaluate(run, scope, node->other);
	return value_undefined(run, "the inline if-expression has no else, and "
	                            "its condition does not hold");
}

/* ------------------------------------------------------------------ calls */

/* What stands behind * or **, as arguments of their own. */
static void
spread(Run *run, Value value, bool is_dict, List *values, List *names)
{
	const List *items;

	if (is_dict && value.kind != VALUE_DICT)
		run_fail(run, FAILURE_BAD_INPUT,
		         "argument after ** must be a mapping, not %s",
		         value_type_name(value));
	items = value_items(run, value);
	for (size_t i = 0; i < items->count; i++)
	{
		if (is_dict && items->items[i].kind != VALUE_STRING)
			run_fail(run, FAILURE_BAD_INPUT, "keywords must be strings");
		list_add(run, names, is_dict ? items->items[i] : ABSENT);
		list_add(run, values,
		         is_dict ? value.dict->entries[i].value : items->items[i]);
	}
}

static Arguments
evaluate_arguments(Run *run, Scope *scope, const Node *node)
{
	const List *given = evaluate_all(run, scope, &node->items);
	List *values = list_new(run), *names = list_new(run);

	for (size_t i = 0; i < given->count; i++)
	{
		Value name = node->names->items[i];

		if (name.kind == VALUE_BOOL)
		{
			spread(run, given->items[i], name.boolean, values, names);
			continue;
		}
		list_add(run, names, name);
		list_add(run, values, given->items[i]);
	}
	return (Arguments){values->items, names->items, values->count};
}

static _Noreturn void
not_known(Run *run, const char *what, Value name)
{
	run_fail(run, FAILURE_UNSUPPORTED, "%s \"%s\" is not supported", what,
	         value_label(run, name));
}

static Value
apply_filter(Run *run, Scope *scope, const Node *node, Value value)
{
	Arguments arguments;

	if (node->found == NULL)
		not_known(run, "filter", node->value);
	arguments = evaluate_arguments(run, scope, node);
	run->line = node->line;
	return function_call(run, node->found, value, &arguments);
}

Value
evaluate_filters(Run *run, Scope *scope, const Node *node, Value taken)
{
	Value value;

	if (node->kind != NODE_FILTER)
		return taken;
	run_enter(run);
	value = apply_filter(run, scope, node,
	                     evaluate_filters(run, scope, node->left, taken));
	run_leave(run);
	return value;
}

static Value
evaluate_test(Run *run, Scope *scope, const Node *node)
{
	Value value = evaluate(run, scope, node->left);
	Arguments arguments = evaluate_arguments(run, scope, node);

	if (node->found == NULL)
		not_known(run, "test", node->value);
	return function_call(run, node->found, value, &arguments);
}

Value
evaluate_call(Run *run, Scope *scope, const Node *node, Value caller)
{
	Value called = evaluate(run, scope, node->left);
	Arguments arguments = evaluate_arguments(run, scope, node);

	run->line = node->line;
	if (caller.kind != VALUE_ABSENT)
	{
		Value *values = run_alloc(run, arguments.count + 1, sizeof(Value));
		Value *names = run_alloc(run, arguments.count + 1, sizeof(Value));

		for (size_t i = 0; i < arguments.count; i++)
		{
			values[i] = arguments.values[i];
			names[i] = arguments.names[i];
		}
		values[arguments.count] = caller;
		names[arguments.count] = value_text(run, "caller");
		arguments = (Arguments){values, names, arguments.count + 1};
	}
	switch (called.kind)
	{
		case VALUE_UNDEFINED:
			run_fail(run, FAILURE_BAD_INPUT, "%s", called.why);
		case VALUE_MACRO:
			return macro_call(run, called.macro, &arguments);
		case VALUE_FUNCTION:
			return function_call(run, called.function, ABSENT, &arguments);
		case VALUE_METHOD:
			return function_call(run, called.bound->function,
			                     called.bound->self, &arguments);
		case VALUE_LOOP:
			return loop_call(run, called.loop, &arguments);
		case VALUE_JOINER:
			return called.list->next++ == 0 ? value_text(run, "")
			                                : called.list->items[0];
		default:
			run_fail(run, FAILURE_BAD_INPUT, "'%s' object is not callable",
			         value_type_name(called));
	}
}

static Value
evaluate_logic(Run *run, Scope *scope, const Node *node)
{
	Value left = evaluate(run, scope, node->left);

	return value_truth(left) == (node->kind == NODE_OR)
	           ? left
	           : evaluate(run, scope, node->right);
}

static Value
evaluate_binary(Run *run, Scope *scope, const Node *node)
{
	Value left = evaluate(run, scope, node->left);
	Value right = evaluate(run, scope, node->right);

	run->line = node->line;
	return value_operate(run, node->value.string->data, left, right);
}

static Value
evaluate_item(Run *run, Scope *scope, const Node *node)
{
	Value value = evaluate(run, scope, node->left);
	Value key = evaluate(run, scope, node->right);

	return value_item(run, value, key);
}

static Value
evaluate_kind(Run *run, Scope *scope, const Node *node)
{
	switch (node->kind)
	{
		case NODE_CONST:
			return node->value;
		case NODE_NAME:
			return look_up(run, scope, node->value);
		case NODE_LIST:
			return value_list(VALUE_LIST,
			                  evaluate_all(run, scope, &node->items));
		case NODE_TUPLE:
			return value_list(VALUE_TUPLE,
			                  evaluate_all(run, scope, &node->items));
		case NODE_DICT:
			return evaluate_dict(run, scope, node);
		case NODE_ATTRIBUTE:
			return value_attribute(run, evaluate(run, scope, node->left),
			                       node->value);
		case NODE_ITEM:
			return evaluate_item(run, scope, node);
		case NODE_SLICE:
			return evaluate_slice(run, scope, node);
		case NODE_CALL:
			return evaluate_call(run, scope, node, ABSENT);
		case NODE_FILTER:
			return apply_filter(run, scope, node,
			                    evaluate(run, scope, node->left));
		case NODE_TEST:
			return evaluate_test(run, scope, node);
		case NODE_UNARY:
			return evaluate_unary(run, scope, node);
		case NODE_BINARY:
			return evaluate_binary(run, scope, node);
		case NODE_AND:
		case NODE_OR:
			return evaluate_logic(run, scope, node);
		case NODE_COMPARE:
			return evaluate_compare(run, scope, node);
		case NODE_CONDITIONAL:
			return evaluate_conditional(run, scope, node);
		default:
			run_fail(run, FAILURE_INTERNAL, "node %d is no expression",
			         node->kind);
	}
}

Value
evaluate(Run *run, Scope *scope, const Node *node)
{
	Value value;

	run_enter(run);
	run->line = node->line;
	value = evaluate_kind(run, scope, node);
	run_leave(run);
	return value;
}
