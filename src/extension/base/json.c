/*
 * json.c
 *		Small helpers to write and read the JSON heads of frames.
 */
#include "alol.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "base/json.h"

static void
add_key(StringInfo json, const char *key)
{
	char last = json->len > 0 ? json->data[json->len - 1] : '\0';

	if (last != '{' && last != '[' && last != '\0')
		appendStringInfoString(json, ", ");
	escape_json(json, key);
	appendStringInfoString(json, ": ");
}

void
json_add_text(StringInfo json, const char *key, const char *value)
{
	add_key(json, key);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, value);
}

void
json_add_int(StringInfo json, const char *key, int64 value)
{
	add_key(json, key);
	appendStringInfo(json, INT64_FORMAT, value);
}

void
json_add_float(StringInfo json, const char *key, double value)
{
	add_key(json, key);
	if (isfinite(value))
		appendStringInfo(json, "%.17g", value);
	else
		appendStringInfoString(json, "null");
}

void
json_add_bool(StringInfo json, const char *key, bool value)
{
	add_key(json, key);
	appendStringInfoString(json, value ? "true" : "false");
}

void
json_add_json(StringInfo json, const char *key, const char *value)
{
	add_key(json, key);
	appendStringInfoString(json, value == NULL ? "null" : value);
}

void
json_append_text(StringInfo json, const char *value)
{
	escape_json(json, value);
}

Jsonb *
json_numbers(const char *const *names, const double *values, int count)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < count; i++)
		json_add_json(
			&json, names[i],
			isfinite(values[i]) ? double_to_shortest_decimal(values[i]) : NULL);
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* The member called key, or NULL. */
static JsonbValue *
find(Jsonb *object, const char *key)
{
	JsonbValue name;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	name.type = jbvString;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	return findJsonbValueFromContainer(&object->root, JB_FOBJECT, &name);
}

char *
json_text(Jsonb *object, const char *key)
{
	JsonbValue *value = find(object, key);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

double
json_float(Jsonb *object, const char *key, double fallback)
{
	JsonbValue *value = find(object, key);

	if (value == NULL || value->type != jbvNumeric)
		return fallback;
	return DatumGetFloat8(DirectFunctionCall1(
		numeric_float8, NumericGetDatum(value->val.numeric)));
}

int64
json_int(Jsonb *object, const char *key, int64 fallback)
{
	JsonbValue *value = find(object, key);

	if (value == NULL || value->type != jbvNumeric)
		return fallback;
	return DatumGetInt64(
		DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

bool
json_bool(Jsonb *object, const char *key, bool fallback)
{
	JsonbValue *value = find(object, key);

	if (value == NULL || value->type != jbvBool)
		return fallback;
	return value->val.boolean;
}

Jsonb *
json_member(Jsonb *object, const char *key)
{
	JsonbValue *value = find(object, key);

	if (value == NULL || value->type != jbvBinary)
		return NULL;
	return JsonbValueToJsonb(value);
}

void
json_visit_options(Jsonb *options, JsonOptionVisitor visit, void *argument)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("options must be a JSON object")));
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		visit(argument, pnstrdup(key.val.string.val, key.val.string.len),
		      &value);
	}
}

char *
json_option_text(JsonbValue *value, const char *key)
{
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"%s\" must be text", key)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}
