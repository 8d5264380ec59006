/*
 * job_call.c
 *		The SQL functions that start a job: arguments in, ranges checked.
 */
#include "alol.h"

#include <math.h>

#include "miscadmin.h"

#include "job/job_submit.h"

#define BATCH_SIZE_MAX 65536
#define EPOCHS_MAX 1000000

void
job_call_check(const JobCall *call)
{
	if (!(call->epochs > 0) || call->epochs > EPOCHS_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("epochs must be greater than 0 and at most %d, "
		                       "not %g",
		                       EPOCHS_MAX, call->epochs)));
	if (call->steps < 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("steps must be at least 1, not %d", call->steps)));
	if (call->batch_size < 1 || call->batch_size > BATCH_SIZE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("batch_size must be from 1 to %d, not %d",
		                       BATCH_SIZE_MAX, call->batch_size)));
	if (!isnan(call->learning_rate) &&
	    (!(call->learning_rate > 0) || call->learning_rate > 1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("learning_rate must be greater than 0 and at "
		                       "most 1, not %g",
		                       call->learning_rate)));
}

/* ---------------------------------------------------- reading arguments */

static char *
text_argument(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		return NULL;
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static char *
needed_text(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static Jsonb *
options_argument(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		return DatumGetJsonbP(
			DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	return PG_GETARG_JSONB_P(number);
}

static void
begin(FunctionCallInfo fcinfo, JobCall *call, const char *kind)
{
	memset(call, 0, sizeof(*call));
	call->kind = kind;
	call->source = needed_text(fcinfo, 0, "source");
	call->model = needed_text(fcinfo, 1, "model");
	call->epochs = 1;
	call->batch_size = 16;
	call->learning_rate = NAN;
	call->lora_rank = LORA_DEFAULT;
}

/* NULL or a number of at least 1. */
static int
steps_argument(FunctionCallInfo fcinfo, int number)
{
	int steps;

	if (PG_ARGISNULL(number))
		return 0;
	steps = PG_GETARG_INT32(number);
	if (steps < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("steps must be at least 1, not %d", steps)));
	return steps;
}

static int
lora_rank_argument(FunctionCallInfo fcinfo, int number)
{
	int rank;

	if (PG_ARGISNULL(number))
		return LORA_DEFAULT;
	rank = PG_GETARG_INT32(number);
	if (rank < 0 || rank > LORA_RANK_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("lora_rank must be from 0 to %d, not %d",
		                       LORA_RANK_MAX, rank)));
	return rank;
}

/* epochs, steps, batch_size, learning_rate, lora_rank, validation, seed and
 * options: in this order, from argument first on. */
static void
training_arguments(FunctionCallInfo fcinfo, int first, JobCall *call)
{
	if (!PG_ARGISNULL(first))
		call->epochs = PG_GETARG_FLOAT8(first);
	call->steps = steps_argument(fcinfo, first + 1);
	if (!PG_ARGISNULL(first + 2))
		call->batch_size = PG_GETARG_INT32(first + 2);
	if (!PG_ARGISNULL(first + 3))
	{
		call->learning_rate = PG_GETARG_FLOAT8(first + 3);
		if (isnan(call->learning_rate))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("learning_rate must be a number")));
	}
	call->lora_rank = lora_rank_argument(fcinfo, first + 4);
	call->validation = text_argument(fcinfo, first + 5);
	call->seed = PG_ARGISNULL(first + 6) ? 0 : PG_GETARG_INT64(first + 6);
	call->options = options_argument(fcinfo, first + 7);
}

/* ---------------------------------------------------- the SQL functions */

ALOL_FUNCTION(alol_train);
Datum
alol_train(PG_FUNCTION_ARGS)
{
	JobCall call;

	PreventCommandIfReadOnly("alol_train()");
	begin(fcinfo, &call, "train");
	call.output = needed_text(fcinfo, 2, "output");
	call.method = needed_text(fcinfo, 3, "method");
	call.reward = text_argument(fcinfo, 4);
	call.value = text_argument(fcinfo, 5);
	training_arguments(fcinfo, 6, &call);
	PG_RETURN_INT64(job_submit(&call));
}

ALOL_FUNCTION(alol_sft);
Datum
alol_sft(PG_FUNCTION_ARGS)
{
	JobCall call;

	PreventCommandIfReadOnly("alol_sft()");
	begin(fcinfo, &call, "train");
	call.output = needed_text(fcinfo, 2, "output");
	call.method = pstrdup("nll");
	call.reward = text_argument(fcinfo, 3);
	training_arguments(fcinfo, 4, &call);
	PG_RETURN_INT64(job_submit(&call));
}

ALOL_FUNCTION(alol_train_value);
Datum
alol_train_value(PG_FUNCTION_ARGS)
{
	JobCall call;

	PreventCommandIfReadOnly("alol_train_value()");
	begin(fcinfo, &call, "value");
	call.output = needed_text(fcinfo, 2, "output");
	call.reward = text_argument(fcinfo, 3);
	call.seed = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);
	call.options = options_argument(fcinfo, 5);
	PG_RETURN_INT64(job_submit(&call));
}

ALOL_FUNCTION(alol_train_reward);
Datum
alol_train_reward(PG_FUNCTION_ARGS)
{
	JobCall call;

	PreventCommandIfReadOnly("alol_train_reward()");
	begin(fcinfo, &call, "reward");
	call.output = needed_text(fcinfo, 2, "output");
	call.label = needed_text(fcinfo, 3, "label");
	call.method = needed_text(fcinfo, 4, "objective");
	training_arguments(fcinfo, 5, &call);
	PG_RETURN_INT64(job_submit(&call));
}

ALOL_FUNCTION(alol_evaluate);
Datum
alol_evaluate(PG_FUNCTION_ARGS)
{
	JobCall call;

	PreventCommandIfReadOnly("alol_evaluate()");
	begin(fcinfo, &call, "evaluate");
	call.reward = text_argument(fcinfo, 2);
	call.seed = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	call.options = options_argument(fcinfo, 4);
	PG_RETURN_INT64(job_submit(&call));
}
