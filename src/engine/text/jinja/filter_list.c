/*
 * filter_list.c
 *		Filters of lists and dicts: choosing, ordering, mapping.
 */
#include "text/jinja/call.h"
#include "text/jinja/text.h"

#include <string.h>

/* --------------------------------------------------------- what they share */

/* Strings without regard to case, unless the case counts. */
static Value
fold(Run *run, Value value, bool case_counts)
{
	return value.kind == VALUE_STRING && !case_counts
	           ? text_to_case(run, value, TEXT_LOWER)
	           : value;
}

static bool
is_digits(const String *string)
{
	for (size_t i = 0; i < string->length; i++)
		if (string->data[i] < '0' || string->data[i] > '9')
			return false;
	return string->length > 0 && string->length < 10;
}

/* "a.b.0" of the item; the item itself where there is no attribute. */
static Value
attribute_of(Run *run, Value item, Value attribute, Value fallback)
{
	const List *parts;

	if (attribute.kind == VALUE_ABSENT || attribute.kind == VALUE_NONE)
		return item;
	if (attribute.kind != VALUE_STRING)
		return value_item(run, item, attribute);
	parts = text_split(run, attribute, value_text(run, "."), -1, false).list;
	for (size_t i = 0; i < parts->count; i++)
	{
		Value part = parts->items[i];
		int64_t number = 0;

		if (is_digits(part.string))
		{
			for (size_t d = 0; d < part.string->length; d++)
				number = 10 * number + (part.string->data[d] - '0');
			part = value_int(number);
		}
		item = value_item(run, item, part);
		if (item.kind == VALUE_UNDEFINED && fallback.kind != VALUE_ABSENT)
			item = fallback;
	}
	return item;
}

static Value
iterator(List *list)
{
	return value_list(VALUE_ITERATOR, list);
}

/* The arguments from the first on. */
static Arguments
rest(const Arguments *arguments, size_t first)
{
	if (first > arguments->count)
		first = arguments->count;
	return first == 0 ? *arguments
	                  : (Arguments){arguments->values + first,
	                                arguments->names + first,
	                                arguments->count - first};
}

/* An argument by place; fails where it is not there. */
static Value
argument_at(Run *run, const Arguments *arguments, size_t place,
            const char *what)
{
	if (place >= arguments->count ||
	    arguments->names[place].kind != VALUE_ABSENT)
		run_fail(run, FAILURE_BAD_INPUT, "%s is missing", what);
	return arguments->values[place];
}

static Value
call_named(Run *run, const Function *(*find)(Value name), const char *what,
           Value name, Value self, const Arguments *arguments)
{
	const Function *function = name.kind == VALUE_STRING ? find(name) : NULL;

	if (function == NULL)
		run_fail(run, FAILURE_UNSUPPORTED, "%s \"%s\" is not supported", what,
		         value_label(run, value_str(run, name)));
	return function_call(run, function, self, arguments);
}

/* ------------------------------------------------------- map and select */

static Value
apply_map(Run *run, Value self, const Arguments *arguments)
{
	Value attribute = arguments_named(arguments, "attribute");
	Value fallback = arguments_named(arguments, "default");
	List *list = list_new(run);
	const List *items;
	Arguments further;
	Value name = ABSENT;

	/* What is false need not be a list. */
	if (!value_truth(self))
		return iterator(list);
	if (attribute.kind == VALUE_ABSENT)
		name = argument_at(run, arguments, 0, "the filter of map");
	items = value_items(run, self);
	further = rest(arguments, 1);
	for (size_t i = 0; i < items->count; i++)
		list_add(run, list,
		         name.kind == VALUE_ABSENT
		             ? attribute_of(run, items->items[i], attribute, fallback)
		             : call_named(run, filter_find, "filter", name,
		                          items->items[i], &further));
	return iterator(list);
}

/* Those for which the test (or their truth) is `wanted`. */
static Value
choose(Run *run, Value self, const Arguments *arguments, bool by_attribute,
       bool wanted)
{
	size_t first = by_attribute ? 1 : 0;
	Value attribute = ABSENT;
	Arguments further = rest(arguments, first + 1);
	List *list = list_new(run);
	const List *items;

	if (!value_truth(self))
		return iterator(list);
	items = value_items(run, self);
	if (by_attribute)
		attribute = argument_at(run, arguments, 0, "the name of an attribute");
	for (size_t i = 0; i < items->count; i++)
	{
		Value tested = attribute_of(run, items->items[i], attribute, ABSENT);

		if (arguments->count > first)
			tested = call_named(run, test_find, "test",
			                    arguments->values[first], tested, &further);
		if (value_truth(tested) == wanted)
			list_add(run, list, items->items[i]);
	}
	return iterator(list);
}

static Value
apply_select(Run *run, Value self, const Arguments *arguments)
{
	return choose(run, self, arguments, false, true);
}

static Value
apply_reject(Run *run, Value self, const Arguments *arguments)
{
	return choose(run, self, arguments, false, false);
}

static Value
apply_selectattr(Run *run, Value self, const Arguments *arguments)
{
	return choose(run, self, arguments, true, true);
}

static Value
apply_rejectattr(Run *run, Value self, const Arguments *arguments)
{
	return choose(run, self, arguments, true, false);
}

/* -------------------------------------------------------------- ordering */

/* Merges the halves of keyed items, [from, middle) and [middle, to). */
static void
merge(Run *run, DictEntry *items, DictEntry *spare, size_t from, size_t middle,
      size_t to, bool falls)
{
	size_t left = from, right = middle;

	for (size_t i = from; i < to; i++)
	{
		bool takes_left = right == to;

		if (left < middle && right < to)
		{
			int order =
				value_compare(run, items[right].key, items[left].key, "<");

			takes_left = falls ? order <= 0 : order >= 0;
		}
		spare[i] = items[takes_left ? left++ : right++];
	}
	memcpy(items + from, spare + from, (to - from) * sizeof(DictEntry));
}

/* Stable: equals stay in their order, also when it falls. */
static void
sort(Run *run, DictEntry *items, size_t count, bool falls)
{
	DictEntry *spare = run_alloc(run, count, sizeof(DictEntry));

	for (size_t width = 1; width < count; width *= 2)
		for (size_t from = 0; from + width < count; from += 2 * width)
			merge(run, items, spare, from, from + width,
			      from + 2 * width < count ? from + 2 * width : count, falls);
}

/* What the item is ordered by: one attribute, or several with commas. */
static Value
sort_key(Run *run, Value item, Value attribute, bool case_counts)
{
	const List *parts;
	List *keys;

	if (attribute.kind != VALUE_STRING ||
	    memchr(attribute.string->data, ',', attribute.string->length) == NULL)
		return fold(run, attribute_of(run, item, attribute, ABSENT),
		            case_counts);
	parts = text_split(run, attribute, value_text(run, ","), -1, false).list;
	keys = list_new(run);
	for (size_t i = 0; i < parts->count; i++)
		list_add(run, keys,
		         fold(run, attribute_of(run, item, parts->items[i], ABSENT),
		              case_counts));
	return value_list(VALUE_LIST, keys);
}

static DictEntry *
with_keys(Run *run, const List *items, Value attribute, bool case_counts)
{
	DictEntry *keyed = run_alloc(run, items->count, sizeof(DictEntry));

	for (size_t i = 0; i < items->count; i++)
	{
		keyed[i].key = sort_key(run, items->items[i], attribute, case_counts);
		keyed[i].value = items->items[i];
	}
	return keyed;
}

static Value
values_of(Run *run, const DictEntry *entries, size_t count)
{
	List *list = list_new(run);

	for (size_t i = 0; i < count; i++)
		list_add(run, list, entries[i].value);
	return value_list(VALUE_LIST, list);
}

static Value
apply_sort(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	DictEntry *keyed = with_keys(run, items, given[2], value_truth(given[1]));

	sort(run, keyed, items->count, value_truth(given[0]));
	return values_of(run, keyed, items->count);
}

static Value
pair(Run *run, Value first, Value second)
{
	List *list = list_new(run);

	list_add(run, list, first);
	list_add(run, list, second);
	return value_list(VALUE_TUPLE, list);
}

static const Dict *
need_dict(Run *run, const char *what, Value value)
{
	if (value.kind != VALUE_DICT)
		run_fail(run, FAILURE_BAD_INPUT, "%s needs a mapping, not %s", what,
		         value_type_name(value));
	return value.dict;
}

static Value
apply_dictsort(Run *run, Value self, const Value *given)
{
	const Dict *dict = need_dict(run, "dictsort", self);
	DictEntry *keyed = run_alloc(run, dict->count, sizeof(DictEntry));
	bool by_value = value_is_text(given[1], "value");

	for (size_t i = 0; i < dict->count; i++)
	{
		const DictEntry *entry = &dict->entries[i];

		keyed[i].key = fold(run, by_value ? entry->value : entry->key,
		                    value_truth(given[0]));
		keyed[i].value = pair(run, entry->key, entry->value);
	}
	sort(run, keyed, dict->count, value_truth(given[2]));
	return values_of(run, keyed, dict->count);
}

static Value
apply_groupby(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	DictEntry *keyed = with_keys(run, items, given[0], value_truth(given[2]));
	List *groups = list_new(run);
	List *group = NULL;

	sort(run, keyed, items->count, false);
	for (size_t i = 0; i < items->count; i++)
	{
		if (i == 0 || !value_equal(run, keyed[i].key, keyed[i - 1].key))
		{
			group = list_new(run);
			list_add(run, groups,
			         pair(run,
			              attribute_of(run, keyed[i].value, given[0], given[1]),
			              value_list(VALUE_LIST, group)));
		}
		list_add(run, group, keyed[i].value);
	}
	return value_list(VALUE_LIST, groups);
}

static Value
apply_unique(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	List *list = list_new(run);
	List *seen = list_new(run);

	for (size_t i = 0; i < items->count; i++)
	{
		Value key =
			fold(run, attribute_of(run, items->items[i], given[1], ABSENT),
		         value_truth(given[0]));

		if (value_contains(run, value_list(VALUE_LIST, seen), key))
			continue;
		list_add(run, seen, key);
		list_add(run, list, items->items[i]);
	}
	return iterator(list);
}

/* The item with the smallest key, or the largest. */
static Value
extreme(Run *run, Value self, const Value *given, bool largest)
{
	const List *items = value_items(run, self);
	DictEntry *keyed = with_keys(run, items, given[1], value_truth(given[0]));
	size_t best = 0;

	if (items->count == 0)
		return value_undefined(run, "No aggregated item, sequence was empty.");
	for (size_t i = 1; i < items->count; i++)
	{
		int order = value_compare(run, keyed[i].key, keyed[best].key, "<");

		if (largest ? order > 0 : order < 0)
			best = i;
	}
	return keyed[best].value;
}

static Value
apply_min(Run *run, Value self, const Value *given)
{
	return extreme(run, self, given, false);
}

static Value
apply_max(Run *run, Value self, const Value *given)
{
	return extreme(run, self, given, true);
}

/* ------------------------------------------------------- whole sequences */

static Value
apply_length(Run *run, Value self, const Value *given)
{
	(void) given;
	return value_int((int64_t) value_length(run, self));
}

static Value
apply_first(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);

	(void) given;
	return items->count > 0
	           ? items->items[0]
	           : value_undefined(run, "No first item, sequence was empty.");
}

static Value
apply_last(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);

	(void) given;
	return items->count > 0
	           ? items->items[items->count - 1]
	           : value_undefined(run, "No last item, sequence was empty.");
}

static Value
apply_list(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	List *list = list_new(run);

	(void) given;
	for (size_t i = 0; i < items->count; i++)
		list_add(run, list, items->items[i]);
	return value_list(VALUE_LIST, list);
}

static Value
apply_reverse(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	List *list = list_new(run);

	(void) given;
	for (size_t i = items->count; i > 0; i--)
		list_add(run, list, items->items[i - 1]);
	return self.kind == VALUE_STRING ? text_join(run, &(String){"", 0}, list)
	                                 : iterator(list);
}

static Value
apply_join(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	List *list = list_new(run);

	for (size_t i = 0; i < items->count; i++)
		list_add(run, list,
		         attribute_of(run, items->items[i], given[1], ABSENT));
	return text_join(run,
	                 given[0].kind == VALUE_ABSENT
	                     ? &(String){"", 0}
	                     : value_str(run, given[0]).string,
	                 list);
}

static Value
apply_sum(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	Value sum = given[1].kind == VALUE_ABSENT ? value_int(0) : given[1];

	for (size_t i = 0; i < items->count; i++)
		sum =
			value_operate(run, "+", sum,
		                  attribute_of(run, items->items[i], given[0], ABSENT));
	return sum;
}

static Value
apply_items(Run *run, Value self, const Value *given)
{
	List *list = list_new(run);
	const Dict *dict;

	(void) given;
	if (self.kind == VALUE_UNDEFINED)
		return iterator(list);
	dict = need_dict(run, "items", self);
	for (size_t i = 0; i < dict->count; i++)
		list_add(run, list,
		         pair(run, dict->entries[i].key, dict->entries[i].value));
	return iterator(list);
}

static Value
apply_batch(Run *run, Value self, const Value *given)
{
	const List *items = value_items(run, self);
	int64_t size = value_truncate(run, given[0]);
	List *list = list_new(run);
	List *line = NULL;

	if (size < 1)
		run_fail(run, FAILURE_BAD_INPUT, "batch needs lines of 1 or more");
	for (size_t i = 0; i < items->count; i++)
	{
		if (line == NULL || (int64_t) line->count == size)
		{
			line = list_new(run);
			list_add(run, list, value_list(VALUE_LIST, line));
		}
		list_add(run, line, items->items[i]);
	}
	if (line != NULL && given[1].kind != VALUE_ABSENT)
		while ((int64_t) line->count < size)
			list_add(run, line, given[1]);
	return iterator(list);
}

const Function list_filters[] = {
	{.name = "map", .apply_any = apply_map},
	{.name = "select", .apply_any = apply_select},
	{.name = "reject", .apply_any = apply_reject},
	{.name = "selectattr", .apply_any = apply_selectattr},
	{.name = "rejectattr", .apply_any = apply_rejectattr},
	{.name = "sort",
     .apply = apply_sort,
     .parameters = {"reverse", "case_sensitive", "attribute"}},
	{.name = "dictsort",
     .apply = apply_dictsort,
     .parameters = {"case_sensitive", "by", "reverse"}},
	{.name = "groupby",
     .apply = apply_groupby,
     .parameters = {"attribute", "default", "case_sensitive"},
     .required = 1},
	{.name = "unique",
     .apply = apply_unique,
     .parameters = {"case_sensitive", "attribute"}},
	{.name = "min",
     .apply = apply_min,
     .parameters = {"case_sensitive", "attribute"}},
	{.name = "max",
     .apply = apply_max,
     .parameters = {"case_sensitive", "attribute"}},
	{.name = "length", .apply = apply_length},
	{.name = "count", .apply = apply_length},
	{.name = "first", .apply = apply_first},
	{.name = "last", .apply = apply_last},
	{.name = "list", .apply = apply_list},
	{.name = "reverse", .apply = apply_reverse},
	{.name = "join", .apply = apply_join, .parameters = {"d", "attribute"}},
	{.name = "sum", .apply = apply_sum, .parameters = {"attribute", "start"}},
	{.name = "items", .apply = apply_items},
	{.name = "batch",
     .apply = apply_batch,
     .parameters = {"linecount", "fill_with"},
     .required = 1},
	{.name = NULL},
};
