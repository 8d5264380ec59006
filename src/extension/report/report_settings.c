/*
 * report_settings.c
 *		What jobs were told, what they measured and what they said.
 */
#include "alol.h"

#include <math.h>

#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/jsonb.h"

#include "base/json.h"
#include "report/report_axis.h"
#include "report/report_html.h"
#include "report/report_settings.h"

#define TEXT_CHARACTERS 600

/* A line of a table: what each job has, NULL where it has nothing. */
typedef struct Line
{
	const char *name;
	char **value; /* [jobs] */
} Line;

static bool
is_empty(const Line *line, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (line->value[i] != NULL)
			return false;
	}
	return true;
}

static bool
differs(const Line *line, int count)
{
	for (int i = 1; i < count; i++)
	{
		const char *a = line->value[0];
		const char *b = line->value[i];

		if (a == NULL || b == NULL ? a != b : strcmp(a, b) != 0)
			return true;
	}
	return false;
}

static void
put_head(StringInfo out, const char *caption, ReportJob *const *jobs, int count)
{
	appendStringInfo(out,
	                 "<div class=\"scroll\"><table><caption>%s</caption><thead>"
	                 "<tr><td></td>",
	                 caption);
	for (int i = 0; i < count; i++)
		report_job_heading(out, jobs[i], count);
	appendStringInfoString(out, "</tr></thead><tbody>\n");
}

/* marks: a line whose values differ is marked. */
static void
put_line(StringInfo out, const Line *line, int count, bool marks)
{
	bool is_marked = marks && differs(line, count);

	if (is_empty(line, count))
		return;
	appendStringInfo(out, "<tr%s><th scope=\"row\">",
	                 is_marked ? " class=\"differs\"" : "");
	html_text(out, line->name);
	if (is_marked)
		appendStringInfoString(
			out, " <span title=\"differs\" aria-label=\"differs\">&#8800;"
				 "</span>");
	appendStringInfoString(out, "</th>");
	for (int i = 0; i < count; i++)
	{
		appendStringInfoString(out, "<td dir=\"auto\">");
		if (line->value[i] == NULL)
			appendStringInfoString(out, "<span class=\"less\">&#8211;</span>");
		else
			html_clipped(out, line->value[i], TEXT_CHARACTERS);
		appendStringInfoString(out, "</td>");
	}
	appendStringInfoString(out, "</tr>\n");
}

static void
put_end(StringInfo out)
{
	appendStringInfoString(out, "</tbody></table></div>\n");
}

/* --------------------------------------------------------------- results */

/* A number that a job's row has, or its first or last value of a metric. */
typedef struct Result
{
	const char *name;
	const char *metric; /* NULL: by of */
	bool is_first;      /* not the last value */
	char *(*of)(const ReportJob *shown);
} Result;

static char *
number_or_none(double value)
{
	return isnan(value) ? NULL : axis_number(value);
}

static char *
state_of(const ReportJob *shown)
{
	return pstrdup(shown->state);
}

static char *
time_of(const ReportJob *shown)
{
	int64 whole;

	if (isnan(shown->seconds))
		return NULL;
	if (shown->seconds < 10)
		return psprintf("%.1f s", shown->seconds);
	whole = (int64) (shown->seconds + 0.5);
	if (whole < 3600)
		return psprintf("%d:%02d min", (int) (whole / 60), (int) (whole % 60));
	return psprintf(INT64_FORMAT ":%02d h", whole / 3600,
	                (int) (whole / 60 % 60));
}

static char *
steps_of(const ReportJob *shown)
{
	if (isnan(shown->steps))
		return NULL;
	if (shown->steps == shown->steps_planned || isnan(shown->steps_planned))
		return psprintf("%.0f", shown->steps);
	return psprintf("%.0f of %.0f", shown->steps, shown->steps_planned);
}

static char *
speed_of(const ReportJob *shown)
{
	return isnan(shown->tokens_per_second)
	           ? NULL
	           : psprintf("%.0f tokens/s", shown->tokens_per_second);
}

static char *
first_reward_of(const ReportJob *shown)
{
	return number_or_none(shown->first_reward);
}

static char *
best_reward_of(const ReportJob *shown)
{
	if (isnan(shown->best_reward))
		return NULL;
	return psprintf("%s at step %.0f", axis_number(shown->best_reward),
	                shown->best_step);
}

static char *
last_reward_of(const ReportJob *shown)
{
	return number_or_none(shown->last_reward);
}

static const Result results[] = {
	{"state", NULL, false, state_of},
	{"time", NULL, false, time_of},
	{"speed", NULL, false, speed_of},
	{"steps", NULL, false, steps_of},
	{"rows", "rows/total", false, NULL},
	{"rows trained on", "rows/selected", false, NULL},
	{"rows skipped", "rows/skipped", false, NULL},
	{"R2 of the value", "value/r2", false, NULL},
	{"first loss", "loss", true, NULL},
	{"last loss", "loss", false, NULL},
	{"last KL (nats)", "kl", false, NULL},
	{"reward before", NULL, false, first_reward_of},
	{"best reward", NULL, false, best_reward_of},
	{"last reward", NULL, false, last_reward_of},
	{"held-out accuracy", "evaluation/accuracy", false, NULL},
	{"held-out AUC", "evaluation/auc", false, NULL},
	{"held-out R2", "evaluation/r2", false, NULL},
	{"calibration error", "evaluation/ece", false, NULL},
	{"reward", "reward", false, NULL},
	{"perplexity of the references", "perplexity", false, NULL},
	{"words a response", "words", false, NULL},
	{"tokens a response", "tokens", false, NULL},
	{"Distinct-1", "distinct_1", false, NULL},
	{"Distinct-2", "distinct_2", false, NULL},
	{"Distinct-3", "distinct_3", false, NULL},
};

static char *
metric_of(const ReportJob *shown, const char *metric, bool is_first)
{
	Series series;

	series_read(shown->job->id, metric, &series);
	if (series.count == 0)
		return NULL;
	return axis_number(series.value[is_first ? 0 : series.count - 1]);
}

static void
put_metric(StringInfo out, const char *name, const char *metric, bool is_first,
           ReportJob *const *jobs, int count)
{
	Line line = {.name = name, .value = palloc(count * sizeof(char *))};

	for (int i = 0; i < count; i++)
		line.value[i] = metric_of(jobs[i], metric, is_first);
	put_line(out, &line, count, false);
}

/* The components of rewards that any of the jobs measured. */
static void
put_components(StringInfo out, ReportJob *const *jobs, int count)
{
	List *seen = NIL;

	for (int i = 0; i < count; i++)
	{
		int metrics;
		char **names = series_metrics(jobs[i]->job->id, &metrics);

		for (int m = 0; m < metrics; m++)
		{
			String *name = makeString(names[m]);

			if (strncmp(names[m], "reward/", 7) != 0 || list_member(seen, name))
				continue;
			seen = lappend(seen, name);
			put_metric(out, names[m], names[m], false, jobs, count);
		}
	}
}

void
report_numbers(StringInfo out, ReportJob *const *jobs, int count)
{
	put_head(out, "Results", jobs, count);
	for (size_t r = 0; r < lengthof(results); r++)
	{
		const Result *result = &results[r];
		Line line = {.name = result->name,
		             .value = palloc(count * sizeof(char *))};

		if (result->metric != NULL)
		{
			put_metric(out, result->name, result->metric, result->is_first,
			           jobs, count);
			if (strcmp(result->metric, "reward") == 0)
				put_components(out, jobs, count);
			continue;
		}
		for (int i = 0; i < count; i++)
			line.value[i] = result->of(jobs[i]);
		put_line(out, &line, count, false);
	}
	put_end(out);
}

/* -------------------------------------------------------------- settings */

/* A member of a job's settings as text; NULL where it is null or absent. */
static char *
setting_of(Jsonb *settings, const char *key)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue *value;
	Jsonb *json;

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	value = findJsonbValueFromContainer(&settings->root, JB_FOBJECT, &name);
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	json = JsonbValueToJsonb(value);
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

/* Settings that have a column of the job's row, too. */
static bool
is_shown_already(const char *key)
{
	return strcmp(key, "method") == 0;
}

/* The keys of all jobs' settings, each once. */
static List *
list_keys(ReportJob *const *jobs, int count)
{
	List *keys = NIL;

	for (int i = 0; i < count; i++)
	{
		JsonbIterator *iterator =
			JsonbIteratorInit(&jobs[i]->job->settings->root);
		JsonbIteratorToken token;
		JsonbValue value;

		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		{
			String *key;

			if (token != WJB_KEY)
				continue;
			key = makeString(
				pnstrdup(value.val.string.val, value.val.string.len));
			if (!list_member(keys, key) && !is_shown_already(strVal(key)))
				keys = lappend(keys, key);
		}
	}
	return keys;
}

/* Main parameters of the call are given, too. */
static bool
is_main(const char *key)
{
	static const char *const main[] = {"epochs", "steps", "batch_size",
	                                   "learning_rate", "seed"};

	for (size_t i = 0; i < lengthof(main); i++)
	{
		if (strcmp(key, main[i]) == 0)
			return true;
	}
	return false;
}

static void
put_columns(StringInfo out, ReportJob *const *jobs, int count)
{
	Line line = {.value = palloc(count * sizeof(char *))};

#define COLUMN(member)                                                         \
	line.name = #member;                                                       \
	for (int i = 0; i < count; i++)                                            \
		line.value[i] = jobs[i]->job->member;                                  \
	put_line(out, &line, count, true)

	COLUMN(kind);
	COLUMN(method);
	COLUMN(model);
	COLUMN(output);
	COLUMN(source);
	COLUMN(validation);
	COLUMN(reward);
	COLUMN(value);
#undef COLUMN
}

/* Defaults that all jobs have in common, in small print. */
static void
put_defaults(StringInfo out, const List *defaults, int count)
{
	ListCell *cell;

	if (defaults == NIL)
		return;
	appendStringInfo(out,
	                 "<p class=\"less\">Defaults%s:</p><dl class=\"defaults\">",
	                 count > 1 ? ", the same in all" : "");
	foreach (cell, defaults)
	{
		const Line *line = lfirst(cell);

		appendStringInfoString(out, "<div><dt>");
		html_text(out, line->name);
		appendStringInfoString(out, "</dt><dd>");
		html_clipped(out, line->value[0], TEXT_CHARACTERS);
		appendStringInfoString(out, "</dd></div>");
	}
	appendStringInfoString(out, "</dl>\n");
}

void
report_settings(StringInfo out, ReportJob *const *jobs, int count)
{
	List *defaults = NIL;
	ListCell *cell;

	put_head(out,
	         count > 1 ? "Settings; &#8800; marks those that differ"
	                   : "Settings",
	         jobs, count);
	put_columns(out, jobs, count);
	foreach (cell, list_keys(jobs, count))
	{
		const char *key = strVal(lfirst(cell));
		Line *line = palloc(sizeof(Line));
		bool is_given = is_main(key);

		line->name = key;
		line->value = palloc(count * sizeof(char *));
		for (int i = 0; i < count; i++)
		{
			line->value[i] = setting_of(jobs[i]->job->settings, key);
			is_given =
				is_given || setting_of(jobs[i]->job->options, key) != NULL;
		}
		if (is_given || differs(line, count))
			put_line(out, line, count, true);
		else if (!is_empty(line, count))
			defaults = lappend(defaults, line);
	}
	put_end(out);
	put_defaults(out, defaults, count);
}

/* --------------------------------------------------------------- notices */

static void
put_notice(StringInfo out, const ReportJob *shown, const char *severity,
           const char *message)
{
	appendStringInfo(
		out,
		"<li class=\"%s\"><i class=\"key c%d d%d\"></i>job " INT64_FORMAT
		": <b>%s</b> ",
		severity, shown->index % REPORT_COLOURS, shown->index % REPORT_DASHES,
		shown->job->id, severity);
	html_clipped(out, message, TEXT_CHARACTERS);
	appendStringInfoString(out, "</li>\n");
}

bool
report_notices(StringInfo out, ReportJob *const *jobs, int count)
{
	int begin = out->len;

	for (int i = 0; i < count; i++)
	{
		const Job *job = jobs[i]->job;
		JsonbValue *entry;

		if (job->error != NULL)
			put_notice(out, jobs[i], "error", job->error);
		for (uint32 n = 0;
		     (entry = getIthJsonbValueFromContainer(&job->notices->root, n)) !=
		     NULL;
		     n++)
		{
			Jsonb *notice = JsonbValueToJsonb(entry);
			char *severity = json_text(notice, "severity");
			char *message = json_text(notice, "message");
			bool is_warning =
				severity != NULL && strcmp(severity, "warning") == 0;

			put_notice(out, jobs[i], is_warning ? "warning" : "notice",
			           message == NULL ? "" : message);
		}
	}
	return out->len > begin;
}
