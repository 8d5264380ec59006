/*
 * score.c
 *		alol_score(): rewards, values, advantages and log-probabilities of the
 *		rows of a source.
 *
 * Rows are taken through a cursor in chunks that grow, and handed on one by
 * one, so that a LIMIT costs no more than the rows it shows (and at most as
 * many again).  The user's SQL runs read-only.
 */
#include "alol.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "engine/engine.h"
#include "inference/inference.h"
#include "base/json.h"
#include "options.h"
#include "inference/prompt.h"
#include "reward/reward.h"
#include "source/source.h"
#include "source/source_read.h"

#define FIRST_CHUNK 16

/* A number that may be missing. */
typedef struct Figure
{
	double number;
	bool is_known;
} Figure;

/* One row of the source, and what was found out about it. */
typedef struct ScoredRow
{
	char *key;
	char *prompt;
	char *response;
	Figure reward;
	Figure value;
	Figure advantage;
	Figure logprob;
} ScoredRow;

/* One call, from its first row to its last. */
typedef struct Score
{
	Source *source;
	Reward *reward; /* NULL: not asked for */
	Model *policy;  /* NULL: not asked for */
	Model *value;   /* NULL: the source's column, if there is one */
	Jsonb *settings;
	char *portal; /* name of the cursor; it may be gone when we come back */
	int64 before; /* rows in earlier chunks */
	int chunk;    /* rows of the next chunk */
	int count;    /* rows of this one */
	int at;       /* of them, how many were handed on */
	ScoredRow *rows;
	MemoryContext context; /* of this chunk */
} Score;

/* ---------------------------------------------------------------- opening */

static Model *
named_model(FunctionCallInfo fcinfo, int argument, char kind, const char *role)
{
	return PG_ARGISNULL(argument)
	           ? NULL
	           : inference_model(fcinfo, argument, kind, role);
}

/* Checks all arguments; nothing of the source has been read yet. */
static Score *
open_score(FunctionCallInfo fcinfo)
{
	Score *score = palloc0(sizeof(Score));
	const OptionContext context = {false};
	Source *source;
	char *reward = NULL;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("source must not be null")));
	score->settings = options_check(
		"score", &context, PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4));
	source = source_open_session(text_to_cstring(PG_GETARG_TEXT_PP(0)),
	                             "source", score->settings);
	score->source = source;
	score->policy = named_model(fcinfo, 1, 'l', "policy");
	score->value = named_model(fcinfo, 3, 'v', "value");
	if (score->policy != NULL || score->value != NULL)
		source_require(source, score->policy != NULL);
	if (!PG_ARGISNULL(2))
		reward = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (reward != NULL || source->reward != 0)
		score->reward = reward_open(reward, source->columns, source);
	if (score->value == NULL && source->value != 0)
		source_require_number(source, source->value, "value");
	if (source->advantage != 0)
		source_require_number(source, source->advantage, "advantage");
	score->chunk =
		Min(FIRST_CHUNK, (int) json_int(score->settings, "batch_size", 1));
	score->context = AllocSetContextCreate(CurrentMemoryContext, "alol score",
	                                       ALLOCSET_DEFAULT_SIZES);
	return score;
}

/* Opens the cursor, which lives in the transaction. */
static void
open_cursor(Score *score)
{
	MemoryContext caller = CurrentMemoryContext;
	Portal portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = source_cursor_open(score->source->query);
	score->portal = MemoryContextStrdup(caller, portal->name);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* At the end of the query, also when a LIMIT ended it. */
static void
close_cursor(Datum argument)
{
	Score *score = (Score *) DatumGetPointer(argument);
	Portal portal =
		score->portal == NULL ? NULL : SPI_cursor_find(score->portal);

	if (portal != NULL)
		SPI_cursor_close(portal);
	score->portal = NULL;
}

/* ------------------------------------------------------------ the engine */

static Figure
known(double number)
{
	return (Figure){.number = number, .is_known = true};
}

/* A request for rows of this chunk: the model (and a value model), and where
 * texts are cut. */
static WireBuffer
begin_request(const Score *score, const Model *model, const Model *value,
              bool responses, uint32 count)
{
	static const char *const limits[] = {"max_prompt_tokens",
	                                     "max_response_tokens"};
	StringInfo head = inference_head(model);
	WireBuffer payload;

	if (value != NULL)
		json_add_json(head, "value", model_ref(value));
	for (int i = 0; i < (responses ? 2 : 1); i++)
	{
		int64 limit = json_int(score->settings, limits[i], 0);

		if (limit > 0)
			json_add_int(head, limits[i], limit);
	}
	payload = inference_payload(head);
	wire_put_u32(&payload, count);
	return payload;
}

static void
put_prompt(const Score *score, const ScoredRow *row, WireBuffer *payload)
{
	prompt_put(payload, row->prompt,
	           prompt_is_chat(score->source->columns, score->source->prompt));
}

/* The reply to a request of count items of this size. */
static void
ask(WireType type, WireBuffer payload, uint32 count, size_t item_size,
    EngineFrame *reply)
{
	engine_ask(engine_session(), type, payload, reply);
	if (wire_get_count(&reply->items, item_size) != count)
		reply->items.broken = true;
	inference_check(reply);
}

static bool
has_pair(const ScoredRow *row)
{
	return row->prompt != NULL && row->response != NULL;
}

/* Of the policy itself, so that one pass gives both. */
static bool
value_comes_along(const Score *score)
{
	return score->value != NULL && score->value->base == score->policy->id;
}

/* And values, where they come along. */
static void
fetch_logprobs(Score *score)
{
	bool has_values = value_comes_along(score);
	uint32 count = 0;
	WireBuffer payload;
	EngineFrame reply;

	for (int i = 0; i < score->count; i++)
		count += has_pair(&score->rows[i]);
	if (count == 0)
		return;
	payload = begin_request(score, score->policy,
	                        has_values ? score->value : NULL, true, count);
	for (int i = 0; i < score->count; i++)
	{
		if (!has_pair(&score->rows[i]))
			continue;
		put_prompt(score, &score->rows[i], &payload);
		prompt_put(&payload, score->rows[i].response, false);
	}
	ask(WIRE_LOGPROB, payload, count, 8 + 4 + (has_values ? 8 : 0), &reply);
	for (int i = 0; i < score->count; i++)
	{
		double logprob;

		if (!has_pair(&score->rows[i]))
			continue;
		logprob = wire_get_f64(&reply.items);
		/* No tokens: nothing to begin with, so no probability either. */
		if (wire_get_u32(&reply.items) > 0)
			score->rows[i].logprob = known(logprob);
		if (has_values)
			score->rows[i].value = known(wire_get_f64(&reply.items));
	}
	inference_check(&reply);
}

/* Its value is not there yet. */
static bool
lacks_value(const ScoredRow *row)
{
	return row->prompt != NULL && !row->value.is_known;
}

static void
fetch_values(Score *score)
{
	uint32 count = 0;
	WireBuffer payload;
	EngineFrame reply;

	for (int i = 0; i < score->count; i++)
		count += lacks_value(&score->rows[i]);
	if (count == 0)
		return;
	payload = begin_request(score, score->value, NULL, false, count);
	for (int i = 0; i < score->count; i++)
		if (lacks_value(&score->rows[i]))
			put_prompt(score, &score->rows[i], &payload);
	ask(WIRE_VALUE, payload, count, 8, &reply);
	for (int i = 0; i < score->count; i++)
		if (lacks_value(&score->rows[i]))
			score->rows[i].value = known(wire_get_f64(&reply.items));
	inference_check(&reply);
}

/* --------------------------------------------------------------- a chunk */

static void
read_row(const Score *score, HeapTuple tuple, ScoredRow *row)
{
	const Source *source = score->source;
	TupleDesc columns = source->columns;

	memset(row, 0, sizeof(*row));
	row->key = source_text(tuple, columns, source->key);
	row->prompt = prompt_text(tuple, columns, source->prompt);
	row->response = source_text(tuple, columns, source->response);
	row->advantage.is_known = source_number(tuple, columns, source->advantage,
	                                        &row->advantage.number);
	if (score->value == NULL)
		row->value.is_known =
			source_number(tuple, columns, source->value, &row->value.number);
}

static void
evaluate_rewards(Score *score, Tuplestorestate *tuples)
{
	double *rewards = palloc(sizeof(double) * score->count);
	bool *nulls = palloc(sizeof(bool) * score->count);
	int64 *numbers = palloc(sizeof(int64) * score->count);
	RewardRows names = {"row", numbers};

	for (int i = 0; i < score->count; i++)
		numbers[i] = score->before + i;
	reward_evaluate(score->reward, tuples, score->count, &names, rewards, nulls,
	                NULL);
	for (int i = 0; i < score->count; i++)
		if (!nulls[i])
			score->rows[i].reward = known(rewards[i]);
}

/* The next rows of the cursor, with their rewards: all that is user's SQL. */
static void
fetch_rows(Score *score)
{
	bool was_read_only = XactReadOnly;
	Portal portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_find(score->portal);
	if (portal == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_CURSOR_STATE),
		                errmsg("the cursor over the source is gone"),
		                errdetail("The savepoint it was opened in was rolled "
		                          "back.")));
	XactReadOnly = true;
	SPI_cursor_fetch(portal, true, score->chunk);
	/* SPI has left us in its own memory. */
	MemoryContextSwitchTo(score->context);
	score->count = (int) SPI_processed;
	score->rows = palloc(sizeof(ScoredRow) * Max(score->count, 1));
	for (int i = 0; i < score->count; i++)
		read_row(score, SPI_tuptable->vals[i], &score->rows[i]);
	if (score->reward != NULL && score->count > 0)
	{
		Tuplestorestate *tuples = tuplestore_begin_heap(true, false, work_mem);

		for (int i = 0; i < score->count; i++)
			tuplestore_puttuple(tuples, SPI_tuptable->vals[i]);
		evaluate_rewards(score, tuples);
		tuplestore_end(tuples);
	}
	XactReadOnly = was_read_only;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

static void
score_error_callback(void *argument)
{
	Score *score = argument;

	errcontext("scoring rows " INT64_FORMAT " to " INT64_FORMAT
	           " of the source",
	           score->before + 1, score->before + score->count);
}

/* Replaces the chunk by the next one; its count is 0 at the end. */
static void
next_chunk(Score *score)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = score_error_callback,
		.arg = score,
	};
	MemoryContext saved;

	score->before += score->count;
	score->at = 0;
	MemoryContextReset(score->context);
	saved = MemoryContextSwitchTo(score->context);
	fetch_rows(score);
	MemoryContextSwitchTo(score->context);
	error_context_stack = &callback;
	if (score->policy != NULL)
		fetch_logprobs(score);
	if (score->value != NULL)
		fetch_values(score);
	error_context_stack = callback.previous;
	for (int i = 0; i < score->count; i++)
	{
		ScoredRow *row = &score->rows[i];

		if (score->source->advantage == 0 && row->reward.is_known &&
		    row->value.is_known)
			row->advantage = known(row->reward.number - row->value.number);
	}
	score->chunk =
		Min(score->chunk * 2, (int) json_int(score->settings, "batch_size", 1));
	MemoryContextSwitchTo(saved);
}

/* ------------------------------------------------------------- the result */

static void
put_string(const char *value, Datum *datum, bool *isnull)
{
	*isnull = value == NULL;
	if (value != NULL)
		*datum = CStringGetTextDatum(value);
}

static void
put_figure(Figure figure, Datum *datum, bool *isnull)
{
	*isnull = !figure.is_known;
	*datum = Float8GetDatum(figure.number);
}

static Datum
result_row(const Score *score, TupleDesc columns)
{
	const ScoredRow *row = &score->rows[score->at];
	Datum values[8] = {0};
	bool nulls[8] = {0};

	values[0] = Int64GetDatum(score->before + score->at + 1);
	put_string(row->key, &values[1], &nulls[1]);
	put_string(row->prompt, &values[2], &nulls[2]);
	put_string(row->response, &values[3], &nulls[3]);
	put_figure(row->reward, &values[4], &nulls[4]);
	put_figure(row->value, &values[5], &nulls[5]);
	put_figure(row->advantage, &values[6], &nulls[6]);
	put_figure(row->logprob, &values[7], &nulls[7]);
	return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}

/* Everything of a call, in memory that lasts as long as the call. */
static void
first_call(FunctionCallInfo fcinfo, FuncCallContext *call)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext saved = MemoryContextSwitchTo(call->multi_call_memory_ctx);
	TupleDesc columns;
	Score *score;

	if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	call->tuple_desc = BlessTupleDesc(columns);
	score = open_score(fcinfo);
	open_cursor(score);
	call->user_fctx = score;
	/* Callbacks run last in, first out: ours before the memory goes. */
	RegisterExprContextCallback(info->econtext, close_cursor,
	                            PointerGetDatum(score));
	MemoryContextSwitchTo(saved);
}

ALOL_FUNCTION(alol_score_rows);
Datum
alol_score_rows(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Score *score;

	if (SRF_IS_FIRSTCALL())
	{
		call = SRF_FIRSTCALL_INIT();
		first_call(fcinfo, call);
	}
	call = SRF_PERCALL_SETUP();
	score = call->user_fctx;
	if (score->at >= score->count)
		next_chunk(score);
	if (score->count > 0)
	{
		Datum row = result_row(score, call->tuple_desc);

		score->at++;
		SRF_RETURN_NEXT(call, row);
	}
	UnregisterExprContextCallback(
		((ReturnSetInfo *) fcinfo->resultinfo)->econtext, close_cursor,
		PointerGetDatum(score));
	close_cursor(PointerGetDatum(score));
	SRF_RETURN_DONE(call);
}
