/*
 * expression.c
 *		The expressions of a template, from tokens to a tree.
 *
 * Precedence from loose to tight, as in jinja2: if-else, or, and, not,
 * comparisons, + -, ~, * / // %, **, unary signs, then what follows a value
 * (. [] ()), and filters and tests behind it.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"
#include "text/jinja/tree.h"

static Node *parse_unary(Parser *parser, bool with_filters);

/* ------------------------------------------------------------- the tokens */

Node *
node_new(Parser *parser, NodeKind kind)
{
	Node *node = run_alloc(parser->run, 1, sizeof(Node));

	node->kind = kind;
	node->line = parser->token->line;
	return node;
}

void
node_add(Parser *parser, NodeList *list, Node *node)
{
	list->items = run_grow(parser->run, list->items, list->count,
	                       &list->capacity, sizeof(Node *));
	list->items[list->count++] = node;
}

static void
next(Parser *parser)
{
	parser->token++;
	parser->run->line = parser->token->line;
	run_charge(parser->run, 0);
}

void
parser_unexpected(Parser *parser)
{
	static const char *const words[] = {
		"the end of the template", "text", "\"{{\"", "\"}}\"", "\"{%\"",
		"the end of the tag"};
	const Token *token = parser->token;
	Value value;

	parser->run->line = token->line;
	if (token->kind <= TOKEN_BLOCK_CLOSE)
		run_fail(parser->run, FAILURE_BAD_FILE, "unexpected %s",
		         words[token->kind]);
	value = value_str(parser->run, token->value);
	run_fail(parser->run, FAILURE_BAD_FILE, "unexpected \"%s\"",
	         value_label(parser->run, value));
}

bool
parser_accept(Parser *parser, TokenKind kind, const char *text)
{
	if (text == NULL ? parser->token->kind != kind
	                 : !token_is(parser->token, kind, text))
		return false;
	next(parser);
	return true;
}

void
parser_expect(Parser *parser, TokenKind kind, const char *text)
{
	if (!parser_accept(parser, kind, text))
		parser_unexpected(parser);
}

static bool
is_operator(const Parser *parser, const char *text)
{
	return token_is(parser->token, TOKEN_OPERATOR, text);
}

static bool
is_name(const Parser *parser, const char *text)
{
	return token_is(parser->token, TOKEN_NAME, text);
}

static bool
accept_operator(Parser *parser, const char *text)
{
	return parser_accept(parser, TOKEN_OPERATOR, text);
}

Value
parser_name(Parser *parser)
{
	Value name = parser->token->value;

	parser_expect(parser, TOKEN_NAME, NULL);
	return name;
}

static Node *
constant(Parser *parser, Value value)
{
	Node *node = node_new(parser, NODE_CONST);

	node->value = value;
	return node;
}

/* -------------------------------------------------------------- arguments */

/* An argument's name, or ABSENT; false for those of a list (*), true for those
 * of a dict (**). */
static Value
argument_name(Parser *parser)
{
	Value name = ABSENT;

	if (is_operator(parser, "*") || is_operator(parser, "**"))
	{
		name = value_bool(is_operator(parser, "**"));
		next(parser);
	}
	else if (parser->token->kind == TOKEN_NAME &&
	         token_is(parser->token + 1, TOKEN_OPERATOR, "="))
	{
		name = parser_name(parser);
		next(parser);
	}
	return name;
}

/* "(a, b, name=c, *d, **e)" into the node's items and names. */
static void
parse_arguments(Parser *parser, Node *node)
{
	bool has_named = false;

	node->names = list_new(parser->run);
	parser_expect(parser, TOKEN_OPERATOR, "(");
	while (!is_operator(parser, ")"))
	{
		Value name;

		if (node->items.count > 0)
		{
			parser_expect(parser, TOKEN_OPERATOR, ",");
			if (is_operator(parser, ")"))
				break;
		}
		name = argument_name(parser);
		if (has_named && name.kind == VALUE_ABSENT)
			parser_unexpected(parser);
		has_named = name.kind != VALUE_ABSENT;
		list_add(parser->run, node->names, name);
		node_add(parser, &node->items, parse_expression(parser));
	}
	next(parser);
}

void
parse_parameters(Parser *parser, Node *node)
{
	node->names = list_new(parser->run);
	parser_expect(parser, TOKEN_OPERATOR, "(");
	while (!is_operator(parser, ")"))
	{
		Node *fallback = NULL;

		if (node->items.count > 0)
			parser_expect(parser, TOKEN_OPERATOR, ",");
		list_add(parser->run, node->names, parser_name(parser));
		if (accept_operator(parser, "="))
			fallback = parse_expression(parser);
		else if (node->items.count > 0 &&
		         node->items.items[node->items.count - 1] != NULL)
			run_fail(parser->run, FAILURE_BAD_FILE,
			         "a parameter without a default follows one with it");
		node_add(parser, &node->items, fallback);
	}
	next(parser);
}

/* --------------------------------------------------------- single values */

static Node *
parse_list(Parser *parser)
{
	Node *node = node_new(parser, NODE_LIST);

	next(parser);
	while (!is_operator(parser, "]"))
	{
		if (node->items.count > 0)
		{
			parser_expect(parser, TOKEN_OPERATOR, ",");
			if (is_operator(parser, "]"))
				break;
		}
		node_add(parser, &node->items, parse_expression(parser));
	}
	next(parser);
	return node;
}

static Node *
parse_dict(Parser *parser)
{
	Node *node = node_new(parser, NODE_DICT);

	next(parser);
	while (!is_operator(parser, "}"))
	{
		if (node->items.count > 0)
		{
			parser_expect(parser, TOKEN_OPERATOR, ",");
			if (is_operator(parser, "}"))
				break;
		}
		node_add(parser, &node->items, parse_expression(parser));
		parser_expect(parser, TOKEN_OPERATOR, ":");
		node_add(parser, &node->items, parse_expression(parser));
	}
	next(parser);
	return node;
}

/* Strings in a row are one. */
static Node *
parse_strings(Parser *parser)
{
	Node *node = constant(parser, parser->token->value);

	next(parser);
	for (; parser->token->kind == TOKEN_STRING; next(parser))
		node->value = text_concatenate(parser->run, node->value.string,
		                               parser->token->value.string);
	return node;
}

static Node *
parse_name(Parser *parser)
{
	static const char *const words[] = {"true",  "True", "false",
	                                    "False", "none", "None"};
	Node *node = node_new(parser, NODE_NAME);

	node->value = parser_name(parser);
	for (int i = 0; i < 6; i++)
		if (value_is_text(node->value, words[i]))
		{
			node->kind = NODE_CONST;
			node->value = i < 4 ? value_bool(i < 2) : NONE;
			return node;
		}
	return node;
}

static Node *
parse_primary(Parser *parser)
{
	Node *node;

	switch (parser->token->kind)
	{
		case TOKEN_NAME:
			return parse_name(parser);
		case TOKEN_STRING:
			return parse_strings(parser);
		case TOKEN_INT:
		case TOKEN_FLOAT:
			node = constant(parser, parser->token->value);
			next(parser);
			return node;
		default:
			break;
	}
	if (is_operator(parser, "["))
		return parse_list(parser);
	if (is_operator(parser, "{"))
		return parse_dict(parser);
	if (!accept_operator(parser, "("))
		parser_unexpected(parser);
	if (is_operator(parser, ")"))
		node = node_new(parser, NODE_TUPLE);
	else
		node = parse_tuple(parser, true);
	parser_expect(parser, TOKEN_OPERATOR, ")");
	return node;
}

/* ------------------------------------------------- what follows a value */

static Node *
slice_part(Parser *parser)
{
	if (is_operator(parser, ":") || is_operator(parser, "]"))
		return NULL;
	return parse_expression(parser);
}

static Node *
parse_item(Parser *parser, Node *left)
{
	Node *node = node_new(parser, NODE_ITEM);
	Node *first;

	next(parser);
	node->left = left;
	first = slice_part(parser);
	if (is_operator(parser, ":"))
	{
		node->kind = NODE_SLICE;
		node_add(parser, &node->items, first);
		for (int i = 0; i < 2; i++)
			node_add(parser, &node->items,
			         accept_operator(parser, ":") ? slice_part(parser) : NULL);
	}
	else if (first == NULL)
		parser_unexpected(parser);
	node->right = first;
	parser_expect(parser, TOKEN_OPERATOR, "]");
	return node;
}

static Node *
parse_attribute(Parser *parser, Node *left)
{
	Node *node = node_new(parser, NODE_ATTRIBUTE);

	next(parser);
	node->left = left;
	if (parser->token->kind == TOKEN_INT)
	{
		node->kind = NODE_ITEM;
		node->right = constant(parser, parser->token->value);
		next(parser);
	}
	else
		node->value = parser_name(parser);
	return node;
}

static Node *
parse_call(Parser *parser, Node *left)
{
	Node *node = node_new(parser, NODE_CALL);

	node->left = left;
	parse_arguments(parser, node);
	return node;
}

static Node *
parse_postfix(Parser *parser, Node *node)
{
	for (;;)
	{
		if (is_operator(parser, "."))
			node = parse_attribute(parser, node);
		else if (is_operator(parser, "["))
			node = parse_item(parser, node);
		else if (is_operator(parser, "("))
			node = parse_call(parser, node);
		else
			return node;
	}
}

static Node *
parse_filter(Parser *parser, Node *left)
{
	Node *node = node_new(parser, NODE_FILTER);

	node->left = left;
	node->value = parser_name(parser);
	if (is_operator(parser, "."))
		parser_unexpected(parser);
	node->found = filter_find(node->value);
	if (is_operator(parser, "("))
		parse_arguments(parser, node);
	return node;
}

Node *
parse_filters(Parser *parser, Node *left, bool starts_inline)
{
	if (starts_inline)
		left = parse_filter(parser, left);
	while (accept_operator(parser, "|"))
		left = parse_filter(parser, left);
	return left;
}

/* Can a test's argument begin here without parentheses? */
static bool
begins_argument(const Parser *parser)
{
	switch (parser->token->kind)
	{
		case TOKEN_NAME:
			return !is_name(parser, "else") && !is_name(parser, "or") &&
			       !is_name(parser, "and");
		case TOKEN_STRING:
		case TOKEN_INT:
		case TOKEN_FLOAT:
			return true;
		default:
			return is_operator(parser, "[") || is_operator(parser, "{");
	}
}

static Node *
parse_test(Parser *parser, Node *left)
{
	Node *node = node_new(parser, NODE_TEST);
	Node *negation = node_new(parser, NODE_UNARY);
	bool negated = parser_accept(parser, TOKEN_NAME, "not");

	node->left = left;
	node->value = parser_name(parser);
	node->found = test_find(node->value);
	node->names = list_new(parser->run);
	if (is_operator(parser, "("))
		parse_arguments(parser, node);
	else if (begins_argument(parser))
	{
		if (is_name(parser, "is"))
			run_fail(parser->run, FAILURE_BAD_FILE,
			         "tests cannot be chained with \"is\"");
		list_add(parser->run, node->names, ABSENT);
		node_add(parser, &node->items,
		         parse_postfix(parser, parse_primary(parser)));
	}
	if (!negated)
		return node;
	negation->value = value_text(parser->run, "not");
	negation->left = node;
	return negation;
}

/* Filters, tests and calls of what they give. */
static Node *
parse_behind(Parser *parser, Node *node)
{
	for (;;)
	{
		if (accept_operator(parser, "|"))
			node = parse_filter(parser, node);
		else if (parser_accept(parser, TOKEN_NAME, "is"))
			node = parse_test(parser, node);
		else if (is_operator(parser, "("))
			node = parse_call(parser, node);
		else
			return node;
	}
}

/* -------------------------------------------------------------- operators */

static Node *
parse_unary(Parser *parser, bool with_filters)
{
	Node *node;

	run_enter(parser->run);
	if (is_operator(parser, "-") || is_operator(parser, "+"))
	{
		node = node_new(parser, NODE_UNARY);
		node->value = parser->token->value;
		next(parser);
		node->left = parse_unary(parser, false);
	}
	else
		node = parse_primary(parser);
	node = parse_postfix(parser, node);
	if (with_filters)
		node = parse_behind(parser, node);
	run_leave(parser->run);
	return node;
}

/* Which of the operators is next, or NULL. */
static const char *
one_of(const Parser *parser, const char *const *operators)
{
	for (; *operators != NULL; operators++)
		if (is_operator(parser, *operators))
			return *operators;
	return NULL;
}

/* Binary operators, level by level; all bind to the left. */
static Node *
parse_binary(Parser *parser, int level)
{
	static const char *const levels[][5] = {
		{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
	Node *left = level == 3 ? parse_unary(parser, true)
	                        : parse_binary(parser, level + 1);

	while (one_of(parser, levels[level]) != NULL)
	{
		Node *node = node_new(parser, NODE_BINARY);

		node->value = parser->token->value;
		next(parser);
		node->left = left;
		node->right = level == 3 ? parse_unary(parser, true)
		                         : parse_binary(parser, level + 1);
		left = node;
	}
	return left;
}

/* The comparison that is next, or ABSENT. */
static Value
comparison(Parser *parser)
{
	static const char *const operators[] = {
		"==", "!=", "<=", ">=", "<", ">", NULL};
	const char *operator= one_of(parser, operators);

	if (operator== NULL && is_name(parser, "in"))
		operator= "in";
	else if (operator== NULL && is_name(parser, "not") &&
	         token_is(parser->token + 1, TOKEN_NAME, "in"))
	{
		next(parser);
		operator= "not in";
	}
	if (operator== NULL)
		return ABSENT;
	next(parser);
	return value_text(parser->run, operator);
}

static Node *
parse_compare(Parser *parser)
{
	Node *left = parse_binary(parser, 0);
	Node *node = NULL;

	for (;;)
	{
		int line = parser->token->line;
		Value operator= comparison(parser);

		if (operator.kind == VALUE_ABSENT)
			return node == NULL ? left : node;
		if (node == NULL)
		{
			node = node_new(parser, NODE_COMPARE);
			node->line = line;
			node->left = left;
			node->names = list_new(parser->run);
		}
		list_add(parser->run, node->names, operator);
		node_add(parser, &node->items, parse_binary(parser, 0));
	}
}

static Node *
parse_not(Parser *parser)
{
	Node *node;

	run_enter(parser->run);
	if (is_name(parser, "not"))
	{
		node = node_new(parser, NODE_UNARY);
		node->value = parser->token->value;
		next(parser);
		node->left = parse_not(parser);
	}
	else
		node = parse_compare(parser);
	run_leave(parser->run);
	return node;
}

static Node *
parse_logic(Parser *parser, bool is_or)
{
	Node *left = is_or ? parse_logic(parser, false) : parse_not(parser);

	while (parser_accept(parser, TOKEN_NAME, is_or ? "or" : "and"))
	{
		Node *node = node_new(parser, is_or ? NODE_OR : NODE_AND);

		node->left = left;
		node->right = is_or ? parse_logic(parser, false) : parse_not(parser);
		left = node;
	}
	return left;
}

Node *
parse_expression(Parser *parser)
{
	Node *node;

	run_enter(parser->run);
	node = parse_logic(parser, true);
	while (parser_accept(parser, TOKEN_NAME, "if"))
	{
		Node *choice = node_new(parser, NODE_CONDITIONAL);

		choice->left = node;
		choice->right = parse_logic(parser, true);
		if (parser_accept(parser, TOKEN_NAME, "else"))
			choice->other = parse_expression(parser);
		node = choice;
	}
	run_leave(parser->run);
	return node;
}

/* Nothing more follows a comma here. */
static bool
ends_tuple(const Parser *parser)
{
	return parser->token->kind == TOKEN_OUTPUT_CLOSE ||
	       parser->token->kind == TOKEN_BLOCK_CLOSE ||
	       is_operator(parser, ")") || is_name(parser, "in");
}

Node *
parse_tuple(Parser *parser, bool with_condition)
{
	Node *first;
	Node *node;

	first =
		with_condition ? parse_expression(parser) : parse_logic(parser, true);
	if (!is_operator(parser, ","))
		return first;
	node = node_new(parser, NODE_TUPLE);
	node_add(parser, &node->items, first);
	while (accept_operator(parser, ",") && !ends_tuple(parser))
		node_add(parser, &node->items,
		         with_condition ? parse_expression(parser)
		                        : parse_logic(parser, true));
	return node;
}

/* ---------------------------------------------------------------- targets */

static Node *
parse_one_target(Parser *parser)
{
	Node *node, *part;

	if (accept_operator(parser, "("))
	{
		node = parse_target(parser);
		parser_expect(parser, TOKEN_OPERATOR, ")");
		return node;
	}
	node = parse_name(parser);
	if (node->kind != NODE_NAME)
		run_fail(parser->run, FAILURE_BAD_FILE,
		         "true, false and none cannot be assigned to");
	if (!accept_operator(parser, "."))
		return node;
	part = node_new(parser, NODE_NAMESPACE_TARGET);
	part->left = node;
	part->value = parser_name(parser);
	return part;
}

Node *
parse_target(Parser *parser)
{
	Node *first, *node;

	run_enter(parser->run);
	first = parse_one_target(parser);
	run_leave(parser->run);
	if (!is_operator(parser, ","))
		return first;
	node = node_new(parser, NODE_TUPLE);
	node_add(parser, &node->items, first);
	while (accept_operator(parser, ",") && !ends_tuple(parser) &&
	       !is_operator(parser, "="))
	{
		run_enter(parser->run);
		node_add(parser, &node->items, parse_one_target(parser));
		run_leave(parser->run);
	}
	return node;
}
