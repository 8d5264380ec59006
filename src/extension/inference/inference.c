/*
 * inference.c
 *		The functions that ask a language model about one text: likelihood,
 *		value, tokens.
 *
 * Arguments are checked before an engine is started.  A NULL argument gives
 * NULL without one.
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "engine/batch.h"
#include "engine/engine.h"
#include "inference/inference.h"
#include "base/json.h"
#include "base/srf.h"

Model *
inference_model(FunctionCallInfo fcinfo, int argument, char kind,
                const char *role)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	Model *model = model_get(name, GetUserId());

	model_check_kind(model, kind, role);
	return model;
}

StringInfo
inference_head(const Model *model)
{
	StringInfo json = makeStringInfo();

	appendStringInfoChar(json, '{');
	json_add_json(json, "model", model_ref(model));
	return json;
}

WireBuffer
inference_payload(StringInfo head)
{
	appendStringInfoChar(head, '}');
	return engine_payload(head->data);
}

void
inference_put_text(WireBuffer *payload, const text *value)
{
	size_t length;
	char *utf8 =
		text_to_utf8(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &length);

	wire_put_text(payload, utf8, length);
}

void
inference_check(const EngineFrame *reply)
{
	if (reply->items.broken)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the answer of the engine is too short")));
}

/* The model's answer to a request of one item, whose reader must still be
 * checked. */
static EngineFrame
ask(WireType type, WireBuffer payload)
{
	EngineFrame reply;

	engine_ask(engine_session(), type, payload, &reply);
	return reply;
}

ALOL_FUNCTION(alol_logprob);
Datum
alol_logprob(PG_FUNCTION_ARGS)
{
	BatchAnswer answer = batch_ask(WIRE_LOGPROB, PG_GETARG_TEXT_PP(0),
	                               PG_GETARG_TEXT_PP(1), PG_GETARG_TEXT_PP(2));

	if (answer.isnull)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(answer.values[0]);
}

ALOL_FUNCTION(alol_value);
Datum
alol_value(PG_FUNCTION_ARGS)
{
	BatchAnswer answer =
		batch_ask(WIRE_VALUE, PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1), NULL);

	PG_RETURN_FLOAT8(answer.values[0]);
}

/* ------------------------------------------------------ a row a token */

static void
add_token(Tuplestorestate *rows, TupleDesc columns, int position,
          WireReader *items)
{
	Datum values[5];
	bool isnull[5] = {0};
	size_t length;
	const char *bytes;
	bytea *raw;

	values[0] = Int32GetDatum(position);
	values[1] = Int32GetDatum((int32) wire_get_u32(items));
	bytes = wire_get_text(items, &length);
	values[2] = PointerGetDatum(text_from_utf8(bytes, length));
	bytes = wire_get_text(items, &length);
	raw = palloc(VARHDRSZ + length);
	SET_VARSIZE(raw, VARHDRSZ + length);
	memcpy(VARDATA(raw), bytes, length);
	values[3] = PointerGetDatum(raw);
	values[4] = Float8GetDatum(wire_get_f64(items));
	tuplestore_putvalues(rows, columns, values, isnull);
}

ALOL_FUNCTION(alol_token_logprobs);
Datum
alol_token_logprobs(PG_FUNCTION_ARGS)
{
	TupleDesc columns;
	Tuplestorestate *rows = srf_open(fcinfo, &columns);
	Model *model;
	WireBuffer payload;
	EngineFrame reply;
	uint32 count;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	model = inference_model(fcinfo, 0, 'l', "model");
	payload = inference_payload(inference_head(model));
	inference_put_text(&payload, PG_GETARG_TEXT_PP(1));
	inference_put_text(&payload, PG_GETARG_TEXT_PP(2));
	reply = ask(WIRE_TOKEN_LOGPROBS, payload);
	count = wire_get_count(&reply.items, 4 + 4 + 4 + 8);
	for (uint32 i = 0; i < count && !reply.items.broken; i++)
		add_token(rows, columns, (int) i + 1, &reply.items);
	inference_check(&reply);
	return (Datum) 0;
}

/* ------------------------------------------------------------- tokens */

/* The model of the first argument, which may be of any kind with a tokenizer.
 */
static Model *
tokenizer_model(FunctionCallInfo fcinfo)
{
	Model *model =
		model_get(text_to_cstring(PG_GETARG_TEXT_PP(0)), GetUserId());

	if (model->kind == 'v')
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("model \"%s\" is %s, which has no tokenizer",
		                       model->name, model_kind_name(model->kind))));
	return model;
}

ALOL_FUNCTION(alol_tokenize);
Datum
alol_tokenize(PG_FUNCTION_ARGS)
{
	Model *model = tokenizer_model(fcinfo);
	StringInfo head = inference_head(model);
	WireBuffer payload;
	EngineFrame reply;
	uint32 count;
	Datum *ids;

	json_add_bool(head, "add_special", PG_GETARG_BOOL(2));
	payload = inference_payload(head);
	wire_put_u32(&payload, 1);
	inference_put_text(&payload, PG_GETARG_TEXT_PP(1));
	reply = ask(WIRE_TOKENIZE, payload);
	(void) wire_get_count(&reply.items, 4);
	count = wire_get_count(&reply.items, 4);
	ids = palloc(sizeof(Datum) * (count + 1));
	for (uint32 i = 0; i < count; i++)
		ids[i] = Int32GetDatum((int32) wire_get_u32(&reply.items));
	inference_check(&reply);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(ids, (int) count, INT4OID, 4, true, TYPALIGN_INT));
}

static void
put_ids(WireBuffer *payload, ArrayType *array)
{
	Datum *ids;
	bool *nulls;
	int count;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("token ids must be an array of one dimension, "
		                       "not %d",
		                       ARR_NDIM(array))));
	deconstruct_array(array, INT4OID, 4, true, TYPALIGN_INT, &ids, &nulls,
	                  &count);
	wire_put_u32(payload, (uint32) count);
	for (int i = 0; i < count; i++)
	{
		int32 id = DatumGetInt32(ids[i]);

		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			                errmsg("token id %d is null", i + 1)));
		if (id < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("token id must be at least 0, not %d", id)));
		wire_put_u32(payload, (uint32) id);
	}
}

ALOL_FUNCTION(alol_detokenize);
Datum
alol_detokenize(PG_FUNCTION_ARGS)
{
	Model *model = tokenizer_model(fcinfo);
	WireBuffer payload = inference_payload(inference_head(model));
	EngineFrame reply;
	const char *result;
	size_t length;

	wire_put_u32(&payload, 1);
	put_ids(&payload, PG_GETARG_ARRAYTYPE_P(1));
	reply = ask(WIRE_DETOKENIZE, payload);
	(void) wire_get_count(&reply.items, 4);
	result = wire_get_text(&reply.items, &length);
	inference_check(&reply);
	PG_RETURN_TEXT_P(text_from_utf8(result, length));
}
