/*
 * model_engine.c
 *		Asking an engine about a model's directory.
 */
#include "alol.h"

#include "base/json.h"
#include "model/model.h"

Jsonb *
model_inspect(Engine *engine, const char *ref)
{
	StringInfoData json;
	EngineFrame reply;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", ref);
	appendStringInfoChar(&json, '}');
	engine_ask(engine, WIRE_MODEL_INSPECT, engine_payload(json.data), &reply);
	return reply.head;
}
