/*
 * evaluate.h
 *		From the tree of a template to its text.
 */
#pragma once

#include "text/jinja/call.h"
#include "text/jinja/tree.h"

/* Names and what they stand for; a name not found is looked up in outer. */
typedef struct Scope
{
	struct Scope *outer;
	Dict names;
} Scope;

/* A macro, and where its free names are looked up. */
struct Macro
{
	const Node *node; /* MACRO, CALL_BLOCK: names, items, body */
	Scope *scope;
};

extern Scope *scope_new(Run *run, Scope *outer);
extern void scope_set(Run *run, Scope *scope, Value name, Value value);

extern Value evaluate(Run *run, Scope *scope, const Node *node);
/* The call of a macro; statements are statement.c's. */
extern Value macro_call(Run *run, const Macro *macro,
                        const Arguments *arguments);
/* A recursive loop over other items: what it writes. */
extern Value loop_call(Run *run, const Loop *loop, const Arguments *arguments);
/* Calls node (a NODE_CALL), with `caller` as a further argument if given. */
extern Value evaluate_call(Run *run, Scope *scope, const Node *node,
                           Value caller);
/* Filters around NODE_TAKEN, which is worth `taken`. */
extern Value evaluate_filters(Run *run, Scope *scope, const Node *node,
                              Value taken);

/* Writes what the statements give. */
extern void render(Run *run, Scope *scope, const Node *root);
