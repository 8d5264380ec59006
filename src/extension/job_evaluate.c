/*
 * job_evaluate.c
 *		Rewards of responses that the policy generated.
 */
#include "alol.h"

#include <math.h>

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "job_evaluate.h"
#include "reward.h"

#define CHUNK 256

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
take_rewards(const JobRows *rows, double *reward, const bool *isnull,
             const int64 *row, int count, const char *kind)
{
	for (int i = 0; i < count; i++)
	{
		if (isnull[i])
			reward[i] = NAN;
		else
			evaluate_check(reward[i],
			               psprintf("%s " INT64_FORMAT, kind, row[i] + 1));
	}
}

static void
evaluate_chunk(JobRun *run, Reward *reward, const Response *responses,
               int count, double *result)
{
	JobRows *rows = run->validation;
	Tuplestorestate *store = tuplestore_begin_heap(true, false, work_mem);
	bool isnull[CHUNK];
	int64 numbers[CHUNK];

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
	reward_evaluate(reward, store, count, result, isnull, NULL);
	take_rewards(rows, result, isnull, numbers, count,
	             rows == run->rows
	                 ? "the generated response to the prompt of row"
	                 : "the generated response to the prompt of validation "
	                   "row");
	tuplestore_end(store);
}

void
evaluate_responses(JobRun *run, const Response *responses, int count,
                   double *reward)
{
	for (int first = 0; first < count; first += CHUNK)
	{
		int chunk = Min(CHUNK, count - first);
		MemoryContext saved;

		CHECK_FOR_INTERRUPTS();
		saved = job_begin_read();
		evaluate_chunk(run,
		               reward_open(run->job->reward,
		                           run->validation->names->columns,
		                           run->validation->names),
		               responses + first, chunk, reward + first);
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

	for (int i = 0; i < count; i++)
		numbers[i] = first + i;
	reward_evaluate(reward, store, count, result, isnull, NULL);
	take_rewards(rows, result, isnull, numbers, count,
	             rows == run->rows ? "row" : "validation row");
	tuplestore_end(store);
}
