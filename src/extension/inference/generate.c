/*
 * generate.c
 *		alol_generate() and alol_chat(): the response of a model to a prompt,
 *		or to a chat.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "inference/inference.h"
#include "base/json.h"
#include "inference/prompt.h"

/* Beams a prompt can have, as the engine has it. */
#define BEAMS_MAX 128

/* The parameters of both functions in SQL's order; alol_chat() has messages in
 * the place of the prompt. */
enum
{
	ARGUMENT_MODEL,
	ARGUMENT_PROMPT,
	ARGUMENT_MAX_TOKENS,
	ARGUMENT_TEMPERATURE,
	ARGUMENT_TOP_P,
	ARGUMENT_TOP_K,
	ARGUMENT_NUM_BEAMS,
	ARGUMENT_REPETITION_PENALTY,
	ARGUMENT_STOP,
	ARGUMENT_SEED
};

/* An int argument of at least minimum; NULL is fallback. */
static int
int_argument(FunctionCallInfo fcinfo, int number, const char *name, int minimum,
             int fallback)
{
	int value = PG_ARGISNULL(number) ? fallback : PG_GETARG_INT32(number);

	if (value < minimum)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s must be at least %d, not %d", name, minimum,
		                       value)));
	return value;
}

static double
float_argument(FunctionCallInfo fcinfo, int number, double fallback)
{
	return PG_ARGISNULL(number) ? fallback : PG_GETARG_FLOAT8(number);
}

/* Drawing and searching exclude each other. */
static void
check_num_beams(int num_beams, double temperature)
{
	if (num_beams > BEAMS_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("num_beams must be at most %d, not %d",
		                       BEAMS_MAX, num_beams)));
	if (num_beams > 1 && temperature > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("num_beams %d does not go with temperature %g",
		                       num_beams, temperature),
		                errhint("A beam search draws nothing: leave "
		                        "temperature at 0, or num_beams at 1.")));
}

static void
add_numbers(StringInfo head, FunctionCallInfo fcinfo)
{
	double temperature = float_argument(fcinfo, ARGUMENT_TEMPERATURE, 0);
	double top_p = float_argument(fcinfo, ARGUMENT_TOP_P, 1);
	double penalty = float_argument(fcinfo, ARGUMENT_REPETITION_PENALTY, 1);
	int num_beams = int_argument(fcinfo, ARGUMENT_NUM_BEAMS, "num_beams", 1, 1);

	if (!isfinite(temperature) || temperature < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("temperature must be a finite number of at "
		                       "least 0, not %g",
		                       temperature)));
	if (!(top_p > 0 && top_p <= 1))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("top_p must be above 0 and at most 1, not %g", top_p)));
	if (!isfinite(penalty) || penalty <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("repetition_penalty must be a finite number "
		                       "above 0, not %g",
		                       penalty)));
	check_num_beams(num_beams, temperature);
	json_add_int(
		head, "max_tokens",
		int_argument(fcinfo, ARGUMENT_MAX_TOKENS, "max_tokens", 1, 128));
	json_add_float(head, "temperature", temperature);
	json_add_float(head, "top_p", top_p);
	json_add_int(head, "top_k",
	             int_argument(fcinfo, ARGUMENT_TOP_K, "top_k", 0, 0));
	json_add_int(head, "num_beams", num_beams);
	json_add_float(head, "repetition_penalty", penalty);
}

/* "stop": the texts of an array, without nulls. */
static void
add_stop(StringInfo head, ArrayType *stop)
{
	StringInfoData json;
	Datum *texts;
	bool *nulls;
	int count;

	deconstruct_array(stop, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls,
	                  &count);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < count; i++)
	{
		char *stop_text;

		if (nulls[i])
			continue;
		stop_text = TextDatumGetCString(texts[i]);
		if (stop_text[0] == '\0')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("a stop text is empty")));
		if (json.len > 1)
			appendStringInfoString(&json, ", ");
		json_append_text(&json, stop_text);
	}
	appendStringInfoChar(&json, ']');
	json_add_json(head, "stop", json.data);
}

/* A seed of 53 bits, which every JSON reader takes, where none is given. */
static int64
seed_argument(FunctionCallInfo fcinfo)
{
	uint64 random;

	if (!PG_ARGISNULL(ARGUMENT_SEED))
		return PG_GETARG_INT64(ARGUMENT_SEED);
	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
		                errmsg("could not make a random seed")));
	return (int64) (random >> 11);
}

/* The response to a prompt, which is in the frame's form. */
static Datum
generate(FunctionCallInfo fcinfo, const char *prompt, size_t prompt_length)
{
	StringInfo head = makeStringInfo();
	WireBuffer payload;
	EngineFrame reply;
	const char *response;
	size_t length;
	Model *model;

	appendStringInfoChar(head, '{');
	add_numbers(head, fcinfo);
	if (!PG_ARGISNULL(ARGUMENT_STOP))
		add_stop(head, PG_GETARG_ARRAYTYPE_P(ARGUMENT_STOP));
	json_add_int(head, "seed", seed_argument(fcinfo));
	model = inference_model(fcinfo, ARGUMENT_MODEL, 'l', "model");
	json_add_json(head, "model", model_ref(model));
	payload = inference_payload(head);
	wire_put_u32(&payload, 1);
	wire_put_text(&payload, prompt, prompt_length);
	engine_ask(engine_session(), WIRE_GENERATE, payload, &reply);
	(void) wire_get_count(&reply.items, 4 + 4 + 1);
	response = wire_get_text(&reply.items, &length);
	inference_check(&reply);
	PG_RETURN_TEXT_P(text_from_utf8(response, length));
}

ALOL_FUNCTION(alol_generate);
Datum
alol_generate(PG_FUNCTION_ARGS)
{
	char *prompt;
	size_t length;

	if (PG_ARGISNULL(ARGUMENT_MODEL) || PG_ARGISNULL(ARGUMENT_PROMPT))
		PG_RETURN_NULL();
	prompt = prompt_to_utf8(text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_PROMPT)),
	                        false, &length);
	return generate(fcinfo, prompt, length);
}

ALOL_FUNCTION(alol_chat);
Datum
alol_chat(PG_FUNCTION_ARGS)
{
	Jsonb *messages;
	char *prompt;
	size_t length;

	if (PG_ARGISNULL(ARGUMENT_MODEL) || PG_ARGISNULL(ARGUMENT_PROMPT))
		PG_RETURN_NULL();
	messages = PG_GETARG_JSONB_P(ARGUMENT_PROMPT);
	prompt_check_messages(messages);
	prompt =
		prompt_to_utf8(JsonbToCString(NULL, &messages->root, VARSIZE(messages)),
	                   true, &length);
	return generate(fcinfo, prompt, length);
}
