/*
 * prompt.c
 *		Prompts on their way to the engine: texts, or chats.
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "inference/prompt.h"
#include "source/source.h"

bool
prompt_type_is_chat(Oid type)
{
	Oid base = getBaseType(type);

	return base == JSONOID || base == JSONBOID;
}

bool
prompt_is_chat(TupleDesc columns, AttrNumber attribute)
{
	return attribute != 0 &&
	       prompt_type_is_chat(TupleDescAttr(columns, attribute - 1)->atttypid);
}

/* --------------------------------------------------------------- checking */

/* A value for a message, not too long. */
static char *
value_text(JsonbValue *value)
{
	Jsonb *json = JsonbValueToJsonb(value);
	char *text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	int length = (int) strlen(text);

	if (length > 60)
	{
		length = pg_mbcliplen(text, length, 57);
		return psprintf("%.*s...", length, text);
	}
	return text;
}

static JsonbValue *
find_member(JsonbContainer *object, const char *key)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue *value;

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	value = findJsonbValueFromContainer(object, JB_FOBJECT, &name);
	return value == NULL || value->type == jbvNull ? NULL : value;
}

/* The parts of a content: texts, and what only a template knows. */
static bool
is_list_of_objects(JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue part;

	if (value->type != jbvBinary ||
	    !JsonContainerIsArray(value->val.binary.data))
		return false;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &part, true)) != WJB_DONE)
		if (token == WJB_ELEM && (part.type != jbvBinary ||
		                          !JsonContainerIsObject(part.val.binary.data)))
			return false;
	return true;
}

static void
missing_member(int number, const char *key)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("message %d has no \"%s\"", number, key),
	                errhint("A message is {\"role\": \"user\", \"content\": "
	                        "\"...\"}.")));
}

static void
check_message(int number, JsonbValue *message)
{
	JsonbContainer *object;
	JsonbValue *role, *content;

	if (message->type != jbvBinary ||
	    !JsonContainerIsObject(message->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("message %d must be an object, not %s", number,
		                       value_text(message))));
	object = message->val.binary.data;
	role = find_member(object, "role");
	content = find_member(object, "content");
	if (role == NULL)
		missing_member(number, "role");
	if (role->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("role of message %d must be a string, not %s",
		                       number, value_text(role))));
	/* Who calls tools may say nothing. */
	if (content == NULL && find_member(object, "tool_calls") != NULL)
		return;
	if (content == NULL)
		missing_member(number, "content");
	if (content->type != jbvString && !is_list_of_objects(content))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("content of message %d must be a string, not %s",
		                       number, value_text(content))));
}

void
prompt_check_messages(Jsonb *messages)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue message;
	int number = 0;

	if (!JB_ROOT_IS_ARRAY(messages) || JB_ROOT_IS_SCALAR(messages))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("messages must be an array of objects, not %s",
		                JB_ROOT_IS_OBJECT(messages) ? "an object" : "a scalar"),
		         errhint("A chat is [{\"role\": \"user\", \"content\": "
		                 "\"...\"}].")));
	if (JB_ROOT_COUNT(messages) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("messages must not be empty")));
	iterator = JsonbIteratorInit(&messages->root);
	while ((token = JsonbIteratorNext(&iterator, &message, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			check_message(++number, &message);
}

/* -------------------------------------------------------------- prompts */

char *
prompt_text(HeapTuple row, TupleDesc columns, AttrNumber attribute)
{
	char *text = source_text(row, columns, attribute);
	Jsonb *messages;

	if (text == NULL || !prompt_is_chat(columns, attribute))
		return text;
	messages =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	prompt_check_messages(messages);
	pfree(messages);
	return text;
}

char *
prompt_to_utf8(const char *text, bool is_chat, size_t *length)
{
	char *utf8 = text_to_utf8(text, strlen(text), length);
	char *marked;

	if (!is_chat)
		return utf8;
	/* A zero byte, which no text has, and the messages behind it. */
	marked = palloc(*length + 1);
	marked[0] = '\0';
	memcpy(marked + 1, utf8, *length);
	(*length)++;
	return marked;
}

void
prompt_put(WireBuffer *payload, const char *text, bool is_chat)
{
	size_t length;
	char *utf8 = prompt_to_utf8(text, is_chat, &length);

	wire_put_text(payload, utf8, length);
}
