/*
 * parser.c
 *		The statements of a template, from tokens to a tree.
 */
#include "text/jinja/tree.h"

#include <string.h>

static void parse_body(Parser *parser, NodeList *body, const char *const *ends);

static void
close_block(Parser *parser)
{
	parser_expect(parser, TOKEN_BLOCK_CLOSE, NULL);
}

/* Statements up to the tag with this name, and behind the tag. */
static void
parse_until(Parser *parser, NodeList *body, const char *end)
{
	const char *const ends[] = {end, NULL};

	parse_body(parser, body, ends);
	parser_expect(parser, TOKEN_NAME, end);
}

static Node *
parse_if(Parser *parser)
{
	static const char *const ends[] = {"elif", "else", "endif", NULL};
	Node *first = node_new(parser, NODE_IF);
	Node *node = first;

	for (;;)
	{
		node->left = parse_tuple(parser, false);
		close_block(parser);
		parse_body(parser, &node->body, ends);
		if (!parser_accept(parser, TOKEN_NAME, "elif"))
			break;
		node->other = node_new(parser, NODE_IF);
		node = node->other;
	}
	if (parser_accept(parser, TOKEN_NAME, "else"))
	{
		close_block(parser);
		node->other = node_new(parser, NODE_BODY);
		parse_until(parser, &node->other->body, "endif");
	}
	else
		parser_expect(parser, TOKEN_NAME, "endif");
	close_block(parser);
	return first;
}

static Node *
parse_for(Parser *parser)
{
	static const char *const ends[] = {"else", "endfor", NULL};
	Node *node = node_new(parser, NODE_FOR);

	node->left = parse_target(parser);
	parser_expect(parser, TOKEN_NAME, "in");
	node->right = parse_tuple(parser, false);
	if (parser_accept(parser, TOKEN_NAME, "if"))
		node->condition = parse_expression(parser);
	if (parser_accept(parser, TOKEN_NAME, "recursive"))
		node->value = value_bool(true);
	close_block(parser);
	parser->loops++;
	parse_body(parser, &node->body, ends);
	parser->loops--;
	if (parser_accept(parser, TOKEN_NAME, "else"))
	{
		close_block(parser);
		node->other = node_new(parser, NODE_BODY);
		parse_until(parser, &node->other->body, "endfor");
	}
	else
		parser_expect(parser, TOKEN_NAME, "endfor");
	close_block(parser);
	return node;
}

static Node *
parse_set(Parser *parser)
{
	Node *node = node_new(parser, NODE_SET);

	node->left = parse_target(parser);
	if (parser_accept(parser, TOKEN_OPERATOR, "="))
	{
		node->right = parse_tuple(parser, true);
		close_block(parser);
		return node;
	}
	node->kind = NODE_SET_BLOCK;
	node->right = node_new(parser, NODE_TAKEN);
	if (parser_accept(parser, TOKEN_OPERATOR, "|"))
		node->right = parse_filters(parser, node->right, true);
	close_block(parser);
	parse_until(parser, &node->body, "endset");
	close_block(parser);
	return node;
}

static Node *
parse_filter_block(Parser *parser)
{
	Node *node = node_new(parser, NODE_FILTER_BLOCK);

	node->right = parse_filters(parser, node_new(parser, NODE_TAKEN), true);
	close_block(parser);
	parse_until(parser, &node->body, "endfilter");
	close_block(parser);
	return node;
}

/* The body of a macro is outside of the loops around it. */
static void
parse_macro_body(Parser *parser, Node *node, const char *end)
{
	int loops = parser->loops;

	close_block(parser);
	parser->loops = 0;
	parse_until(parser, &node->body, end);
	parser->loops = loops;
	close_block(parser);
}

static Node *
parse_macro(Parser *parser)
{
	Node *node = node_new(parser, NODE_MACRO);

	node->value = parser_name(parser);
	parse_parameters(parser, node);
	parse_macro_body(parser, node, "endmacro");
	return node;
}

static Node *
parse_call_block(Parser *parser)
{
	Node *node = node_new(parser, NODE_CALL_BLOCK);

	node->names = list_new(parser->run);
	if (token_is(parser->token, TOKEN_OPERATOR, "("))
		parse_parameters(parser, node);
	node->right = parse_expression(parser);
	if (node->right->kind != NODE_CALL)
		run_fail(parser->run, FAILURE_BAD_FILE, "expected a call");
	parse_macro_body(parser, node, "endcall");
	return node;
}

static Node *
parse_with(Parser *parser)
{
	Node *node = node_new(parser, NODE_WITH);

	while (parser->token->kind != TOKEN_BLOCK_CLOSE)
	{
		Node *target = node_new(parser, NODE_NAME);

		if (node->items.count > 0)
			parser_expect(parser, TOKEN_OPERATOR, ",");
		target->value = parser_name(parser);
		parser_expect(parser, TOKEN_OPERATOR, "=");
		node_add(parser, &node->items, target);
		node_add(parser, &node->items, parse_expression(parser));
	}
	close_block(parser);
	parse_until(parser, &node->body, "endwith");
	close_block(parser);
	return node;
}

/* Marks what an assistant said, with a scope of its own; the text is the same
 * without. */
static Node *
parse_generation(Parser *parser)
{
	Node *node = node_new(parser, NODE_WITH);

	close_block(parser);
	parse_until(parser, &node->body, "endgeneration");
	close_block(parser);
	return node;
}

static Node *
parse_jump(Parser *parser, NodeKind kind)
{
	Node *node = node_new(parser, kind);

	if (parser->loops == 0)
		run_fail(parser->run, FAILURE_BAD_FILE, "%s outside of a loop",
		         kind == NODE_BREAK ? "break" : "continue");
	close_block(parser);
	return node;
}

static Node *
parse_break(Parser *parser)
{
	return parse_jump(parser, NODE_BREAK);
}

static Node *
parse_continue(Parser *parser)
{
	return parse_jump(parser, NODE_CONTINUE);
}

typedef struct Statement
{
	const char *name;
	Node *(*parse)(Parser *parser); /* from behind the name */
} Statement;

static const Statement statements[] = {
	{"if", parse_if},           {"for", parse_for},
	{"set", parse_set},         {"macro", parse_macro},
	{"call", parse_call_block}, {"filter", parse_filter_block},
	{"with", parse_with},       {"generation", parse_generation},
	{"break", parse_break},     {"continue", parse_continue},
};

static Node *
parse_statement(Parser *parser)
{
	const Token *token = parser->token;
	Value name = parser_name(parser);

	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		if (value_is_text(name, statements[i].name))
			return statements[i].parse(parser);
	parser->run->line = token->line;
	run_fail(parser->run, FAILURE_UNSUPPORTED,
	         "the tag \"%s\" is not supported, or stands where it has no "
	         "meaning",
	         value_label(parser->run, name));
}

static bool
is_end(const Parser *parser, const char *const *ends)
{
	for (; ends != NULL && *ends != NULL; ends++)
		if (token_is(parser->token, TOKEN_NAME, *ends))
			return true;
	return false;
}

/* Statements up to "{%" and one of the ends (NULL: up to the last). */
static void
parse_body(Parser *parser, NodeList *body, const char *const *ends)
{
	run_enter(parser->run);
	while (parser->token->kind != TOKEN_END)
	{
		Node *node;

		if (parser->token->kind == TOKEN_DATA)
		{
			node = node_new(parser, NODE_DATA);
			node->value = parser->token->value;
			parser_expect(parser, TOKEN_DATA, NULL);
		}
		else if (parser_accept(parser, TOKEN_OUTPUT, NULL))
		{
			node = node_new(parser, NODE_OUTPUT);
			node->left = parse_tuple(parser, true);
			parser_expect(parser, TOKEN_OUTPUT_CLOSE, NULL);
		}
		else
		{
			parser_expect(parser, TOKEN_BLOCK, NULL);
			if (is_end(parser, ends))
			{
				run_leave(parser->run);
				return;
			}
			node = parse_statement(parser);
		}
		node_add(parser, body, node);
	}
	if (ends != NULL)
		run_fail(parser->run, FAILURE_BAD_FILE,
		         "the template ends before \"%s\"", ends[0]);
	run_leave(parser->run);
}

Node *
parse_template(Run *run, const char *text, size_t length)
{
	size_t count;
	Parser parser = {run, lexer_read(run, text, length, &count), 0};
	Node *root = node_new(&parser, NODE_BODY);

	parse_body(&parser, &root->body, NULL);
	return root;
}
