/*
 * value.h
 *		What the expressions of a template are worth, with Python's rules.
 *
 * Values are small and copied; what they point to lives as long as the run and
 * never changes, but for namespaces and lists that are still being built.
 */
#pragma once

#include "formats/json.h"
#include "text/jinja/run.h"

#include <stdint.h>

typedef enum ValueKind
{
	VALUE_ABSENT, /* an argument that was not given; never seen by templates */
	VALUE_UNDEFINED,
	VALUE_NONE,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_FLOAT,
	VALUE_STRING,
	VALUE_LIST,
	VALUE_TUPLE,
	VALUE_RANGE,
	VALUE_VIEW,     /* of a dict: keys, values or items */
	VALUE_ITERATOR, /* what map, select ... give: read once */
	VALUE_DICT,
	VALUE_NAMESPACE,
	VALUE_LOOP,
	VALUE_FUNCTION,
	VALUE_METHOD,
	VALUE_MACRO,
	VALUE_CYCLER,
	VALUE_JOINER
} ValueKind;

typedef struct String String;
typedef struct List List;
typedef struct Dict Dict;
typedef struct Loop Loop;
typedef struct Function Function;
typedef struct Bound Bound;
typedef struct Macro Macro;

typedef struct Value
{
	ValueKind kind;
	union
	{
		bool boolean;
		int64_t integer;
		double number;
		const char *why; /* UNDEFINED: what is missing, for the message */
		const String *string;
		List *list; /* LIST to ITERATOR, CYCLER, JOINER */
		Dict *dict; /* DICT, NAMESPACE */
		Loop *loop;
		const Function *function;
		const Bound *bound;
		const Macro *macro;
	};
} Value;

/* UTF-8. */
struct String
{
	const char *data;
	size_t length;
};

struct List
{
	Value *items;
	size_t count;
	size_t capacity;
	const char *label; /* RANGE, VIEW: how it prints, or begins to */
	size_t next;       /* ITERATOR: read so far; CYCLER, JOINER: place */
};

typedef struct DictEntry
{
	Value key;
	Value value;
} DictEntry;

/* In the order of insertion. */
struct Dict
{
	DictEntry *entries;
	size_t count;
	size_t capacity;
};

/* The variable "loop". */
struct Loop
{
	const List *items;
	size_t index;
	int depth;
	Value changed;     /* what changed() saw last, or ABSENT */
	const void *node;  /* the loop's, if it is recursive */
	void *outer_scope; /* around it */
};

#define NONE ((Value){.kind = VALUE_NONE})
#define ABSENT ((Value){.kind = VALUE_ABSENT})

static inline Value
value_bool(bool boolean)
{
	return (Value){.kind = VALUE_BOOL, .boolean = boolean};
}

static inline Value
value_int(int64_t integer)
{
	return (Value){.kind = VALUE_INT, .integer = integer};
}

static inline Value
value_float(double number)
{
	return (Value){.kind = VALUE_FLOAT, .number = number};
}

static inline bool
value_is_number(Value value)
{
	return value.kind == VALUE_BOOL || value.kind == VALUE_INT ||
	       value.kind == VALUE_FLOAT;
}

/* Of a bool or int; of any number. */
extern int64_t value_integer(Value value);
extern double value_number(Value value);
/* Any number without what is behind its point. */
extern int64_t value_truncate(Run *run, Value value);

/* The bytes are kept, not copied; with _copy, copied. */
extern Value value_string(Run *run, const char *data, size_t length);
extern Value value_copy(Run *run, const char *data, size_t length);
extern Value value_text(Run *run, const char *text); /* up to its zero */

extern Value value_undefined(Run *run, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

extern List *list_new(Run *run);
extern void list_add(Run *run, List *list, Value value);
extern Value value_list(ValueKind kind, List *list);

extern Dict *dict_new(Run *run);
/* NULL where it is not there. */
extern Value *dict_find(Run *run, const Dict *dict, Value key);
extern void dict_set(Run *run, Dict *dict, Value key, Value value);

extern Value value_of_json(Run *run, const json_t *json);

extern bool value_is_text(Value value, const char *text);
/* The beginning of a string, with a zero byte, for messages. */
extern const char *value_label(Run *run, Value value);
extern bool value_truth(Value value);
extern bool value_equal(Run *run, Value a, Value b);
/* Below, at or above 0; fails where Python would. */
extern int value_compare(Run *run, Value a, Value b, const char *operator);
/* Python's `item in container`. */
extern bool value_contains(Run *run, Value container, Value item);

/* Python's name of the type. */
extern const char *value_type_name(Value value);

/* Characters of a string, items of anything else that has a length. */
extern size_t value_length(Run *run, Value value);

/* What a loop over the value sees; fails if it cannot be iterated. */
extern const List *value_items(Run *run, Value value);
extern bool value_is_iterable(Value value);

/* Characters [first, last) of a string that has them. */
extern Value string_part(Run *run, Value string, size_t first, size_t last);
extern size_t string_characters(Run *run, const String *string);

/* ------------------------------------------------------------ print.c */

/* Python's str() and repr(). */
extern Value value_str(Run *run, Value value);
extern void value_write(Run *run, Value value);
extern void value_write_repr(Run *run, Value value);
/* What was written since, taken back out of the output. */
extern Value run_take(Run *run, size_t since);

typedef struct JsonStyle
{
	bool ascii;
	bool sorts;
	const String *indent; /* NULL: one line */
	const String *item_separator;
	const String *key_separator;
} JsonStyle;

/* Python's json.dumps(). */
extern Value value_to_json(Run *run, Value value, const JsonStyle *style);
