/*
 * classify.c
 *		The functions that ask a classifier: alol_reward() and alol_logits().
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "engine/batch.h"

/* The raw outputs for (model, prompt, response), the first three arguments;
 * false where model or response is NULL.  A NULL prompt is none. */
static bool
ask_classifier(FunctionCallInfo fcinfo, BatchAnswer *answer)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		return false;
	*answer = batch_ask(WIRE_LOGITS, PG_GETARG_TEXT_PP(0),
	                    PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1),
	                    PG_GETARG_TEXT_PP(2));
	return !answer->isnull && answer->count > 0;
}

static double
sigmoid(double x)
{
	return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* softmax(x)[label] */
static double
probability(const double *x, int count, int label)
{
	double sum = 0;

	for (int i = 0; i < count; i++)
		sum += exp(x[i] - x[label]);
	return 1 / sum;
}

ALOL_FUNCTION(alol_reward);
Datum
alol_reward(PG_FUNCTION_ARGS)
{
	BatchAnswer answer;
	int label;

	if (!ask_classifier(fcinfo, &answer))
		PG_RETURN_NULL();
	if (answer.is_stand_in)
		PG_RETURN_FLOAT8(answer.values[0]);
	label = PG_ARGISNULL(3) ? answer.count - 1 : PG_GETARG_INT32(3);
	if (label < 0 || label >= answer.count)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("label must be from 0 to %d, not %d",
		                       answer.count - 1, label),
		                errdetail("The labels of model \"%s\" number %d.",
		                          text_to_cstring(PG_GETARG_TEXT_PP(0)),
		                          answer.count)));
	if (answer.count == 1)
		PG_RETURN_FLOAT8(sigmoid(answer.values[0]));
	PG_RETURN_FLOAT8(probability(answer.values, answer.count, label));
}

ALOL_FUNCTION(alol_logits);
Datum
alol_logits(PG_FUNCTION_ARGS)
{
	BatchAnswer answer;
	Datum *values;

	if (!ask_classifier(fcinfo, &answer))
		PG_RETURN_NULL();
	values = palloc(sizeof(Datum) * answer.count);
	for (int i = 0; i < answer.count; i++)
		values[i] = Float8GetDatum(answer.values[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, answer.count, FLOAT8OID, 8,
	                                      FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
