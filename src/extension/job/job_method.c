/*
 * job_method.c
 *		What the engine says of a method at its handshake.
 */
#include "alol.h"

#include "job/job_method.h"
#include "base/json.h"
#include "base/nearest.h"

#define METHODS_MAX 64

const Method method_evaluate = {.rows = METHOD_ALL, .only_prompts = true};

static void
describe(Jsonb *entry, Method *method)
{
	static const char *const names[] = {
		[METHOD_POSITIVE_REWARD] = "positive_reward",
		[METHOD_POSITIVE_ADVANTAGE] = "positive_advantage",
		[METHOD_PAIRS] = "pairs",
		[METHOD_LISTS] = "lists",
		[METHOD_PROMPTS] = "prompts",
	};
	char *rows = json_text(entry, "rows");

	memset(method, 0, sizeof(*method));
	method->rows = METHOD_ALL;
	for (size_t i = 0; i < lengthof(names) && rows != NULL; i++)
		if (names[i] != NULL && strcmp(rows, names[i]) == 0)
			method->rows = (MethodRows) i;
	method->uses_value = json_bool(entry, "value", false);
	method->uses_reference = json_bool(entry, "reference", false);
	method->only_prompts = method->rows == METHOD_PROMPTS;
}

/* What the engine lists under a key, and what that is called. */
typedef struct MethodList
{
	const char *key;
	const char *what;
	const char *plural;
	const char *more; /* a name that SQL adds, or NULL */
} MethodList;

static const MethodList methods = {"methods", "method", "Methods", NULL};
static const MethodList objectives = {"objectives", "objective", "Objectives",
                                      "auto"};

static void
refuse(const MethodList *list, const char *name, const char *const *names,
       int count)
{
	const char *nearest = nearest_name(name, names, count);
	StringInfoData all;

	initStringInfo(&all);
	for (int i = 0; i < count; i++)
		appendStringInfo(&all, "%s%s", i == 0 ? "" : ", ", names[i]);
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("%s \"%s\" does not exist", list->what, name),
	         nearest == NULL ? errhint("%s are %s.", list->plural, all.data)
	                         : errhint("Perhaps you mean \"%s\". %s are %s.",
	                                   nearest, list->plural, all.data)));
}

static void
find_method(Engine *engine, const MethodList *list, const char *name,
            Method *method)
{
	Jsonb *known = json_member(engine_capabilities(engine), list->key);
	const char *names[METHODS_MAX + 1];
	int count = 0;

	if (list->more != NULL)
		names[count++] = list->more;
	for (uint32 i = 0; known != NULL && i < METHODS_MAX; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&known->root, i);
		Jsonb *entry;
		char *found;

		if (value == NULL)
			break;
		entry = JsonbValueToJsonb(value);
		found = json_text(entry, "name");
		if (found == NULL)
			continue;
		if (strcmp(found, name) == 0)
		{
			describe(entry, method);
			return;
		}
		names[count++] = found;
	}
	refuse(list, name, names, count);
}

void
method_get(Engine *engine, const char *name, Method *method)
{
	find_method(engine, &methods, name, method);
}

void
objective_get(Engine *engine, const char *name, Method *method)
{
	find_method(engine, &objectives, name, method);
}

bool
method_is_uniform(const Method *method)
{
	return method->rows != METHOD_POSITIVE_REWARD &&
	       method->rows != METHOD_POSITIVE_ADVANTAGE;
}

bool
method_ranks(const Method *method)
{
	return method->rows == METHOD_PAIRS || method->rows == METHOD_LISTS;
}

bool
method_rolls_out(const Method *method)
{
	return method->rows == METHOD_PROMPTS;
}
