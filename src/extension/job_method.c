/*
 * job_method.c
 *		What the engine says of a method at its handshake.
 */
#include "alol.h"

#include "job_method.h"
#include "json.h"
#include "nearest.h"

#define METHODS_MAX 64

const Method method_evaluate = {.rows = METHOD_ALL, .only_prompts = true};

/* Methods of later releases: better named than unknown. */
static const char *const coming[] = {"ppo"};

static void
describe(Jsonb *entry, Method *method)
{
	static const char *const names[] = {
		[METHOD_POSITIVE_REWARD] = "positive_reward",
		[METHOD_POSITIVE_ADVANTAGE] = "positive_advantage",
		[METHOD_PAIRS] = "pairs",
		[METHOD_LISTS] = "lists",
	};
	char *rows = json_text(entry, "rows");

	memset(method, 0, sizeof(*method));
	method->rows = METHOD_ALL;
	for (size_t i = 0; i < lengthof(names) && rows != NULL; i++)
		if (names[i] != NULL && strcmp(rows, names[i]) == 0)
			method->rows = (MethodRows) i;
	method->uses_value = json_bool(entry, "value", false);
}

static void
refuse(const char *name, const char *const *names, int count)
{
	const char *nearest = nearest_name(name, names, count);
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : ", ", names[i]);
	for (size_t i = 0; i < lengthof(coming); i++)
	{
		if (strcmp(coming[i], name) == 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			                errmsg("method \"%s\" is not available yet", name),
			                errhint("Methods are %s.", list.data)));
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("method \"%s\" does not exist", name),
	                nearest == NULL
	                    ? errhint("Methods are %s.", list.data)
	                    : errhint("Perhaps you mean \"%s\". Methods are %s.",
	                              nearest, list.data)));
}

void
method_get(Engine *engine, const char *name, Method *method)
{
	Jsonb *list = json_member(engine_capabilities(engine), "methods");
	const char *names[METHODS_MAX];
	int count = 0;

	for (uint32 i = 0; list != NULL && i < METHODS_MAX; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&list->root, i);
		Jsonb *entry;
		char *known;

		if (value == NULL)
			break;
		entry = JsonbValueToJsonb(value);
		known = json_text(entry, "name");
		if (known == NULL)
			continue;
		if (strcmp(known, name) == 0)
		{
			describe(entry, method);
			return;
		}
		names[count++] = known;
	}
	refuse(name, names, count);
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
