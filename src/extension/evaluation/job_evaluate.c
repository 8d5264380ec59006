/*
 * job_evaluate.c
 *		Responses that the policy generates, and their rewards.
 */
#include "alol.h"

#include <math.h>

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "evaluation/job_evaluate.h"
#include "base/json.h"
#include "reward/reward.h"

#define CHUNK 256

/* ------------------------------------------------------------- generating */

/* The head of WIRE_GENERATE; what option "generation" says has the last
 * word. */
static char *
generation_head(JobRun *run, bool is_greedy, int64 seed)
{
	Jsonb *settings = run->job->settings;
	Jsonb *given = json_member(settings, "generation");
	Jsonb *stop = given == NULL ? NULL : json_member(given, "stop");
	int64 max_tokens = json_int(settings, "max_response_tokens", 128);
	double temperature = is_greedy ? 0 : 1;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", run->answering_ref);
	if (given != NULL)
	{
		max_tokens = json_int(given, "max_tokens", max_tokens);
		temperature = json_float(given, "temperature", temperature);
	}
	json_add_int(&json, "max_tokens", max_tokens);
	json_add_int(&json, "max_prompt_tokens",
	             json_int(settings, "max_prompt_tokens", 640));
	json_add_float(&json, "temperature", temperature);
	json_add_int(&json, "seed", seed);
	if (given != NULL)
	{
		json_add_float(&json, "top_p", json_float(given, "top_p", 1));
		json_add_int(&json, "top_k", json_int(given, "top_k", 0));
		json_add_float(&json, "repetition_penalty",
		               json_float(given, "repetition_penalty", 1));
		json_add_int(&json, "num_beams", json_int(given, "num_beams", 1));
		if (stop != NULL)
			json_add_json(&json, "stop",
			              JsonbToCString(NULL, &stop->root, VARSIZE(stop)));
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
read_responses(EngineFrame *result, const int64 *rows, int count,
               Response *responses)
{
	WireReader *items = &result->items;

	if (wire_get_count(items, 4 + 4 + 1) != (uint32) count)
		items->broken = true;
	for (int i = 0; i < count && !items->broken; i++)
	{
		responses[i].row = rows[i];
		responses[i].utf8 = wire_get_text(items, &responses[i].length);
		responses[i].tokens = wire_get_u32(items);
		responses[i].has_ended = wire_get_u8(items) != 0;
	}
	if (items->broken)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine sent a broken answer to generate")));
}

void
generate_responses(JobRun *run, const Generating *how, const int64 *rows,
                   int count, Response *responses)
{
	EngineCall call = {.type = WIRE_GENERATE,
	                   .on_event = how->on_event,
	                   .argument = how->argument};
	EngineFrame result;
	MemoryContext saved;

	call.payload = job_payload(generation_head(run, how->is_greedy, how->seed));
	wire_put_u32(&call.payload, (uint32) count);
	saved = job_begin_read();
	for (int i = 0; i < count; i++)
		rows_put_prompt(run->validation, rows[i], &call.payload);
	job_commit(saved);
	job_call_for_room(run, &call, &result);
	read_responses(&result, rows, count, responses);
}

/* --------------------------------------------------------------- rewards */

void
evaluate_check(double reward, const char *what)
{
	if (!isfinite(reward))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
		                errmsg("reward of %s is %s", what,
		                       isnan(reward)
		                           ? "NaN"
		                           : (reward > 0 ? "Infinity" : "-Infinity"))));
}

/* NULL becomes NaN; what is NaN or infinite raises. */
static void
take_rewards(const RewardRows *names, double *reward, const bool *isnull,
             int count)
{
	for (int i = 0; i < count; i++)
	{
		if (isnull[i])
			reward[i] = NAN;
		else
			evaluate_check(reward[i], psprintf("%s " INT64_FORMAT, names->kind,
			                                   names->number[i] + 1));
	}
}

static void
evaluate_chunk(JobRun *run, JobRows *rows, Reward *reward,
               const Response *responses, int count, double *result,
               double *component)
{
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);
	bool isnull[CHUNK];
	int64 numbers[CHUNK];
	RewardRows names = {rows == run->rows
	                        ? "the generated response to the prompt of row"
	                        : "the generated response to the prompt of "
	                          "validation row",
	                    numbers};

	for (int i = 0; i < count; i++)
	{
		HeapTuple row = spool_row(rows->spool, responses[i].row);

		tuplestore_puttuple(store,
		                    reward_replace_response(
								rows->names->columns, rows->names->response,
								row, responses[i].utf8, responses[i].length));
		numbers[i] = responses[i].row;
		heap_freetuple(row);
	}
	reward_evaluate(reward, store, count, &names, result, isnull, component);
	take_rewards(&names, result, isnull, count);
	tuplestore_end(store);
}

/* Room for the components of so many rewards, named as the reward has them. */
static void
name_components(Components *component, const Reward *reward, int count,
                MemoryContext context)
{
	MemoryContext saved = MemoryContextSwitchTo(context);

	component->count = reward_components(reward);
	component->names = palloc(component->count * sizeof(const char *));
	for (int i = 0; i < component->count; i++)
		component->names[i] = pstrdup(reward_component_name(reward, i));
	component->value =
		palloc0((Size) count * component->count * sizeof(double));
	MemoryContextSwitchTo(saved);
}

void
evaluate_responses(JobRun *run, JobRows *rows, const Response *responses,
                   int count, double *reward, Components *component)
{
	MemoryContext context = CurrentMemoryContext;

	if (component != NULL)
		memset(component, 0, sizeof(*component));
	for (int first = 0; first < count; first += CHUNK)
	{
		int chunk = Min(CHUNK, count - first);
		MemoryContext saved;
		Reward *opened;

		CHECK_FOR_INTERRUPTS();
		saved = job_begin_read();
		opened =
			reward_open(run->job->reward, rows->names->columns, rows->names);
		if (component != NULL && first == 0)
			name_components(component, opened, count, context);
		evaluate_chunk(run, rows, opened, responses + first, chunk,
		               reward + first,
		               component == NULL ? NULL
		                                 : component->value +
		                                       (Size) first * component->count);
		job_commit(saved);
	}
}

void
evaluate_stored(JobRun *run, JobRows *rows, int64 first, int count,
                double *result)
{
	Reward *reward =
		reward_open(run->job->reward, rows->names->columns, rows->names);
	Tuplestorestate *store = spool_read(rows->spool, first, count);
	bool *isnull = palloc(count * sizeof(bool));
	int64 *numbers = palloc(count * sizeof(int64));
	RewardRows names = {rows == run->rows ? "row" : "validation row", numbers};

	for (int i = 0; i < count; i++)
		numbers[i] = first + i;
	reward_evaluate(reward, store, count, &names, result, isnull, NULL);
	take_rewards(&names, result, isnull, count);
	tuplestore_end(store);
}
