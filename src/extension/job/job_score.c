/*
 * job_score.c
 *		The scoring phase: rewards by SQL, the rest by the engine.
 *
 * Chunk by chunk: the rewards in a READ ONLY transaction as the job's owner;
 * then, with no transaction open, reference log-probabilities and values in
 * the engine; then a line a row in alol_advantage.  An interrupted scoring
 * starts over with the same rows in the same chunks.  A new reference changes
 * everything but the rewards: these are what they were.
 */
#include "alol.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "job/job_advantage.h"
#include "evaluation/job_evaluate.h"
#include "job/job_record.h"
#include "base/json.h"
#include "inference/prompt.h"

/* A request is sent early when its texts grow beyond this. */
#define REQUEST_SIZE_MAX ((size_t) 64 * 1024 * 1024)

/* ------------------------------------------------------- rewards by SQL */

/* A number out of a column; false, and a skip, when it is NULL. */
static bool
take_number(const JobRun *run, HeapTuple tuple, AttrNumber column,
            double *number, const ScoredRow *row, const char *what)
{
	if (!source_number(tuple, run->rows->names->columns, column, number))
		return false;
	if (!isfinite(*number))
		ereport(ERROR,
		        (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
		         errmsg("%s of row " INT64_FORMAT " is not a finite number",
		                what, row->number)));
	return true;
}

/* Value or advantage that the source itself brings. */
static ScoreSkip
take_columns(JobRun *run, HeapTuple tuple, ScoredRow *row)
{
	const Source *names = run->rows->names;

	if (run->method.rows != METHOD_POSITIVE_ADVANTAGE)
		return SCORE_USED;
	if (names->advantage != 0)
	{
		if (!take_number(run, tuple, names->advantage, &row->advantage, row,
		                 "advantage"))
			return SCORE_NULL_ADVANTAGE;
		row->flags |= WIRE_ROW_HAS_ADVANTAGE;
	}
	else if (names->value != 0)
	{
		if (!take_number(run, tuple, names->value, &row->value, row, "value"))
			return SCORE_NULL_VALUE;
		row->flags |= WIRE_ROW_HAS_VALUE;
	}
	return SCORE_USED;
}

/* The rows of pairs, and prompts, have no rewards, whatever new responses
 * have. */
static bool
scores_rows(const JobRun *run)
{
	return run->uses_reward && !run->has_pairs &&
	       !method_rolls_out(&run->method);
}

static char *
describe_row(const ScoredRow *row)
{
	if (row->key == NULL)
		return psprintf("row " INT64_FORMAT, row->number);
	return psprintf("row " INT64_FORMAT " (key \"%s\")", row->number, row->key);
}

static void
put_row(const ScoredChunk *chunk, const ScoredRow *row, const char *prompt,
        char *response, uint8 flags, WireBuffer *items, uint32 *item_count)
{
	WireRow wire = {0};

	wire.row_number = row->number;
	wire.prompt = prompt_to_utf8(prompt, rows_have_chats(chunk->rows),
	                             &wire.prompt_length);
	wire.response =
		text_to_utf8(response, strlen(response), &wire.response_length);
	wire.flags = flags | (row->is_measured ? WIRE_ROW_IS_HELD : 0);
	wire.reward = row->reward;
	wire.value = row->value;
	wire.advantage = row->advantage;
	wire_put_row(items, &wire);
	(*item_count)++;
}

/* What is NULL or held out makes a row of no use. */
static ScoreSkip
look_at_row(JobRun *run, const ScoredChunk *chunk, HeapTuple tuple,
            const char *prompt, const char *response, bool no_reward,
            ScoredRow *row)
{
	if (prompt == NULL)
		return SCORE_NULL_PROMPT;
	if (chunk->is_validation || rows_is_held(chunk->rows, prompt))
	{
		row->is_measured = method_ranks(&run->method) && response != NULL &&
		                   !(scores_rows(run) && no_reward);
		return SCORE_HELD;
	}
	if (response == NULL)
		return SCORE_NULL_RESPONSE;
	if (scores_rows(run) && no_reward)
		return SCORE_NULL_REWARD;
	return take_columns(run, tuple, row);
}

/* The engine is to see it. */
static bool
is_sent(const ScoredRow *row)
{
	return row->skip == SCORE_USED || row->is_measured;
}

/* Fills in one row and appends it to the request if it is used. */
static void
take_row(JobRun *run, const ScoredChunk *chunk, int64 number, bool no_reward,
         double reward, ScoredRow *row, MemoryContext context,
         WireBuffer *items, uint32 *item_count)
{
	const JobRows *rows = chunk->rows;
	HeapTuple tuple = spool_row(rows->spool, number);
	char *prompt = rows_prompt(rows, tuple);
	char *response = rows_response(rows, tuple);
	char *rejected = NULL;
	char *key = source_text(tuple, rows->names->columns, rows->names->key);

	memset(row, 0, sizeof(*row));
	row->number = number + 1;
	row->key = key == NULL ? NULL : MemoryContextStrdup(context, key);
	row->reward = row->value = row->advantage = row->ref_logprob = NAN;
	if (scores_rows(run) && !no_reward)
	{
		evaluate_check(reward, describe_row(row));
		row->reward = reward;
		row->flags |= WIRE_ROW_HAS_REWARD;
	}
	if (method_rolls_out(&run->method))
		response = "";
	if (run->has_pairs && !rows_pair(rows, tuple, &response, &rejected))
		response = NULL;
	row->skip =
		look_at_row(run, chunk, tuple, prompt, response, no_reward, row);
	if (!is_sent(row))
		return;
	put_row(chunk, row, prompt, response,
	        run->has_pairs ? WIRE_ROW_IS_CHOSEN : row->flags, items,
	        item_count);
	if (run->has_pairs)
		put_row(chunk, row, prompt, rejected, WIRE_ROW_IS_REJECTED, items,
		        item_count);
}

/* take_row() for rows [first, first + count), until the request is full. */
static void
take_rows(JobRun *run, int64 first, int count, const bool *isnull,
          const double *result, ScoredChunk *chunk, MemoryContext context,
          WireBuffer *items, uint32 *item_count)
{
	int64 number;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = rows_error_callback,
		.arg = &number,
	};

	error_context_stack = &callback;
	for (int i = 0; i < count && items->size < REQUEST_SIZE_MAX; i++)
	{
		number = first + i + 1;
		take_row(run, chunk, first + i, isnull[i], result[i], &chunk->row[i],
		         context, items, item_count);
		chunk->count = i + 1;
	}
	error_context_stack = callback.previous;
}

static void
name_components(ScoredChunk *chunk, const Reward *reward, MemoryContext context)
{
	chunk->components = reward_components(reward);
	if (chunk->components == 0)
		return;
	chunk->names =
		MemoryContextAlloc(context, chunk->components * sizeof(const char *));
	chunk->component = MemoryContextAllocZero(
		context, (Size) SCORE_CHUNK * chunk->components * sizeof(double));
	for (int i = 0; i < chunk->components; i++)
		chunk->names[i] =
			MemoryContextStrdup(context, reward_component_name(reward, i));
}

/* Rewards of rows [first, ...) and the request's items, until the chunk or
 * the request is full. */
static void
prepare_chunk(JobRun *run, int64 first, ScoredChunk *chunk, WireBuffer *items,
              uint32 *item_count)
{
	MemoryContext context = CurrentMemoryContext;
	JobRows *rows = chunk->rows;
	int count = (int) Min(SCORE_CHUNK, rows->count - first);
	double result[SCORE_CHUNK];
	bool isnull[SCORE_CHUNK];
	int64 numbers[SCORE_CHUNK];
	RewardRows names = {chunk->is_validation ? "validation row" : "row",
	                    numbers};
	MemoryContext saved = job_begin_read();

	for (int i = 0; i < count; i++)
	{
		numbers[i] = first + i;
		result[i] = NAN;
		isnull[i] = true;
	}
	/* After a new reference only those of held-out rows are asked for anew. */
	if (scores_rows(run) && (run->refreshed == 0 || method_ranks(&run->method)))
	{
		Reward *reward =
			reward_open(run->job->reward, rows->names->columns, rows->names);
		Tuplestorestate *store = spool_read(rows->spool, first, count);

		name_components(chunk, reward, context);
		reward_evaluate(reward, store, count, &names, result, isnull,
		                chunk->component);
		tuplestore_end(store);
	}
	/* Rewards of rows that are trained on are what they were. */
	if (scores_rows(run) && run->refreshed > 0 && !chunk->is_validation)
		advantages_read(run->job, first, count, result, isnull);
	take_rows(run, first, count, isnull, result, chunk, context, items,
	          item_count);
	job_commit(saved);
}

/* ----------------------------------------------------- the rest, and down */

static char *
rows_head(JobRun *run, bool is_last)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_bool(&json, "last", is_last);
	if (run->uses_value)
		json_add_json(&json, "value", run->value_ref);
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
broken_answer(void)
{
	ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
	                errmsg("the engine sent a broken answer to job_rows")));
}

/* What the engine found of a row, added to what it found of its first half. */
static void
take_result(ScoredRow *row, WireReader *items, bool is_second_half)
{
	static const ScoreSkip skips[] = {
		[WIRE_ROW_USED] = SCORE_USED,
		[WIRE_ROW_EMPTY_PROMPT] = SCORE_EMPTY_PROMPT,
		[WIRE_ROW_EMPTY_RESPONSE] = SCORE_EMPTY_RESPONSE,
	};
	WireRowResult found;

	wire_get_row_result(items, &found);
	if (items->broken || found.status >= lengthof(skips))
		broken_answer();
	if (row->is_measured)
		return;
	row->skip = skips[found.status];
	row->value = found.value;
	row->advantage = found.advantage;
	row->ref_logprob =
		found.ref_logprob + (is_second_half ? row->ref_logprob : 0);
	row->tokens += found.tokens;
	row->selected = found.selected != 0;
}

/* What the engine found, into the rows that were sent: a pair is one row, with
 * the log-probabilities and tokens of both responses together. */
static void
take_results(JobRun *run, ScoredChunk *chunk, EngineFrame *result,
             uint32 item_count)
{
	uint32 count = wire_get_count(&result->items, WIRE_ROW_RESULT_SIZE);

	if (count != item_count || result->items.broken)
		broken_answer();
	for (int i = 0; i < chunk->count; i++)
	{
		ScoredRow *row = &chunk->row[i];

		if (!is_sent(row))
			continue;
		take_result(row, &result->items, false);
		if (run->has_pairs)
			take_result(row, &result->items, true);
	}
}

/* After the last row: what was made of all of them. */
static void
take_groups(JobRun *run, EngineFrame *result, ScoreTotals *totals)
{
	ScoredGroups *groups = &totals->groups;
	uint32 count = wire_get_count(&result->items, sizeof(int64));
	int64 *number = MemoryContextAllocHuge(CurrentMemoryContext,
	                                       ((Size) count + 1) * sizeof(int64));

	for (uint32 i = 0; i < count; i++)
		number[i] = wire_get_i64(&result->items);
	if (result->items.broken)
		broken_answer();
	groups->count = json_int(result->head, "groups", 0);
	groups->prompts = json_int(result->head, "prompts", 0);
	groups->lone = json_int(result->head, "lone", 0);
	groups->equal = json_int(result->head, "equal", 0);
	groups->equal_pairs = json_int(result->head, "equal_pairs", 0);
	totals->selected = count;
	advantages_select(run->job, number, count);
}

static void
show_scoring(JobRun *run, int64 done)
{
	JobProgress progress = JOB_PROGRESS_NONE;

	progress.phase = "scoring";
	progress.done = done;
	progress.total = run->rows->count;
	job_record_progress(run->job, &progress);
}

/* Scores rows from first on; returns behind the last of them. */
static int64
score_chunk(JobRun *run, JobRows *rows, int64 first, ScoreTotals *totals)
{
	bool is_validation = rows != run->rows;
	ScoredChunk *chunk = palloc0(sizeof(ScoredChunk));
	WireBuffer items = engine_payload("");
	uint32 item_count = 0;
	EngineFrame result;
	WireBuffer payload;
	int64 next;
	bool is_last;

	chunk->rows = rows;
	chunk->is_validation = is_validation;
	items.size = 0;
	prepare_chunk(run, first, chunk, &items, &item_count);
	next = first + chunk->count;
	/* The validation's rows come first. */
	is_last = next == rows->count && !is_validation;
	payload = job_payload(rows_head(run, is_last));
	wire_put_u32(&payload, item_count);
	wire_put_bytes(&payload, items.data, items.size);
	engine_ask(run->engine, WIRE_JOB_ROWS, payload, &result);
	take_results(run, chunk, &result, item_count);
	if (is_validation)
		return next;
	advantages_write(run->job, chunk);
	totals_add(totals, &run->method, chunk);
	if (is_last && method_ranks(&run->method))
		take_groups(run, &result, totals);
	show_scoring(run, next);
	return next;
}

static void
score_rows(JobRun *run, JobRows *rows, ScoreTotals *totals)
{
	for (int64 next = 0; next < rows->count;)
	{
		MemoryContext context = AllocSetContextCreate(
			CurrentMemoryContext, "alol chunk", ALLOCSET_DEFAULT_SIZES);
		MemoryContext saved = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		next = score_chunk(run, rows, next, totals);
		MemoryContextSwitchTo(saved);
		MemoryContextDelete(context);
	}
}

void
job_score(JobRun *run)
{
	ScoreTotals totals = {0};

	job_record_phase(run->job, "scoring");
	if (run->refreshed == 0)
		advantages_delete(run->job);
	if (run->measures_validation)
		score_rows(run, run->validation, &totals);
	score_rows(run, run->rows, &totals);
	totals_report(run, &totals);
}
