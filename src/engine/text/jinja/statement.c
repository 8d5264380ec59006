/*
 * statement.c
 *		The statements of a template, from their tree to its text.
 *
 * Loops, macros and blocks have scopes of their own, "if" has none: what is
 * set in a loop is forgotten at its next turn, which is why templates keep
 * what must last in a namespace.
 */
#include "text/jinja/evaluate.h"

/* What a statement does to the loop around it. */
typedef enum Flow
{
	FLOW_ON,
	FLOW_BREAK,
	FLOW_CONTINUE
} Flow;

static Flow run_body(Run *run, Scope *scope, const NodeList *body);

/* What the body writes, as a value. */
static Value
take_body(Run *run, Scope *scope, const NodeList *body)
{
	size_t since = run->length;

	run_body(run, scope, body);
	return run_take(run, since);
}

/* ------------------------------------------------------------ assignments */

static void
assign_part(Run *run, Scope *scope, const Node *target, Value value)
{
	Value space = evaluate(run, scope, target->left);

	if (space.kind != VALUE_NAMESPACE)
		run_fail(run, FAILURE_BAD_INPUT,
		         "cannot assign attribute on non-namespace object");
	if (target->value.string->length > 0 &&
	    target->value.string->data[0] == '_')
		run_fail(run, FAILURE_BAD_INPUT,
		         "a name in a namespace must not begin with \"_\"");
	dict_set(run, space.dict, target->value, value);
}

static void
assign(Run *run, Scope *scope, const Node *target, Value value)
{
	const List *items;

	if (target->kind == NODE_NAME)
	{
		scope_set(run, scope, target->value, value);
		return;
	}
	if (target->kind == NODE_NAMESPACE_TARGET)
	{
		assign_part(run, scope, target, value);
		return;
	}
	run_enter(run);
	items = value_items(run, value);
	if (items->count < target->items.count)
		run_fail(run, FAILURE_BAD_INPUT,
		         "not enough values to unpack (expected %zu, got %zu)",
		         target->items.count, items->count);
	if (items->count > target->items.count)
		run_fail(run, FAILURE_BAD_INPUT,
		         "too many values to unpack (expected %zu)",
		         target->items.count);
	for (size_t i = 0; i < items->count; i++)
		assign(run, scope, target->items.items[i], items->items[i]);
	run_leave(run);
}

/* ----------------------------------------------------------------- loops */

/* Of these items, those that the loop's condition lets through. */
static const List *
loop_items(Run *run, Scope *scope, const Node *node, const List *items)
{
	List *list;

	if (node->condition == NULL)
		return items;
	list = list_new(run);
	for (size_t i = 0; i < items->count; i++)
	{
		Scope *inner = scope_new(run, scope);

		assign(run, inner, node->left, items->items[i]);
		if (value_truth(evaluate(run, inner, node->condition)))
			list_add(run, list, items->items[i]);
	}
	return list;
}

static Flow
run_loop(Run *run, Scope *scope, const Node *node, const List *all, int depth)
{
	const List *items = loop_items(run, scope, node, all);
	Loop *loop = run_alloc(run, 1, sizeof(Loop));
	Value name = value_text(run, "loop");

	*loop = (Loop){.items = items, .depth = depth};
	if (node->value.kind == VALUE_BOOL)
	{
		loop->node = node;
		loop->outer_scope = scope;
	}
	for (; loop->index < items->count; loop->index++)
	{
		Scope *inner = scope_new(run, scope);

		scope_set(run, inner, name, (Value){.kind = VALUE_LOOP, .loop = loop});
		assign(run, inner, node->left, items->items[loop->index]);
		if (run_body(run, inner, &node->body) == FLOW_BREAK)
			break;
	}
	if (items->count == 0 && node->other != NULL)
		return run_body(run, scope_new(run, scope), &node->other->body);
	return FLOW_ON;
}

static Flow
run_for(Run *run, Scope *scope, const Node *node)
{
	return run_loop(run, scope, node,
	                value_items(run, evaluate(run, scope, node->right)), 1);
}

Value
loop_call(Run *run, const Loop *loop, const Arguments *arguments)
{
	size_t since = run->length;

	if (loop->node == NULL)
		run_fail(run, FAILURE_BAD_INPUT,
		         "the loop must have the \"recursive\" marker to be called");
	if (arguments->count != 1)
		run_fail(run, FAILURE_BAD_INPUT, "a loop is called with one argument");
	run_enter(run);
	run_loop(run, loop->outer_scope, loop->node,
	         value_items(run, arguments->values[0]), loop->depth + 1);
	run_leave(run);
	return run_take(run, since);
}

static Flow
run_if(Run *run, Scope *scope, const Node *node)
{
	while (node != NULL && node->kind == NODE_IF)
	{
		if (value_truth(evaluate(run, scope, node->left)))
			return run_body(run, scope, &node->body);
		node = node->other;
	}
	return node == NULL ? FLOW_ON : run_body(run, scope, &node->body);
}

/* ---------------------------------------------------------------- macros */

static const char *
macro_name(Run *run, const Node *node)
{
	return node->kind == NODE_MACRO ? value_label(run, node->value) : "caller";
}

static Value
make_macro(Run *run, Scope *scope, const Node *node)
{
	Macro *macro = run_alloc(run, 1, sizeof(Macro));

	*macro = (Macro){node, scope};
	return (Value){.kind = VALUE_MACRO, .macro = macro};
}

/* A named argument to its parameter; "caller" goes to any macro. */
static void
bind_named(Run *run, Scope *scope, const Node *node, Value name, Value value)
{
	bool known = value_is_text(name, "caller");

	for (size_t i = 0; i < node->names->count && !known; i++)
		known = value_equal(run, node->names->items[i], name);
	if (!known)
		run_fail(run, FAILURE_BAD_INPUT, "macro '%s' takes no argument '%s'",
		         macro_name(run, node), value_label(run, name));
	scope_set(run, scope, name, value);
}

Value
macro_call(Run *run, const Macro *macro, const Arguments *arguments)
{
	const Node *node = macro->node;
	Scope *scope = scope_new(run, macro->scope);
	Value result;

	run_enter(run);
	for (size_t i = 0; i < arguments->count; i++)
	{
		if (arguments->names[i].kind != VALUE_ABSENT)
			bind_named(run, scope, node, arguments->names[i],
			           arguments->values[i]);
		else if (i < node->names->count)
			scope_set(run, scope, node->names->items[i], arguments->values[i]);
		else
			run_fail(run, FAILURE_BAD_INPUT,
			         "macro '%s' takes not more than %zu argument(s)",
			         macro_name(run, node), node->names->count);
	}
	for (size_t i = 0; i < node->names->count; i++)
	{
		Value name = node->names->items[i];
		const Node *fallback = node->items.items[i];

		if (dict_find(run, &scope->names, name) != NULL)
			continue;
		scope_set(run, scope, name,
		          fallback != NULL
		              ? evaluate(run, scope, fallback)
		              : value_undefined(run, "parameter '%s' was not provided",
		                                value_label(run, name)));
	}
	result = take_body(run, scope, &node->body);
	run_leave(run);
	return result;
}

/* ------------------------------------------------------------ all of them */

static void
run_set_block(Run *run, Scope *scope, const Node *node)
{
	Value taken = take_body(run, scope_new(run, scope), &node->body);

	assign(run, scope, node->left,
	       evaluate_filters(run, scope, node->right, taken));
}

static Flow
run_with(Run *run, Scope *scope, const Node *node)
{
	Scope *inner = scope_new(run, scope);

	for (size_t i = 0; i + 1 < node->items.count; i += 2)
	{
		Value value = evaluate(run, scope, node->items.items[i + 1]);

		assign(run, inner, node->items.items[i], value);
	}
	return run_body(run, inner, &node->body);
}

static Flow
run_statement(Run *run, Scope *scope, const Node *node)
{
	Value value;

	run->line = node->line;
	switch (node->kind)
	{
		case NODE_DATA:
			value_write(run, node->value);
			break;
		case NODE_OUTPUT:
			value_write(run, evaluate(run, scope, node->left));
			break;
		case NODE_IF:
			return run_if(run, scope, node);
		case NODE_FOR:
			return run_for(run, scope, node);
		case NODE_SET:
			value = evaluate(run, scope, node->right);
			assign(run, scope, node->left, value);
			break;
		case NODE_SET_BLOCK:
			run_set_block(run, scope, node);
			break;
		case NODE_FILTER_BLOCK:
			value = take_body(run, scope_new(run, scope), &node->body);
			value_write(run, evaluate_filters(run, scope, node->right, value));
			break;
		case NODE_MACRO:
			scope_set(run, scope, node->value, make_macro(run, scope, node));
			break;
		case NODE_CALL_BLOCK:
			value = make_macro(run, scope, node);
			value_write(run, evaluate_call(run, scope, node->right, value));
			break;
		case NODE_WITH:
			return run_with(run, scope, node);
		case NODE_BREAK:
			return FLOW_BREAK;
		case NODE_CONTINUE:
			return FLOW_CONTINUE;
		default:
			run_fail(run, FAILURE_INTERNAL, "node %d is no statement",
			         node->kind);
	}
	return FLOW_ON;
}

static Flow
run_body(Run *run, Scope *scope, const NodeList *body)
{
	Flow flow = FLOW_ON;

	run_enter(run);
	for (size_t i = 0; i < body->count && flow == FLOW_ON; i++)
		flow = run_statement(run, scope, body->items[i]);
	run_leave(run);
	return flow;
}

void
render(Run *run, Scope *scope, const Node *root)
{
	run_body(run, scope, &root->body);
}
