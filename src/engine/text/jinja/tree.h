/*
 * tree.h
 *		A template as a tree, and the parser that makes it.
 */
#pragma once

#include "text/jinja/lexer.h"

typedef enum NodeKind
{
	/* expressions */
	NODE_CONST,     /* value */
	NODE_NAME,      /* value: the name */
	NODE_LIST,      /* items */
	NODE_TUPLE,     /* items */
	NODE_DICT,      /* items: key, value, key, value ... */
	NODE_ATTRIBUTE, /* left . value */
	NODE_ITEM,      /* left [ right ] */
	NODE_SLICE,     /* left [ items[0] : items[1] : items[2] ], NULL: absent */
	NODE_CALL,      /* left ( items, names ) */
	NODE_FILTER,    /* left | value ( items, names ) */
	NODE_TEST,      /* left is value ( items, names ) */
	NODE_UNARY,     /* value: "-" or "+" or "not"; left */
	NODE_BINARY,    /* left value right */
	NODE_AND,       /* left, right */
	NODE_OR,
	NODE_COMPARE,     /* left, then items with operators in names */
	NODE_CONDITIONAL, /* left if right else other */

	/* statements */
	NODE_DATA,         /* value */
	NODE_OUTPUT,       /* left */
	NODE_IF,           /* left, body, other: a NODE_IF or NODE_BODY */
	NODE_BODY,         /* body */
	NODE_FOR,          /* target left in right if condition: body, other */
	NODE_SET,          /* left = right */
	NODE_SET_BLOCK,    /* left, body; right: the filters, around a NODE_TAKEN */
	NODE_FILTER_BLOCK, /* right: the filters, body */
	NODE_TAKEN,        /* what the body of a block wrote */
	NODE_MACRO,        /* value: name; names, items: parameters; body */
	NODE_CALL_BLOCK,   /* right: the call; names, items: parameters; body */
	NODE_WITH,         /* items: target, value, ...; body */
	NODE_NAMESPACE_TARGET, /* left . value */
	NODE_BREAK,
	NODE_CONTINUE
} NodeKind;

typedef struct Node Node;

typedef struct NodeList
{
	Node **items;
	size_t count;
	size_t capacity;
} NodeList;

struct Node
{
	NodeKind kind;
	int line;
	Value value;
	const void *found; /* FILTER, TEST: what the name is, or NULL */
	Node *left;
	Node *right;
	Node *other;
	Node *condition;
	NodeList items;
	List *names; /* of items: ABSENT for positional arguments, false for a list
	              * of them, true for a dict; or operators of a comparison */
	NodeList body;
};

/* The parser's place among the tokens. */
typedef struct Parser
{
	Run *run;
	const Token *token; /* the next one */
	int loops;          /* around the statement */
} Parser;

/* ------------------------------------------------- for parser.c alone */

extern Node *node_new(Parser *parser, NodeKind kind);
extern void node_add(Parser *parser, NodeList *list, Node *node);

extern bool parser_accept(Parser *parser, TokenKind kind, const char *text);
extern void parser_expect(Parser *parser, TokenKind kind, const char *text);
extern Value parser_name(Parser *parser);
extern _Noreturn void parser_unexpected(Parser *parser);

/* Several expressions with commas are a tuple. */
extern Node *parse_tuple(Parser *parser, bool with_condition);
extern Node *parse_expression(Parser *parser);
/* What can be assigned to: names, a tuple of them, a part of a namespace. */
extern Node *parse_target(Parser *parser);
/* "| name(...) | name(...)" around left; the first "|" may be missing. */
extern Node *parse_filters(Parser *parser, Node *left, bool starts_inline);
/* "(name, name=default)" into names and items (NULL: no default). */
extern void parse_parameters(Parser *parser, Node *node);

/* -------------------------------------------------------------- all of it */

/* The statements of a template. */
extern Node *parse_template(Run *run, const char *text, size_t length);
