/*
 * call.h
 *		Everything a template can call by name: filters, tests, methods and
 *		global functions, one table each.
 */
#pragma once

#include "text/jinja/value.h"

/* What a call gives: positional ones have the name ABSENT. */
typedef struct Arguments
{
	const Value *values;
	const Value *names;
	size_t count;
} Arguments;

#define PARAMETERS_MAX 5

struct Function
{
	const char *name;
	/* given[i] belongs to parameters[i], ABSENT where it was not given */
	Value (*apply)(Run *run, Value self, const Value *given);
	const char *parameters[PARAMETERS_MAX + 1];
	int required; /* of the parameters */
	/* in place of apply: takes what it is given as it is */
	Value (*apply_any)(Run *run, Value self, const Arguments *arguments);
};

/* A method and what it belongs to. */
struct Bound
{
	const Function *function;
	Value self;
};

extern Value function_call(Run *run, const Function *function, Value self,
                           const Arguments *arguments);

/* A named argument; ABSENT where it was not given. */
extern Value arguments_named(const Arguments *arguments, const char *name);

/* NULL for those not known. */
extern const Function *filter_find(Value name);
extern const Function *test_find(Value name);
extern const Function *method_find(ValueKind kind, Value name);
/* By number, for the table of variables; NULL past the last. */
extern const Function *global_function(int number);

/* The tables that filter_find() looks through. */
extern const Function text_filters[];
extern const Function list_filters[];
extern const Function string_methods[];

/* Python's value.name and value[key], as templates have them; undefined where
 * there is none. */
extern Value value_attribute(Run *run, Value value, Value name);
extern Value value_item(Run *run, Value value, Value key);
extern Value value_slice(Run *run, Value value, Value first, Value last,
                         Value step);

/* left operator right: + - * / // % ** ~ */
extern Value value_operate(Run *run, const char *operator, Value left,
                           Value right);
