/*
 * lora_target.c
 *		Which linear maps an adapter changes.
 */
#include "model/lora/lora_target.h"

#include <pcre2.h>
#include <string.h>

/* More than any model has maps; what a stranger's file may ask for. */
#define ENTRIES_MAX 65536
#define EXPRESSION_MAX 65536

/* Steps of one match, and KiB: module names are short. */
#define MATCH_STEPS 1000000
#define MATCH_KIB 16384

struct TargetRule
{
	const char *what;
	bool takes_all;
	pcre2_code *expression; /* NULL: the list */
	int count;
	const char **entry; /* [count] */
	bool *is_used;      /* [count] */
};

struct TargetPatterns
{
	const char *what;
	int count;
	pcre2_code **expression; /* [count] */
	const json_t **value;    /* [count] */
};

static void
release(void *code)
{
	pcre2_code_free(code);
}

static bool
compile(Arena *arena, const char *expression, uint32_t flags, const char *what,
        pcre2_code **code, Failure *failure)
{
	size_t length = strlen(expression);
	PCRE2_SIZE offset;
	PCRE2_UCHAR words[120];
	int error;

	if (length > EXPRESSION_MAX)
		return fail(failure, FAILURE_BAD_FILE,
		            "%s has an expression of %zu bytes, at most %d are allowed",
		            what, length, EXPRESSION_MAX);
	*code = pcre2_compile((PCRE2_SPTR) expression, length,
	                      flags | PCRE2_ANCHORED, &error, &offset, NULL);
	if (*code == NULL)
	{
		pcre2_get_error_message(error, words, sizeof(words));
		return fail(failure, FAILURE_BAD_INPUT,
		            "%s \"%.200s\" is no valid expression: %s at place %zu",
		            what, expression, (const char *) words, (size_t) offset);
	}
	arena_on_destroy(arena, release, *code);
	return true;
}

static bool
fits(const pcre2_code *code, const char *what, const char *module, bool *result,
     Failure *failure)
{
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	int found = PCRE2_ERROR_NOMEMORY;

	if (limits != NULL && data != NULL)
	{
		pcre2_set_match_limit(limits, MATCH_STEPS);
		pcre2_set_heap_limit(limits, MATCH_KIB);
		found = pcre2_match(code, (PCRE2_SPTR) module, strlen(module), 0, 0,
		                    data, limits);
	}
	pcre2_match_data_free(data);
	pcre2_match_context_free(limits);
	*result = found >= 0;
	return found >= 0 || found == PCRE2_ERROR_NOMATCH ||
	       fail(failure, FAILURE_BAD_INPUT,
	            "%s takes too long to compare with \"%s\"", what, module);
}

static bool
open_list(Arena *arena, const json_t *targets, TargetRule *rule,
          Failure *failure)
{
	size_t count = json_array_size(targets);

	if (count == 0 || count > ENTRIES_MAX)
		return fail(failure, FAILURE_BAD_INPUT,
		            "%s has %zu entries, 1 to %d are allowed", rule->what,
		            count, ENTRIES_MAX);
	rule->count = (int) count;
	rule->entry = arena_alloc(arena, count * sizeof(char *));
	rule->is_used = arena_alloc(arena, count * sizeof(bool));
	for (size_t i = 0; i < count; i++)
	{
		json_t *entry = json_array_get(targets, i);

		rule->entry[i] = json_string_value(entry);
		if (rule->entry[i] == NULL || rule->entry[i][0] == '\0')
			return fail(failure, FAILURE_BAD_INPUT,
			            "entry %zu of %s is no name but %s", i + 1, rule->what,
			            json_is_string(entry) ? "empty"
			                                  : json_type_name(entry));
	}
	return true;
}

bool
target_rule_open(Arena *arena, const json_t *targets, const char *what,
                 TargetRule **result, Failure *failure)
{
	TargetRule *rule = arena_alloc(arena, sizeof(TargetRule));

	*result = rule;
	rule->what = what;
	if (json_is_array(targets))
		return open_list(arena, targets, rule, failure);
	if (!json_is_string(targets))
		return fail(failure, FAILURE_BAD_INPUT,
		            "%s must be a list of names or a text, not %s", what,
		            json_type_name(targets));
	rule->takes_all = strcmp(json_string_value(targets), "all-linear") == 0;
	return rule->takes_all ||
	       compile(arena, json_string_value(targets), PCRE2_ENDANCHORED, what,
	               &rule->expression, failure);
}

/* "up_proj" and "mlp.up_proj" name "model.layers.0.mlp.up_proj". */
static bool
names(const char *entry, const char *module)
{
	size_t length = strlen(entry);
	size_t all = strlen(module);

	if (length >= all)
		return strcmp(entry, module) == 0;
	return module[all - length - 1] == '.' &&
	       strcmp(module + all - length, entry) == 0;
}

bool
target_rule_matches(TargetRule *rule, const char *module, bool *matches,
                    Failure *failure)
{
	*matches = rule->takes_all;
	if (rule->expression != NULL)
		return fits(rule->expression, rule->what, module, matches, failure);
	for (int i = 0; i < rule->count; i++)
		if (names(rule->entry[i], module))
			*matches = rule->is_used[i] = true;
	return true;
}

const char *
target_rule_unused(const TargetRule *rule)
{
	for (int i = 0; i < rule->count; i++)
		if (!rule->is_used[i])
			return rule->entry[i];
	return NULL;
}

bool
target_patterns_open(Arena *arena, const json_t *object, const char *what,
                     TargetPatterns **result, Failure *failure)
{
	TargetPatterns *patterns = arena_alloc(arena, sizeof(TargetPatterns));
	size_t count = json_object_size(object);
	const char *key;
	json_t *value;

	*result = patterns;
	patterns->what = what;
	if (count > ENTRIES_MAX)
		return fail(failure, FAILURE_BAD_FILE,
		            "%s has %zu entries, at most %d are allowed", what, count,
		            ENTRIES_MAX);
	patterns->expression =
		arena_alloc(arena, (count + 1) * sizeof(pcre2_code *));
	patterns->value = arena_alloc(arena, (count + 1) * sizeof(json_t *));
	json_object_foreach((json_t *) object, key, value)
	{
		if (!compile(arena, arena_printf(arena, "(.*\\.)?(%s)$", key), 0, what,
		             &patterns->expression[patterns->count], failure))
			return false;
		patterns->value[patterns->count++] = value;
	}
	return true;
}

bool
target_patterns_find(const TargetPatterns *patterns, const char *module,
                     const json_t **value, Failure *failure)
{
	*value = NULL;
	for (int i = 0; i < patterns->count; i++)
	{
		bool matches;

		if (!fits(patterns->expression[i], patterns->what, module, &matches,
		          failure))
			return false;
		if (matches)
		{
			*value = patterns->value[i];
			return true;
		}
	}
	return true;
}
