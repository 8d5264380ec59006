/*
 * job_rows.c
 *		Scoring rows: WIRE_JOB_ROWS.
 *
 * The reference policy and the value are evaluated once a row, here; the rows
 * that the method selects are kept with the results, the others end here.
 * Methods that compare responses keep all, and group them after the last.
 */
#include "formats/json.h"
#include "model/pair.h"
#include "serve/job.h"
#include "serve/requests.h"
#include "train/checksum.h"

#include <math.h>
#include <string.h>

typedef struct Scoring
{
	Request *request;
	Job *job;
	Arena *arena; /* the request's */
	Model *reference;
	Model *policy;         /* of the value model */
	const ValueHead *head; /* NULL: no value model */
	int count;
	WireRow *row;          /* [count] */
	Pair *pair;            /* [count] */
	WireRowResult *result; /* [count] */
	float **ref_logp;      /* [count] NULL where the method needs none */
	bool *is_kept;         /* [count] for training, or to be grouped */
	bool is_last;
} Scoring;

/* The reference: the model as it was, unless the job names another. */
static bool
open_models(Scoring *scoring, Failure *failure)
{
	Request *request = scoring->request;
	Job *job = scoring->job;
	json_t *object;
	ModelRef ref;

	scoring->reference = job->model;
	if (job->reference != NULL)
	{
		if (!json_open_text(scoring->arena, job->reference,
		                    strlen(job->reference), "reference", &object,
		                    failure) ||
		    !model_ref_read(object, &ref, failure) ||
		    !model_use_kind(request, &ref, MODEL_LANGUAGE, &scoring->reference,
		                    failure))
			return false;
	}
	if (!json_get_object(request->head, "value", &object, failure))
		return false;
	return object == NULL || (model_ref_read(object, &ref, failure) &&
	                          value_use(request, &ref, &scoring->policy,
	                                    &scoring->head, failure));
}

/* It is measured, not trained on. */
static bool
is_held(const WireRow *row)
{
	return (row->flags & WIRE_ROW_IS_HELD) != 0;
}

/* A job has pairs, each a chosen response and right behind it the rejected
 * one, or has none.  Methods that rank also have rows to measure. */
static bool
check_halves(const Scoring *scoring, Failure *failure)
{
	const uint8_t both = WIRE_ROW_IS_CHOSEN | WIRE_ROW_IS_REJECTED;
	Job *job = scoring->job;
	const WireRow *row = scoring->row;
	bool is_whole = true;

	if (scoring->count == 0)
		return true;
	if (job->rows == 0)
		job->gives_pairs = (row[0].flags & both) != 0;
	for (int i = 0; i < scoring->count; i++)
	{
		bool is_second = i % 2 == 1;
		uint8_t half = is_second ? WIRE_ROW_IS_REJECTED : WIRE_ROW_IS_CHOSEN;

		if ((row[i].flags & both) != (job->gives_pairs ? half : 0) ||
		    (job->gives_pairs && is_second &&
		     row[i].row_number != row[i - 1].row_number))
			is_whole = false;
		if (is_held(&row[i]) && !objective_ranks(job->options.objective))
			return fail(failure, FAILURE_PROTOCOL,
			            "rows to measure for method %s",
			            job->options.objective->name);
	}
	if (job->gives_pairs &&
	    (scoring->count % 2 != 0 || job->options.objective->rows != ROWS_PAIRS))
		is_whole = false;
	return is_whole ||
	       fail(failure, FAILURE_PROTOCOL, "rows and pairs are mixed");
}

/* A prompt to which the policy is to respond. */
static bool
encode_prompt(Scoring *scoring, int limit, const WireRow *row, Pair *pair,
              Failure *failure)
{
	TokenList list = {0};

	if (!prompt_encode(scoring->job->model, scoring->arena, limit, true,
	                   row->prompt, row->prompt_length, &list, failure))
		return false;
	*pair = (Pair){list.count == 0 ? PAIR_EMPTY_PROMPT : PAIR_WHOLE, list.ids,
	               list.count, list.count};
	return true;
}

static bool
encode_row(Scoring *scoring, const PairLimits *limits, const WireRow *row,
           Pair *pair, Failure *failure)
{
	if (objective_rolls_out(scoring->job->options.objective))
		return encode_prompt(scoring, limits->prompt, row, pair, failure);
	return pair_encode(scoring->job->model, scoring->arena, limits, row->prompt,
	                   row->prompt_length, row->response, row->response_length,
	                   pair, failure);
}

static bool
read_rows(Scoring *scoring, Failure *failure)
{
	Request *request = scoring->request;
	Job *job = scoring->job;
	PairLimits limits = pair_limits(job->model, job->options.max_prompt_tokens,
	                                job->options.max_response_tokens);
	size_t count = wire_get_count(&request->items, WIRE_ROW_SIZE_MIN);
	Arena *arena = scoring->arena;

	scoring->count = (int) count;
	scoring->row = arena_try(arena, count, sizeof(WireRow), failure);
	scoring->pair = arena_try(arena, count, sizeof(Pair), failure);
	scoring->result = arena_try(arena, count, sizeof(WireRowResult), failure);
	scoring->ref_logp = arena_try(arena, count, sizeof(float *), failure);
	scoring->is_kept = arena_try(arena, count, sizeof(bool), failure);
	if (scoring->row == NULL || scoring->pair == NULL ||
	    scoring->result == NULL || scoring->ref_logp == NULL ||
	    scoring->is_kept == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
	{
		WireRow *row = &scoring->row[i];

		wire_get_row(&request->items, row);
		if (request->items.broken)
			break;
		if (!encode_row(scoring, &limits, row, &scoring->pair[i], failure))
			return fail_while(failure, "row %lld", (long long) row->row_number);
	}
	return (!request->items.broken || fail_items(request, failure)) &&
	       check_halves(scoring, failure);
}

static bool
fail_row(const WireRow *row, const char *what, double value, Failure *failure)
{
	return fail(failure, FAILURE_BAD_INPUT, "the %s of row %lld is %g", what,
	            (long long) row->row_number, value);
}

/* What the row brought: reward, value, advantage; NaN where it did not. */
static bool
take_given(const WireRow *row, WireRowResult *result, Failure *failure)
{
	result->reward = row->flags & WIRE_ROW_HAS_REWARD ? row->reward : NAN;
	result->value = row->flags & WIRE_ROW_HAS_VALUE ? row->value : NAN;
	result->advantage =
		row->flags & WIRE_ROW_HAS_ADVANTAGE ? row->advantage : NAN;
	result->ref_logprob = NAN;
	if (row->flags & WIRE_ROW_HAS_REWARD && !isfinite(row->reward))
		return fail_row(row, "reward", row->reward, failure);
	if (row->flags & WIRE_ROW_HAS_VALUE && !isfinite(row->value))
		return fail_row(row, "value", row->value, failure);
	if (row->flags & WIRE_ROW_HAS_ADVANTAGE && !isfinite(row->advantage))
		return fail_row(row, "advantage", row->advantage, failure);
	return true;
}

/* V by the value model is wanted of rows that brought neither V nor A. */
static bool
want_values(const Scoring *scoring, PairValues *values, Failure *failure)
{
	const uint8_t given = WIRE_ROW_HAS_VALUE | WIRE_ROW_HAS_ADVANTAGE;
	size_t count = (size_t) scoring->count;
	bool *wanted = arena_try(scoring->arena, count, sizeof(bool), failure);

	*values =
		(PairValues){scoring->policy, scoring->head, wanted,
	                 arena_try(scoring->arena, count, sizeof(double), failure)};
	if (wanted == NULL || values->value == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
		wanted[i] = (scoring->row[i].flags & given) == 0;
	return true;
}

/* V of the rows where it is wanted, and r of all. */
static bool
evaluate(Scoring *scoring, Failure *failure)
{
	bool has_values = scoring->head != NULL;
	bool needs_reference = scoring->job->options.objective->needs_reference;
	PairValues values;

	if (has_values && !want_values(scoring, &values, failure))
		return false;
	if (needs_reference &&
	    !pair_score(scoring->reference, scoring->arena, scoring->count,
	                scoring->pair, has_values ? &values : NULL,
	                scoring->ref_logp, failure))
		return false;
	if (!needs_reference && has_values &&
	    !pair_values(scoring->arena, scoring->count, scoring->pair, &values,
	                 failure))
		return false;
	for (int i = 0; has_values && i < scoring->count; i++)
		if (!isnan(values.value[i]))
			scoring->result[i].value = values.value[i];
	return true;
}

/* Completes A, and says whether the method trains on the row. */
static bool
select_row(Scoring *scoring, int i, Failure *failure)
{
	const WireRow *row = &scoring->row[i];
	WireRowResult *result = &scoring->result[i];
	const Job *job = scoring->job;
	ObjectiveRows rows = job->options.objective->rows;
	bool ranks = objective_ranks(job->options.objective);

	if (!(row->flags & WIRE_ROW_HAS_ADVANTAGE))
		result->advantage = result->reward - result->value;
	if (rows == ROWS_POSITIVE_ADVANTAGE && isnan(result->advantage))
		return fail(failure, FAILURE_BAD_INPUT,
		            "row %lld has neither an advantage nor a reward and a "
		            "value",
		            (long long) row->row_number);
	if ((rows == ROWS_POSITIVE_REWARD || (ranks && !job->gives_pairs)) &&
	    isnan(result->reward))
		return fail(failure, FAILURE_BAD_INPUT, "row %lld has no reward",
		            (long long) row->row_number);
	scoring->is_kept[i] =
		rows == ROWS_ALL || rows == ROWS_PROMPTS || ranks ||
		(rows == ROWS_POSITIVE_REWARD && result->reward > 0) ||
		(rows == ROWS_POSITIVE_ADVANTAGE && result->advantage > 0);
	/* Whether it finds its like is known when all rows are there. */
	result->selected = scoring->is_kept[i] && !ranks;
	return true;
}

static void
finish_row(Scoring *scoring, int i)
{
	const Pair *pair = &scoring->pair[i];
	WireRowResult *result = &scoring->result[i];
	int tokens = pair->tokens - pair->prompt;
	double total = 0;

	result->tokens = (uint32_t) tokens;
	if (scoring->ref_logp[i] == NULL)
		return;
	for (int t = 0; t < tokens; t++)
		total += scoring->ref_logp[i][t];
	result->ref_logprob = total;
}

/* Rows of no use get their status and nothing else. */
static void
set_status(Scoring *scoring)
{
	static const uint8_t status[] = {
		[PAIR_WHOLE] = WIRE_ROW_USED,
		[PAIR_EMPTY_PROMPT] = WIRE_ROW_EMPTY_PROMPT,
		[PAIR_EMPTY_RESPONSE] = WIRE_ROW_EMPTY_RESPONSE,
	};

	for (int i = 0; i < scoring->count; i++)
	{
		Pair *pair = &scoring->pair[i];
		Pair *other = scoring->job->gives_pairs ? pair + 1 - 2 * (i % 2) : pair;

		/* Half a pair is of no use, either. */
		if (pair->status == PAIR_WHOLE)
			pair->status = other->status;
		scoring->result[i].status = status[pair->status];
		if (pair->status != PAIR_WHOLE)
			pair->tokens = pair->prompt = 0;
	}
}

static bool
score(Scoring *scoring, Failure *failure)
{
	set_status(scoring);
	for (int i = 0; i < scoring->count; i++)
		if (!take_given(&scoring->row[i], &scoring->result[i], failure))
			return false;
	if (!evaluate(scoring, failure))
		return false;
	for (int i = 0; i < scoring->count; i++)
		if (scoring->pair[i].status == PAIR_WHOLE &&
		    !select_row(scoring, i, failure))
			return false;
	for (int i = 0; i < scoring->count; i++)
		finish_row(scoring, i);
	return true;
}

/* Two hashes of 64 bits: prompts that share both are equal. */
static void
hash_prompt(const WireRow *row, uint64_t key[2])
{
	key[0] = checksum_add(CHECKSUM_START, row->prompt, row->prompt_length);
	key[1] = checksum_add(~key[0], row->prompt, row->prompt_length);
}

static DatasetRole
role_of(const WireRow *row)
{
	if (row->flags & WIRE_ROW_IS_CHOSEN)
		return ROW_CHOSEN;
	return row->flags & WIRE_ROW_IS_REJECTED ? ROW_REJECTED : ROW_ALONE;
}

static void
keep_rows(Scoring *scoring)
{
	for (int i = 0; i < scoring->count; i++)
	{
		const Pair *pair = &scoring->pair[i];
		const WireRowResult *result = &scoring->result[i];
		DatasetRow row = {.row_number = scoring->row[i].row_number,
		                  .tokens = pair->tokens,
		                  .prompt = pair->prompt,
		                  .ids = pair->ids,
		                  .ref_logp = scoring->ref_logp[i],
		                  .reward = result->reward,
		                  .value = result->value,
		                  .advantage = result->advantage,
		                  .role = role_of(&scoring->row[i])};

		hash_prompt(&scoring->row[i], row.prompt_key);
		if (scoring->is_kept[i])
			dataset_add(is_held(&scoring->row[i]) ? &scoring->job->held_writer
			                                      : &scoring->job->writer,
			            &row);
		scoring->job->rows += !is_held(&scoring->row[i]);
	}
}

/* No row kept is no dataset: the job fails with its statistics. */
static bool
finish_rows(Job *job, Failure *failure)
{
	job->is_writing = false;
	if (objective_ranks(job->options.objective) &&
	    !job_held_finish(job, failure))
		return false;
	if (job->writer.selected == 0)
	{
		dataset_writer_close(&job->writer);
		return true;
	}
	return dataset_finish(&job->writer, job->rows, failure) &&
	       job_open_rows(job, job_path(job, JOB_ROWS_SCORED), failure);
}

/* The numbers of the rows that are in a group; a pair has one. */
static bool
list_grouped(const Scoring *scoring, int64_t **number, uint32_t *count,
             Failure *failure)
{
	const Dataset *dataset = &scoring->job->dataset;
	const Groups *groups = &dataset->groups;
	size_t rows = (size_t) dataset->selected;
	bool *is_grouped = arena_try(scoring->arena, rows, sizeof(bool), failure);

	*number = arena_try(scoring->arena, rows, sizeof(int64_t), failure);
	*count = 0;
	if (is_grouped == NULL || *number == NULL)
		return false;
	for (int32_t i = 0; i < groups->count; i++)
		for (int32_t j = groups->offset[i]; j < groups->offset[i + 1]; j++)
			is_grouped[groups->row[j]] = true;
	for (int32_t i = 0; i < dataset->selected; i++)
		if (is_grouped[i] && dataset->row[i].role != ROW_REJECTED)
			(*number)[(*count)++] = dataset->row[i].row_number;
	return true;
}

static json_t *
reply_head(const Job *job, int64_t selected, bool has_groups)
{
	const Groups *groups = &job->dataset.groups;
	json_t *head =
		json_pack("{s:I, s:I, s:I}", "rows", (json_int_t) job->rows, "selected",
	              (json_int_t) selected, "steps", (json_int_t) job_steps(job));

	if (!has_groups)
		return head;
	json_object_set_new(head, "groups", json_integer(groups->count));
	json_object_set_new(head, "prompts", json_integer(groups->prompts));
	json_object_set_new(head, "lone", json_integer(groups->lone));
	json_object_set_new(head, "equal", json_integer(groups->equal));
	json_object_set_new(head, "equal_pairs", json_integer(groups->equal_pairs));
	return head;
}

static bool
reply_rows(const Scoring *scoring, Failure *failure)
{
	const Job *job = scoring->job;
	bool has_groups =
		scoring->is_last && objective_ranks(job->options.objective);
	int64_t *number = NULL;
	uint32_t grouped = 0;
	WireBuffer *reply;

	if (has_groups && !list_grouped(scoring, &number, &grouped, failure))
		return false;
	reply =
		reply_begin(scoring->request, WIRE_RESULT,
	                reply_head(job, has_groups ? grouped : job->writer.selected,
	                           has_groups));
	wire_put_u32(reply, (uint32_t) scoring->count);
	for (int i = 0; i < scoring->count; i++)
		wire_put_row_result(reply, &scoring->result[i]);
	if (has_groups)
		wire_put_u32(reply, grouped);
	for (uint32_t i = 0; i < grouped; i++)
		wire_put_i64(reply, number[i]);
	return reply_end(scoring->request, failure);
}

bool
handle_job_rows(Request *request, Failure *failure)
{
	Scoring scoring = {.request = request, .arena = request->arena};

	models_rest(request->serve);
	scoring.job = job_of(request, failure);
	if (scoring.job == NULL)
		return false;
	if (!scoring.job->is_writing)
		return fail(failure, FAILURE_PROTOCOL,
		            "rows for a job that has them all");
	if (scoring.job->options.critic != NULL)
		return critic_take_rows(request, scoring.job, failure);
	return json_get_bool(request->head, "last", false, &scoring.is_last,
	                     failure) &&
	       open_models(&scoring, failure) && read_rows(&scoring, failure) &&
	       score(&scoring, failure) && (keep_rows(&scoring), true) &&
	       (!scoring.is_last || finish_rows(scoring.job, failure)) &&
	       reply_rows(&scoring, failure);
}
