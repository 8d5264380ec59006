/*
 * test.c
 *		The tests of templates: what stands behind "is".
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"

static Value
is_defined(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind != VALUE_UNDEFINED);
}

static Value
is_undefined(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_UNDEFINED);
}

static Value
is_none(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_NONE);
}

static Value
is_string(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_STRING);
}

static Value
is_mapping(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_DICT);
}

/* Whatever has a length and items. */
static Value
is_sequence(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_UNDEFINED ||
	                  self.kind == VALUE_STRING || self.kind == VALUE_LIST ||
	                  self.kind == VALUE_TUPLE || self.kind == VALUE_RANGE ||
	                  self.kind == VALUE_DICT);
}

static Value
is_iterable(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(value_is_iterable(self));
}

static Value
is_number(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(value_is_number(self));
}

static Value
is_integer(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_INT);
}

static Value
is_float(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_FLOAT);
}

static Value
is_boolean(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_BOOL);
}

static Value
is_true(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_BOOL && self.boolean);
}

static Value
is_false(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_BOOL && !self.boolean);
}

static Value
is_callable(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	/* An undefined value can be called, too: to say that it is undefined. */
	return value_bool(self.kind == VALUE_UNDEFINED ||
	                  self.kind == VALUE_FUNCTION ||
	                  self.kind == VALUE_METHOD || self.kind == VALUE_MACRO ||
	                  self.kind == VALUE_JOINER);
}

static Value
is_divisible(Run *run, Value self, const Value *given)
{
	Value left = value_operate(run, "%", self, given[0]);

	return value_bool(value_is_number(left) && value_number(left) == 0);
}

static Value
is_even(Run *run, Value self, const Value *given)
{
	const Value two = value_int(2);

	(void) given;
	return is_divisible(run, self, &two);
}

static Value
is_odd(Run *run, Value self, const Value *given)
{
	Value left = value_operate(run, "%", self, value_int(2));

	(void) given;
	return value_bool(value_is_number(left) && value_number(left) == 1);
}

static Value
is_equal(Run *run, Value self, const Value *given)
{
	return value_bool(value_equal(run, self, given[0]));
}

static Value
is_unequal(Run *run, Value self, const Value *given)
{
	return value_bool(!value_equal(run, self, given[0]));
}

static Value
is_less(Run *run, Value self, const Value *given)
{
	return value_bool(value_compare(run, self, given[0], "<") < 0);
}

static Value
is_at_most(Run *run, Value self, const Value *given)
{
	return value_bool(value_compare(run, self, given[0], "<=") <= 0);
}

static Value
is_greater(Run *run, Value self, const Value *given)
{
	return value_bool(value_compare(run, self, given[0], ">") > 0);
}

static Value
is_at_least(Run *run, Value self, const Value *given)
{
	return value_bool(value_compare(run, self, given[0], ">=") >= 0);
}

static Value
is_in(Run *run, Value self, const Value *given)
{
	return value_bool(value_contains(run, given[0], self));
}

/* One and the same object: of small values, the same kind and worth. */
static Value
is_same(Run *run, Value self, const Value *given)
{
	return value_bool(self.kind == given[0].kind &&
	                  (self.kind < VALUE_LIST ? value_equal(run, self, given[0])
	                                          : self.list == given[0].list));
}

/* str.islower() and isupper(): a letter with a case, and no other. */
static bool
is_all(Run *run, Value self, TextCase wanted)
{
	Value text = value_str(run, self);
	TextCase other = wanted == TEXT_UPPER ? TEXT_LOWER : TEXT_UPPER;

	return value_equal(run, text, text_to_case(run, text, wanted)) &&
	       !value_equal(run, text, text_to_case(run, text, other));
}

static Value
is_lower(Run *run, Value self, const Value *given)
{
	(void) given;
	return value_bool(is_all(run, self, TEXT_LOWER));
}

static Value
is_upper(Run *run, Value self, const Value *given)
{
	(void) given;
	return value_bool(is_all(run, self, TEXT_UPPER));
}

static Value
is_filter(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_STRING && filter_find(self) != NULL);
}

static Value
is_test(Run *run, Value self, const Value *given)
{
	(void) run;
	(void) given;
	return value_bool(self.kind == VALUE_STRING && test_find(self) != NULL);
}

#define TEST_OF_TWO(text, function)                                            \
	{                                                                          \
		.name = text, .apply = function, .parameters = {"other"},              \
		.required = 1                                                          \
	}

static const Function tests[] = {
	{.name = "defined", .apply = is_defined},
	{.name = "undefined", .apply = is_undefined},
	{.name = "none", .apply = is_none},
	{.name = "string", .apply = is_string},
	{.name = "mapping", .apply = is_mapping},
	{.name = "sequence", .apply = is_sequence},
	{.name = "iterable", .apply = is_iterable},
	{.name = "number", .apply = is_number},
	{.name = "integer", .apply = is_integer},
	{.name = "float", .apply = is_float},
	{.name = "boolean", .apply = is_boolean},
	{.name = "true", .apply = is_true},
	{.name = "false", .apply = is_false},
	{.name = "callable", .apply = is_callable},
	{.name = "even", .apply = is_even},
	{.name = "odd", .apply = is_odd},
	{.name = "lower", .apply = is_lower},
	{.name = "upper", .apply = is_upper},
	{.name = "filter", .apply = is_filter},
	{.name = "test", .apply = is_test},
	TEST_OF_TWO("divisibleby", is_divisible),
	TEST_OF_TWO("eq", is_equal),
	TEST_OF_TWO("equalto", is_equal),
	TEST_OF_TWO("==", is_equal),
	TEST_OF_TWO("ne", is_unequal),
	TEST_OF_TWO("!=", is_unequal),
	TEST_OF_TWO("lt", is_less),
	TEST_OF_TWO("lessthan", is_less),
	TEST_OF_TWO("<", is_less),
	TEST_OF_TWO("le", is_at_most),
	TEST_OF_TWO("<=", is_at_most),
	TEST_OF_TWO("gt", is_greater),
	TEST_OF_TWO("greaterthan", is_greater),
	TEST_OF_TWO(">", is_greater),
	TEST_OF_TWO("ge", is_at_least),
	TEST_OF_TWO(">=", is_at_least),
	TEST_OF_TWO("in", is_in),
	TEST_OF_TWO("sameas", is_same),
};

const Function *
test_find(Value name)
{
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (value_is_text(name, tests[i].name))
			return &tests[i];
	return NULL;
}
