/*
 * job_critic.c
 *		Jobs that train classifiers: the model, texts with their labels, and
 *		what the held-out ones say.
 */
#include "formats/json.h"
#include "model/classify.h"
#include "serve/job.h"
#include "text/chat.h"
#include "train/checksum.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------ the model */

bool
critic_read_plan(Request *request, Job *job, Failure *failure)
{
	ClassifierPlan *plan = &job->plan;
	Arena *arena = job->arena;
	json_t *labels;
	char **names;

	if (!json_get_array(request->head, "labels", &labels, failure))
		return false;
	plan->labels = job->options.critic->is_indexed && labels != NULL
	                   ? (int) json_array_size(labels)
	                   : 1;
	if (plan->labels < 1 || plan->labels > MODEL_LABELS_MAX)
		return fail(failure, FAILURE_BAD_INPUT,
		            "a classifier has from 1 to %d labels, not %d",
		            MODEL_LABELS_MAX, plan->labels);
	names = arena_alloc(arena, (size_t) plan->labels * sizeof(char *));
	names[0] = arena_strdup(arena, "LABEL_0");
	for (int i = 0; i < plan->labels && labels != NULL; i++)
	{
		const char *name =
			json_string_value(json_array_get(labels, (size_t) i));

		if (name == NULL)
			return fail(failure, FAILURE_PROTOCOL, "a label is no text");
		names[i] = arena_strdup(arena, name);
	}
	plan->names = names;
	plan->problem = job->options.critic->problem;
	plan->seed = job->options.seed;
	return true;
}

/* ------------------------------------------------------------- the rows */

/* How many of the tokens are of type 0: the first ones, as all templates
 * that we know have it. */
static bool
first_type(const TokenList *types, int32_t *first, Failure *failure)
{
	*first = 0;
	while (*first < types->count && types->ids[*first] == 0)
		(*first)++;
	for (int t = *first; t < types->count; t++)
		if (types->ids[t] != 1)
			return fail(failure, FAILURE_UNSUPPORTED,
			            "the tokenizer's template has token types other than "
			            "0 and then 1");
	return *first > 0 || types->count == 0 ||
	       fail(failure, FAILURE_UNSUPPORTED,
	            "the tokenizer's template begins with token type 1");
}

static bool
check_label(const Job *job, const WireRow *row, Failure *failure)
{
	if (row->flags & (WIRE_ROW_IS_CHOSEN | WIRE_ROW_IS_REJECTED))
		return true;
	if (!isfinite(row->reward))
		return fail(failure, FAILURE_BAD_INPUT, "the label of row %lld is %g",
		            (long long) row->row_number, row->reward);
	if (job->options.critic->is_indexed &&
	    (row->reward != floor(row->reward) || row->reward < 0 ||
	     row->reward >= job->plan.labels))
		return fail(failure, FAILURE_PROTOCOL,
		            "the label of row %lld is %g, there are %d",
		            (long long) row->row_number, row->reward, job->plan.labels);
	return true;
}

/* A prompt that is a chat becomes the text that the template makes of it, asked
 * to be answered: what alol_chat_prompt() gives, to be judged in the same way. */
static bool
render_prompt(const Job *job, Arena *arena, TextPair *pair, Failure *failure)
{
	char *text;
	size_t length;

	if (pair->prompt == NULL || pair->prompt_length == 0 ||
	    pair->prompt[0] != '\0')
		return true;
	if (!chat_render(tokenizer_chat(model_tokenizer(job->model)), arena,
	                 pair->prompt + 1, pair->prompt_length - 1, true, &text,
	                 &length, failure))
		return false;
	pair->prompt = text;
	pair->prompt_length = length;
	return true;
}

/* The row's tokens, in arena; none is no failure. */
static bool
read_text(const Job *job, Arena *arena, WireReader *items, WireRow *wire,
          DatasetRow *row, Failure *failure)
{
	TextPair pair;
	TokenList ids = {0};
	TokenList types = {0};

	wire_get_row(items, wire);
	if (items->broken)
		return true;
	pair =
		(TextPair){wire->flags & WIRE_ROW_IS_SINGLE ? NULL : wire->prompt,
	               wire->prompt_length, wire->response, wire->response_length};
	if (!check_label(job, wire, failure) ||
	    !render_prompt(job, arena, &pair, failure) ||
	    !classify_encode(job->model, arena, &pair, &ids, &types, failure) ||
	    !first_type(&types, &row->prompt, failure))
		return fail_while(failure, "row %lld", (long long) wire->row_number);
	row->row_number = wire->row_number;
	row->tokens = ids.count;
	row->ids = ids.ids;
	row->reward = wire->reward;
	row->value = row->advantage = NAN;
	row->role = wire->flags & WIRE_ROW_IS_CHOSEN     ? ROW_CHOSEN
	            : wire->flags & WIRE_ROW_IS_REJECTED ? ROW_REJECTED
	                                                 : ROW_ALONE;
	row->prompt_key[0] =
		checksum_add(CHECKSUM_START, wire->prompt, wire->prompt_length);
	row->prompt_key[1] =
		checksum_add(~row->prompt_key[0], wire->prompt, wire->prompt_length);
	return true;
}

/* A text, or a pair of which both are used or neither. */
static void
keep(Job *job, const WireRow *wire, const DatasetRow *row, int count)
{
	DatasetWriter *writer =
		wire->flags & WIRE_ROW_IS_HELD ? &job->held_writer : &job->writer;
	bool is_whole = row[0].tokens > 0 && row[count - 1].tokens > 0;

	if (!is_whole)
		job->empty++;
	for (int i = 0; i < count && is_whole; i++)
		dataset_add(writer, &row[i]);
}

static bool
take_rows(Request *request, Job *job, Failure *failure)
{
	uint32_t count = wire_get_count(&request->items, WIRE_ROW_SIZE_MIN);

	for (uint32_t i = 0; i < count;)
	{
		Arena *arena = arena_create();
		WireRow wire[2] = {0};
		DatasetRow row[2] = {0};
		int texts = 1;
		bool done =
			read_text(job, arena, &request->items, &wire[0], &row[0], failure);

		if (done && wire[0].flags & WIRE_ROW_IS_CHOSEN && i + 1 < count)
		{
			done = read_text(job, arena, &request->items, &wire[1], &row[1],
			                 failure);
			texts = 2;
		}
		if (done && request->items.broken)
			done = fail_items(request, failure);
		if (done && (row[0].role == ROW_REJECTED ||
		             (row[0].role == ROW_CHOSEN) != (texts == 2) ||
		             (texts == 2 && row[1].role != ROW_REJECTED)))
			done = fail(failure, FAILURE_PROTOCOL, "half a pair");
		if (done)
			keep(job, wire, row, texts);
		arena_destroy(arena);
		if (!done)
			return false;
		job->rows++;
		i += (uint32_t) texts;
	}
	return !request->items.broken || fail_items(request, failure);
}

static bool
finish_rows(Job *job, Failure *failure)
{
	job->is_writing = false;
	if (!job_held_finish(job, failure))
		return false;
	if (job->writer.selected == 0)
	{
		dataset_writer_close(&job->writer);
		return true;
	}
	return dataset_finish(&job->writer, job->writer.selected, failure) &&
	       job_open_rows(job, job_path(job, JOB_ROWS_SCORED), failure);
}

bool
critic_take_rows(Request *request, Job *job, Failure *failure)
{
	const Groups *groups = &job->dataset.groups;
	int64_t held;
	bool is_last;

	if (!json_get_bool(request->head, "last", false, &is_last, failure) ||
	    !take_rows(request, job, failure))
		return false;
	held = job->held_writer.selected;
	if (is_last && !finish_rows(job, failure))
		return false;
	return reply_send(
		request, WIRE_RESULT,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rows",
	              (json_int_t) job->rows, "selected",
	              (json_int_t) job->dataset.selected, "held", (json_int_t) held,
	              "empty", (json_int_t) job->empty, "groups",
	              (json_int_t) groups->count, "prompts",
	              (json_int_t) groups->prompts, "lone",
	              (json_int_t) groups->lone, "equal",
	              (json_int_t) groups->equal, "equal_pairs",
	              (json_int_t) groups->equal_pairs, "steps",
	              (json_int_t) job_steps(job)),
		failure);
}
