/*
 * job_measure.c
 *		The work of kind "evaluate": generate for all prompts, and measure.
 *
 * Chunk by chunk: responses by the engine, their rewards by SQL, the
 * log-probabilities of the source's own responses by the engine, then all of
 * it into alol_evaluation.  A chunk is written whole, and each draws its own
 * random numbers, so that a resumed job gives what an uninterrupted one does.
 */
#include "alol.h"

#include <limits.h>
#include <math.h>

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "evaluation/job_measured.h"
#include "job/job_record.h"
#include "base/json.h"

typedef struct Measuring
{
	JobRun *run;
	MeasuredChunk *chunk;
	int used[MEASURE_CHUNK]; /* those of its rows that are in use */
	int count;               /* of them */
} Measuring;

/* ------------------------------------------------------------- the prompts */

static void
read_rows(Measuring *measuring)
{
	const JobRows *rows = measuring->run->rows;
	MeasuredChunk *chunk = measuring->chunk;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext saved = job_begin_read();

	MemoryContextSwitchTo(context);
	for (int i = 0; i < chunk->count; i++)
	{
		MeasuredRow *row = &chunk->row[i];
		HeapTuple tuple = spool_row(rows->spool, chunk->first + i);

		row->number = chunk->first + i + 1;
		row->key = source_text(tuple, rows->names->columns, rows->names->key);
		row->prompt = rows_prompt(rows, tuple);
		row->reward = row->ref_logprob = NAN;
		row->has_reference = rows_response(rows, tuple) != NULL;
		if (row->prompt == NULL)
			row->skip = MEASURE_NULL_PROMPT;
		else
			measuring->used[measuring->count++] = i;
		heap_freetuple(tuple);
	}
	job_commit(saved);
}

/* -------------------------------------------------------------- responses */

static void
show_generation(Engine *engine, EngineFrame *event, void *argument)
{
	Measuring *measuring = argument;
	JobProgress progress = JOB_PROGRESS_NONE;

	if (event->type != WIRE_PROGRESS)
		return;
	progress.phase = "evaluating";
	progress.done = measuring->chunk->first + json_int(event->head, "done", 0);
	progress.total = measuring->run->rows->count;
	progress.tokens_per_second =
		json_float(event->head, "tokens_per_second", NAN);
	progress.memory_bytes = json_int(event->head, "memory", -1);
	job_record_progress(measuring->run->job, &progress);
}

static void
generate_chunk(Measuring *measuring)
{
	MeasuredChunk *chunk = measuring->chunk;
	int64 seed = json_int(measuring->run->job->settings, "seed", 0);
	Generating how = {
		.is_greedy = true,
		/* Other numbers for each chunk; a sum that overflows wraps. */
		.seed = (int64) ((uint64) seed + (uint64) chunk->first),
		.on_event = show_generation,
		.argument = measuring,
	};
	Response responses[MEASURE_CHUNK];
	int64 numbers[MEASURE_CHUNK];
	int kept = 0;

	if (measuring->count == 0)
		return;
	for (int i = 0; i < measuring->count; i++)
		numbers[i] = chunk->first + measuring->used[i];
	generate_responses(measuring->run, &how, numbers, measuring->count,
	                   responses);
	for (int i = 0; i < measuring->count; i++)
	{
		MeasuredRow *row = &chunk->row[measuring->used[i]];

		row->response = responses[i];
		if (responses[i].tokens == 0)
			row->skip = MEASURE_EMPTY_PROMPT;
		else
			measuring->used[kept++] = measuring->used[i];
	}
	measuring->count = kept;
}

static void
reward_chunk(Measuring *measuring)
{
	MeasuredChunk *chunk = measuring->chunk;
	Response responses[MEASURE_CHUNK];
	double reward[MEASURE_CHUNK];

	if (!measuring->run->uses_reward || measuring->count == 0)
		return;
	for (int i = 0; i < measuring->count; i++)
		responses[i] = chunk->row[measuring->used[i]].response;
	evaluate_responses(measuring->run, measuring->run->validation, responses,
	                   measuring->count, reward, &chunk->component);
	for (int i = 0; i < measuring->count; i++)
	{
		MeasuredRow *row = &chunk->row[measuring->used[i]];

		row->reward = reward[i];
		if (chunk->component.count > 0)
			row->component =
				chunk->component.value + (Size) i * chunk->component.count;
	}
}

/* -------------------------------------------------------------- references */

static char *
logprob_head(JobRun *run)
{
	Jsonb *settings = run->job->settings;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", run->policy_ref);
	json_add_int(&json, "max_prompt_tokens",
	             json_int(settings, "max_prompt_tokens", 640));
	/* No other limit: the response is whole, as far as the context goes. */
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
put_response(const JobRows *rows, int64 number, WireBuffer *payload)
{
	HeapTuple tuple = spool_row(rows->spool, number);
	char *response = rows_response(rows, tuple);
	size_t length;
	char *utf8 = text_to_utf8(response, strlen(response), &length);

	wire_put_text(payload, utf8, length);
	heap_freetuple(tuple);
}

/* What the model thinks of the source's own responses. */
static void
refer_chunk(Measuring *measuring)
{
	JobRun *run = measuring->run;
	MeasuredChunk *chunk = measuring->chunk;
	MeasuredRow *referred[MEASURE_CHUNK];
	EngineCall call = {.type = WIRE_LOGPROB};
	EngineFrame result;
	MemoryContext saved;
	int count = 0;

	for (int i = 0; i < measuring->count; i++)
	{
		if (chunk->row[measuring->used[i]].has_reference)
			referred[count++] = &chunk->row[measuring->used[i]];
	}
	if (count == 0)
		return;
	call.payload = job_payload(logprob_head(run));
	wire_put_u32(&call.payload, (uint32) count);
	saved = job_begin_read();
	for (int i = 0; i < count; i++)
	{
		rows_put_prompt(run->rows, referred[i]->number - 1, &call.payload);
		put_response(run->rows, referred[i]->number - 1, &call.payload);
	}
	job_commit(saved);
	job_call_for_room(run, &call, &result);
	if (wire_get_count(&result.items, 8 + 4) != (uint32) count)
		result.items.broken = true;
	for (int i = 0; i < count && !result.items.broken; i++)
	{
		referred[i]->ref_logprob = wire_get_f64(&result.items);
		referred[i]->ref_tokens = wire_get_u32(&result.items);
	}
	if (result.items.broken)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine sent a broken answer to logprob")));
}

/* ------------------------------------------------------------- all of them */

static void
measure_chunk(JobRun *run, int64 first)
{
	Measuring measuring = {.run = run};

	measuring.chunk = palloc0(sizeof(MeasuredChunk));
	measuring.chunk->first = first;
	measuring.chunk->count = (int) Min(MEASURE_CHUNK, run->rows->count - first);
	read_rows(&measuring);
	generate_chunk(&measuring);
	reward_chunk(&measuring);
	refer_chunk(&measuring);
	measured_insert(run->job, measuring.chunk);
}

void
job_measure(JobRun *run)
{
	if (run->rows->count > INT_MAX)
		ereport(ERROR,
		        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		         errmsg("source has " INT64_FORMAT " rows, at most %d can be "
		                "evaluated",
		                run->rows->count, INT_MAX)));
	job_record_phase(run->job, "evaluating");
	/* The checkpoint of an evaluation is how many rows are done. */
	for (int64 next = run->job->checkpoint; next < run->rows->count;
	     next += MEASURE_CHUNK)
	{
		MemoryContext context = AllocSetContextCreate(
			CurrentMemoryContext, "alol chunk", ALLOCSET_DEFAULT_SIZES);
		MemoryContext saved = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		measure_chunk(run, next);
		job_found_room(run);
		MemoryContextSwitchTo(saved);
		MemoryContextDelete(context);
	}
	measured_report(run);
}
