/*
 * devices.c
 *		alol_devices(): what an engine can compute on here.
 */
#include "alol.h"

#include "engine/engine.h"
#include "engine/engine_memory.h"
#include "base/json.h"
#include "base/srf.h"

static void
put_text(Jsonb *device, const char *key, Datum *value, bool *isnull)
{
	char *text = json_text(device, key);

	*isnull = text == NULL;
	if (text != NULL)
		*value = CStringGetTextDatum(text);
}

static void
put_bytes(Jsonb *device, const char *key, Datum *value, bool *isnull)
{
	int64 bytes = json_int(device, key, -1);

	*isnull = bytes < 0;
	*value = Int64GetDatum(bytes);
}

static void
add_device(Tuplestorestate *rows, TupleDesc columns, Jsonb *device,
           int64 memory_limit)
{
	Datum values[7] = {0};
	bool isnull[7] = {0};

	put_text(device, "device", &values[0], &isnull[0]);
	put_text(device, "name", &values[1], &isnull[1]);
	put_bytes(device, "memory_total", &values[2], &isnull[2]);
	put_bytes(device, "memory_free", &values[3], &isnull[3]);
	put_text(device, "compute_capability", &values[4], &isnull[4]);
	put_text(device, "isa", &values[5], &isnull[5]);
	values[6] = Int64GetDatum(memory_limit);
	isnull[6] = memory_limit == 0;
	tuplestore_putvalues(rows, columns, values, isnull);
}

ALOL_FUNCTION(alol_devices);
Datum
alol_devices(PG_FUNCTION_ARGS)
{
	TupleDesc columns;
	Tuplestorestate *rows = srf_open(fcinfo, &columns);
	int64 memory_limit = engine_memory_limit();
	Engine *engine;
	EngineFrame reply;
	Jsonb *devices;
	char *fault;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	/* A new one: the session's cannot ask a driver again from its sandbox. */
	engine = engine_start_to_look(CurrentMemoryContext);
	engine_ask(engine, WIRE_DEVICES, engine_payload("{}"), &reply);
	engine_stop(engine);
	fault = json_text(reply.head, "fault");
	if (fault != NULL)
		ereport(NOTICE, (errmsg("no GPU: %s", fault)));
	devices = json_member(reply.head, "devices");
	if (devices == NULL)
		PG_RETURN_NULL();
	iterator = JsonbIteratorInit(&devices->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && value.type == jbvBinary)
			add_device(rows, columns, JsonbValueToJsonb(&value), memory_limit);
	}
	return (Datum) 0;
}
