/*
 * job_critic.c
 *		The rows of a classifier's job: labels, what is held out, and the way to
 *		the engine.
 */
#include "alol.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "job/critic.h"
#include "job/job_record.h"
#include "base/json.h"
#include "inference/prompt.h"

/* Rows of a request, and the most bytes of one. */
#define CHUNK 256
#define REQUEST_SIZE_MAX ((size_t) 64 * 1024 * 1024)

/* Why a row is not used. */
typedef enum CriticSkip
{
	CRITIC_USED,
	CRITIC_NULL_TEXT,
	CRITIC_NULL_PROMPT,
	CRITIC_NULL_LABEL,
	CRITIC_EQUAL_TEXTS,
	CRITIC_UNKNOWN_LABEL,
	CRITIC_SKIPS /* how many there are */
} CriticSkip;

/* A row with what the engine gets of it; texts in the database's encoding. */
typedef struct CriticRow
{
	char *prompt;   /* NULL: a single text */
	bool is_chat;   /* which the model's template makes a text of */
	char *response; /* of a pair the chosen one */
	char *rejected; /* NULL: no pair */
	double label;
	bool is_held;
} CriticRow;

/* --------------------------------------------------------------- labels */

/* NULL where the row has none; booleans in words. */
static char *
label_name(const JobRows *rows, AttrNumber column, HeapTuple tuple)
{
	TupleDesc columns = rows->names->columns;
	char *name = source_text(tuple, columns, column);
	Oid type = TupleDescAttr(columns, column - 1)->atttypid;

	if (name != NULL && getBaseType(type) == BOOLOID)
		return name[0] == 't' ? "true" : "false";
	return name;
}

static bool
are_numbers(const JobRows *rows, AttrNumber column)
{
	Oid type = TupleDescAttr(rows->names->columns, column - 1)->atttypid;
	char category;
	bool preferred;

	get_type_category_preferred(getBaseType(type), &category, &preferred);
	return category == TYPCATEGORY_NUMERIC;
}

/* A number that is finite; false when it is NULL. */
static bool
take_number(const JobRows *rows, AttrNumber column, HeapTuple tuple,
            int64 number, double *label)
{
	if (!source_number(tuple, rows->names->columns, column, label))
		return false;
	if (!isfinite(*label))
		ereport(ERROR,
		        (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
		         errmsg("label of row " INT64_FORMAT " is %s", number + 1,
		                isnan(*label) ? "NaN"
		                : *label > 0  ? "Infinity"
		                              : "-Infinity")));
	return true;
}

static void
fail_constant(const char *values, int64 count)
{
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         count == 0
	             ? errmsg("no row has a label and a text")
	             : errmsg("label has one value only: %s in all " INT64_FORMAT
	                      " rows",
	                      values, count),
	         errhint("There must be rows to tell apart.")));
}

/* The range of the labels that are numbers, or all of their names. */
typedef struct LabelSums
{
	int64 rows; /* with a text and a label */
	double low;
	double high;
} LabelSums;

static void
look_at_label(JobRun *run, int64 number, LabelSums *sums)
{
	JobRows *rows = run->rows;
	const Source *names = rows->names;
	Critic *critic = run->critic;
	HeapTuple tuple = spool_row(rows->spool, number);
	double label = 0;

	if (heap_attisnull(tuple, names->response, names->columns))
		return;
	if (critic->is_indexed)
	{
		char *name = label_name(rows, critic->label, tuple);

		if (name == NULL)
			return;
		labels_add(critic->labels, name);
	}
	else if (!take_number(rows, critic->label, tuple, number, &label))
		return;
	sums->low = sums->rows == 0 ? label : Min(sums->low, label);
	sums->high = sums->rows == 0 ? label : Max(sums->high, label);
	sums->rows++;
}

/* All labels of the source, and that they differ. */
static void
find_labels(JobRun *run)
{
	Critic *critic = run->critic;
	LabelSums sums = {0};
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "alol row",
	                                          ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved;

	if (critic->is_indexed)
		critic->labels = labels_create(are_numbers(run->rows, critic->label));
	saved = MemoryContextSwitchTo(row);
	for (int64 i = 0; i < run->rows->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_at_label(run, i, &sums);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(row);
	if (critic->is_indexed)
		labels_finish(critic->labels);
	if (critic->is_indexed && critic->labels->count == 1)
		fail_constant(psprintf("\"%s\"", critic->labels->name[0]), sums.rows);
	if (sums.rows == 0 || (!critic->is_indexed && sums.low == sums.high))
		fail_constant(psprintf("%g", sums.low), sums.rows);
}

static void
open_rows(JobRun *run)
{
	Critic *critic = run->critic;
	Jsonb *settings = run->job->settings;

	critic->is_indexed = strcmp(run->job->method, CRITIC_CLASSIFICATION) == 0;
	critic->label = critic_label(run->rows->names, settings);
	run->has_pairs = critic->label == 0;
	run->rows->holds_texts = true;
	if (run->validation != run->rows)
		critic->held_label = critic_label(run->validation->names, settings);
	else
		rows_hold_out(run->rows);
	if (critic->label != 0)
		find_labels(run);
}

void
critic_open(JobRun *run)
{
	run->critic = palloc0(sizeof(Critic));
	if (run->rows->count == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA), errmsg("source has no rows")));
	open_rows(run);
}

char *
critic_labels_json(const JobRun *run)
{
	const Labels *labels = run->critic == NULL ? NULL : run->critic->labels;
	StringInfoData json;

	if (labels == NULL)
		return NULL;
	initStringInfo(&json);
	for (int i = 0; i < labels->count; i++)
	{
		appendStringInfoChar(&json, i == 0 ? '[' : ',');
		json_append_text(&json, labels->name[i]);
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

/* ----------------------------------------------------------------- rows */

static CriticSkip
take_label(JobRun *run, const JobRows *rows, HeapTuple tuple, int64 number,
           CriticRow *row)
{
	Critic *critic = run->critic;
	AttrNumber column = rows == run->rows ? critic->label : critic->held_label;
	char *name;
	int index;

	if (run->has_pairs)
		return CRITIC_USED;
	if (!critic->is_indexed)
		return take_number(rows, column, tuple, number, &row->label)
		           ? CRITIC_USED
		           : CRITIC_NULL_LABEL;
	name = label_name(rows, column, tuple);
	if (name == NULL)
		return CRITIC_NULL_LABEL;
	index = labels_find(critic->labels, name);
	row->label = index;
	return index < 0 ? CRITIC_UNKNOWN_LABEL : CRITIC_USED;
}

static CriticSkip
read_row(JobRun *run, const JobRows *rows, int64 number, CriticRow *row)
{
	HeapTuple tuple = spool_row(rows->spool, number);
	bool compares = method_ranks(&run->method);

	memset(row, 0, sizeof(*row));
	row->prompt = rows_prompt(rows, tuple);
	row->is_chat = rows_have_chats(rows);
	if (!run->has_pairs)
		row->response = rows_response(rows, tuple);
	else if (!rows_pair(rows, tuple, &row->response, &row->rejected))
		return CRITIC_NULL_TEXT;
	if (row->response == NULL)
		return CRITIC_NULL_TEXT;
	if (compares && !run->has_pairs && row->prompt == NULL)
		return CRITIC_NULL_PROMPT;
	if (row->rejected != NULL && strcmp(row->response, row->rejected) == 0)
		return CRITIC_EQUAL_TEXTS;
	row->is_held =
		rows != run->rows ||
		rows_is_held(rows, row->prompt != NULL ? row->prompt : row->response);
	return take_label(run, rows, tuple, number, row);
}

static void
put_text(const CriticRow *row, int64 number, const char *text, uint8 flags,
         WireBuffer *items)
{
	WireRow wire = {0};

	wire.row_number = number + 1;
	wire.flags = flags | (row->is_held ? WIRE_ROW_IS_HELD : 0) |
	             (row->prompt == NULL ? WIRE_ROW_IS_SINGLE : 0);
	if (row->prompt != NULL)
		wire.prompt =
			prompt_to_utf8(row->prompt, row->is_chat, &wire.prompt_length);
	else
		wire.prompt = "";
	wire.response = text_to_utf8(text, strlen(text), &wire.response_length);
	wire.reward = row->label;
	wire_put_row(items, &wire);
}

/* Rows [first, ...) until the request is full; returns behind the last. */
static int64
fill_request(JobRun *run, const JobRows *rows, int64 first, int64 *skipped,
             WireBuffer *items, uint32 *count)
{
	MemoryContext saved = job_begin_read();
	int64 number = first;

	while (number < rows->count && number - first < CHUNK &&
	       items->size < REQUEST_SIZE_MAX)
	{
		CriticRow row;
		CriticSkip skip = read_row(run, rows, number, &row);

		skipped[skip]++;
		if (skip == CRITIC_USED && row.rejected != NULL)
		{
			put_text(&row, number, row.response, WIRE_ROW_IS_CHOSEN, items);
			put_text(&row, number, row.rejected, WIRE_ROW_IS_REJECTED, items);
			*count += 2;
		}
		else if (skip == CRITIC_USED)
		{
			put_text(&row, number, row.response, WIRE_ROW_HAS_REWARD, items);
			(*count)++;
		}
		number++;
	}
	job_commit(saved);
	return number;
}

/* One request; returns behind the last row, and what the engine says. */
static int64
send_chunk(JobRun *run, const JobRows *rows, int64 first, bool may_end,
           int64 *skipped, EngineFrame *result)
{
	WireBuffer items = engine_payload("");
	WireBuffer payload;
	uint32 count = 0;
	StringInfoData json;
	int64 next;

	items.size = 0;
	next = fill_request(run, rows, first, skipped, &items, &count);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_bool(&json, "last", may_end && next >= rows->count);
	appendStringInfoChar(&json, '}');
	payload = engine_payload(json.data);
	wire_put_u32(&payload, count);
	wire_put_bytes(&payload, items.data, items.size);
	engine_ask(run->engine, WIRE_JOB_ROWS, payload, result);
	return next;
}

static void
show_rows(JobRun *run, int64 done)
{
	JobProgress progress = JOB_PROGRESS_NONE;

	progress.phase = "scoring";
	progress.done = done;
	progress.total =
		run->rows->count +
		(run->validation == run->rows ? 0 : run->validation->count);
	job_record_progress(run->job, &progress);
}

/* All rows of a file; result holds the engine's last answer, in the current
 * memory context. */
static void
send_rows(JobRun *run, const JobRows *rows, int64 before, bool may_end,
          int64 *skipped, EngineFrame *result)
{
	MemoryContext context = CurrentMemoryContext;
	int64 next = 0;

	do
	{
		MemoryContext chunk = AllocSetContextCreate(context, "alol chunk",
		                                            ALLOCSET_DEFAULT_SIZES);
		bool is_last;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(chunk);
		next = send_chunk(run, rows, next, may_end, skipped, result);
		is_last = next >= rows->count;
		MemoryContextSwitchTo(context);
		if (is_last)
			break; /* the answer lives in it, and goes with the attempt */
		MemoryContextDelete(chunk);
		show_rows(run, before + next);
	} while (true);
}

/* ---------------------------------------------------- what became of them */

static char *
list_skipped(const int64 *skipped, int64 empty)
{
	static const char *const reasons[CRITIC_SKIPS] = {
		[CRITIC_NULL_TEXT] = "with a null text",
		[CRITIC_NULL_PROMPT] = "with a null prompt",
		[CRITIC_NULL_LABEL] = "with a null label",
		[CRITIC_EQUAL_TEXTS] = "with two equal texts",
		[CRITIC_UNKNOWN_LABEL] = "with a label that the source does not have",
	};
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < CRITIC_SKIPS; i++)
	{
		if (reasons[i] == NULL || skipped[i] == 0)
			continue;
		appendStringInfo(&list, "%s" INT64_FORMAT " %s",
		                 list.len > 0 ? ", " : "", skipped[i], reasons[i]);
	}
	if (empty > 0)
		appendStringInfo(&list, "%s" INT64_FORMAT " with a text of no tokens",
		                 list.len > 0 ? ", " : "", empty);
	return list.data;
}

static void
fail_without_rows(JobRun *run, const char *skipped, Jsonb *answer)
{
	if (method_ranks(&run->method) && !run->has_pairs)
		ereport(ERROR,
		        (errcode(ERRCODE_NO_DATA),
		         errmsg("no prompt has two responses with different labels"),
		         errdetail("Of " INT64_FORMAT " prompts " INT64_FORMAT
		                   " have one response and " INT64_FORMAT
		                   " responses with equal labels.",
		                   json_int(answer, "prompts", 0),
		                   json_int(answer, "lone", 0),
		                   json_int(answer, "equal", 0)),
		         errhint("Objective pairwise compares responses to the same "
		                 "prompt, rows with the same text.")));
	ereport(ERROR,
	        (errcode(ERRCODE_NO_DATA), errmsg("no row is left to train on"),
	         skipped[0] == '\0'
	             ? 0
	             : errdetail("Rows were skipped: %s.", skipped)));
}

static void
report_rows(JobRun *run, const int64 *skipped, Jsonb *answer)
{
	Job *job = run->job;
	int64 empty = json_int(answer, "empty", 0);
	int64 groups = json_int(answer, "groups", 0);
	int texts = run->has_pairs ? 2 : 1;
	int64 held = json_int(answer, "held", 0) / texts;
	int64 left_out = empty;
	char *reasons = list_skipped(skipped, empty);

	if (groups == 0)
		fail_without_rows(run, reasons, answer);
	for (int i = CRITIC_USED + 1; i < CRITIC_SKIPS; i++)
		left_out += skipped[i];
	job_record_metric(job, 0, "rows/total",
	                  (double) (left_out - empty + skipped[CRITIC_USED]));
	job_record_metric(job, 0, "rows/skipped", (double) left_out);
	job_record_metric(job, 0, "rows/selected",
	                  (double) (json_int(answer, "selected", 0) / texts));
	job_record_metric(job, 0, "rows/held_out", (double) held);
	job_record_flush(job);
	if (run->critic->is_indexed)
		job_record_notice(
			job, "notice",
			psprintf("labels are %s", labels_list(run->critic->labels)));
	if (left_out > 0)
		job_record_notice(
			job, "notice",
			psprintf(INT64_FORMAT " rows are skipped: %s", left_out, reasons));
}

void
critic_take_rows(JobRun *run)
{
	int64 skipped[CRITIC_SKIPS] = {0};
	bool has_validation = run->validation != run->rows;
	EngineFrame answer;

	job_record_phase(run->job, "scoring");
	if (has_validation)
		send_rows(run, run->validation, run->rows->count, false, skipped,
		          &answer);
	send_rows(run, run->rows, 0, true, skipped, &answer);
	report_rows(run, skipped, answer.head);
}

/* Without the trifle by which the engine decides between equal measures. */
static double
shown(double measure)
{
	return rint(measure * 1e6) / 1e6 + 0;
}

void
critic_report(JobRun *run, Jsonb *result)
{
	double best = json_float(result, "best_reward", NAN);
	double first = json_float(result, "start_reward", NAN);
	const char *measure =
		strcmp(run->job->method, CRITIC_REGRESSION) == 0 ? "R2" : "accuracy";

	if (isnan(best))
		job_record_notice(run->job, "notice",
		                  "there are no held-out rows with different labels "
		                  "to choose a step by: the last one is kept");
	/* Where none is better the engine has said so. */
	if (isnan(best) || isnan(first) || best <= first ||
	    !json_bool(run->job->settings, "keep_best", true))
		return;
	job_record_notice(run->job, "notice",
	                  psprintf("the weights of step " INT64_FORMAT
	                           " are kept: %s %.4g on "
	                           "held-out rows, %.4g before training",
	                           json_int(result, "step", 0), measure,
	                           shown(best), shown(first)));
}
