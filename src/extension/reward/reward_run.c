/*
 * reward_run.c
 *		Running rewards over rows.
 *
 * Rows come to an expression as a named tuplestore, never as text.  Where it
 * asks models it is run twice, so that they are asked in batches (batch.h);
 * where a row raises, the rows are done one by one, so that it can be named.
 */
#include "alol.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "engine/batch.h"
#include "reward/reward_internal.h"

static void
evaluate_error_callback(void *argument)
{
	errcontext("evaluating %s", (const char *) argument);
}

/* Runs a statement over the rows that are registered as REWARD_ROW; its rows
 * are in SPI_tuptable. */
static void
run_statement(const char *statement)
{
	int code = SPI_execute(statement, true, 0);

	if (code != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(code));
}

static void
run_component(const Component *component, int count, double *result,
              bool *isnull)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = evaluate_error_callback,
		.arg = component->label,
	};
	Oid type;

	error_context_stack = &callback;
	run_statement(component->statement);
	if (SPI_processed != (uint64) count)
		elog(ERROR, "reward gave " UINT64_FORMAT " values for %d rows",
		     SPI_processed, count);
	type = SPI_gettypeid(SPI_tuptable->tupdesc, 1);
	for (int i = 0; i < count; i++)
	{
		Datum value = SPI_getbinval(SPI_tuptable->vals[i],
		                            SPI_tuptable->tupdesc, 1, &isnull[i]);

		result[i] =
			isnull[i] ? get_float8_nan() : number_from_datum(value, type);
	}
	SPI_freetuptable(SPI_tuptable);
	error_context_stack = callback.previous;
}

/* Runs a step in a subtransaction; its error in the current memory context,
 * or NULL. */
static ErrorData *
attempt(void (*step)(void *), void *argument)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(argument);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Before a component is run with answers from a batch, its calls are
 * collected and sent. */
typedef struct BatchStep
{
	const Component *component;
	Batch *batch;
} BatchStep;

static void
collect(void *argument)
{
	BatchStep *step = argument;

	run_statement(step->component->statement);
	SPI_freetuptable(SPI_tuptable);
}

static void
send(void *argument)
{
	BatchStep *step = argument;

	batch_send(step->batch);
}

/*
 * What fails here may be due to a stand-in (a logarithm of it, say), or to a
 * call that is not made in the end: it is forgotten, and raised again if it is
 * real.
 */
static void
try_step(void (*step)(void *), const Component *component, Batch *batch)
{
	BatchStep argument = {component, batch};
	ErrorData *error = attempt(step, &argument);

	if (error == NULL)
		return;
	/* A cancel or a shutdown is nobody's mistake. */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	FreeErrorData(error);
}

/* run_component() with the models' answers at hand. */
static void
run_component_batched(const Component *component, int count, double *result,
                      bool *isnull)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "alol batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	Batch *batch = batch_begin();

	PG_TRY();
	{
		try_step(collect, component, batch);
		try_step(send, component, batch);
		run_component(component, count, result, isnull);
	}
	PG_FINALLY();
	{
		batch_end(batch);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
}

/* A component over rows, as a step. */
typedef struct Pass
{
	Reward *reward;
	const Component *component;
	Tuplestorestate *rows;
	int count;
	double *result;
	bool *isnull;
	EphemeralNamedRelationData relation; /* what SPI knows of the rows */
} Pass;

static void
run_pass(void *argument)
{
	Pass *pass = argument;

	pass->relation = (EphemeralNamedRelationData){
		.md =
			{
				.name = REWARD_ROW,
				.reliddesc = InvalidOid,
				.tupdesc = pass->reward->columns,
				.enrtype = ENR_NAMED_TUPLESTORE,
				.enrtuples = pass->count,
			},
		.reldata = pass->rows,
	};
	/* An attempt that failed has left its own. */
	(void) SPI_unregister_relation(REWARD_ROW);
	if (SPI_register_relation(&pass->relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register rows");
	/* A subtransaction cannot be had beside parallel workers. */
	if (pass->component->is_batched && pass->count > 1 && !IsInParallelMode())
		run_component_batched(pass->component, pass->count, pass->result,
		                      pass->isnull);
	else
		run_component(pass->component, pass->count, pass->result, pass->isnull);
	(void) SPI_unregister_relation(REWARD_ROW);
}

/* Whether a row may be to blame, not the machine or whoever cancels. */
static bool
is_of_a_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return false;
		default:
			return true;
	}
}

/* Adds to an error's detail which row it is of. */
static void
name_row(ErrorData *error, const Pass *pass, TupleTableSlot *slot,
         const RewardRows *names, int i)
{
	bool is_copy;
	HeapTuple tuple = ExecFetchSlotHeapTuple(slot, false, &is_copy);
	char *key = source_text(tuple, pass->reward->columns, pass->reward->key);
	char *row =
		psprintf("The %s of %s " INT64_FORMAT "%s raised it.",
	             pass->component->label, names->kind, names->number[i] + 1,
	             key == NULL ? "" : psprintf(" (key \"%s\")", key));

	error->detail =
		error->detail == NULL ? row : psprintf("%s\n%s", error->detail, row);
}

/* Runs the rows of a pass one by one; raises the error of the first that has
 * one, with its name. */
static void
run_alone(const Pass *pass, const RewardRows *names)
{
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(pass->reward->columns, &TTSOpsMinimalTuple);

	tuplestore_select_read_pointer(pass->rows, 0);
	tuplestore_rescan(pass->rows);
	for (int i = 0; i < pass->count; i++)
	{
		Pass alone = *pass;
		ErrorData *error;

		if (!tuplestore_gettupleslot(pass->rows, true, true, slot))
			elog(ERROR, "row %d of %d is missing", i + 1, pass->count);
		alone.rows = tuplestore_begin_heap(true, false, work_mem);
		tuplestore_puttupleslot(alone.rows, slot);
		alone.count = 1;
		alone.result = &pass->result[i];
		alone.isnull = &pass->isnull[i];
		error = attempt(run_pass, &alone);
		if (error != NULL)
		{
			if (is_of_a_row(error))
				name_row(error, pass, slot, names, i);
			ReThrowError(error);
		}
		tuplestore_end(alone.rows);
		tuplestore_select_read_pointer(pass->rows, 0);
	}
	ExecDropSingleTupleTableSlot(slot);
}

static void
evaluate_component(Pass *pass, const RewardRows *names)
{
	ErrorData *error;

	if (IsInParallelMode())
	{
		run_pass(pass);
		return;
	}
	error = attempt(run_pass, pass);
	if (error == NULL)
		return;
	if (!is_of_a_row(error))
		ReThrowError(error);
	FreeErrorData(error);
	run_alone(pass, names);
}

void
reward_evaluate(Reward *reward, Tuplestorestate *rows, int count,
                const RewardRows *names, double *result, bool *isnull,
                double *components)
{
	double *values = palloc(sizeof(double) * Max(count, 1));
	bool *nulls = palloc(sizeof(bool) * Max(count, 1));
	bool was_read_only = XactReadOnly;
	MemoryContext saved = CurrentMemoryContext;

	memset(result, 0, sizeof(double) * count);
	memset(isnull, 0, sizeof(bool) * count);
	/* An error ends the (sub)transaction, which sets it back as well. */
	XactReadOnly = true;
	for (int c = 0; c < reward->count; c++)
	{
		Pass pass = {
			.reward = reward,
			.component = &reward->components[c],
			.rows = rows,
			.count = count,
			.result = values,
			.isnull = nulls,
		};

		evaluate_component(&pass, names);
		for (int i = 0; i < count; i++)
		{
			result[i] += values[i];
			isnull[i] = isnull[i] || nulls[i];
			if (components != NULL && reward->is_named)
				components[(size_t) i * reward->count + c] = values[i];
		}
	}
	XactReadOnly = was_read_only;
	/* SPI has left us in its own. */
	MemoryContextSwitchTo(saved);
	pfree(values);
	pfree(nulls);
}
