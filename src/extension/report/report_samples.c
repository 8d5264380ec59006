/*
 * report_samples.c
 *		The best and the worst of what a policy said.
 *
 * A training job is shown by its best step, or its last one where none is
 * better than before; what it said to the same prompt before it was trained stands beside.
 */
#include "alol.h"

#include <math.h>

#include "report/report_axis.h"
#include "report/report_html.h"
#include "report/report_samples.h"
#include "base/statement.h"

/* Of each kind, and how much of their texts is shown. */
#define SAMPLES 3
#define PROMPT_CHARACTERS 700
#define RESPONSE_CHARACTERS 1200

typedef struct Sample
{
	char *prompt;
	char *response;
	double reward; /* NaN: none */
	char *before;  /* NULL: nothing */
	double reward_before;
} Sample;

typedef struct Samples
{
	int64 step;
	int64 total; /* of this step */
	bool has_rewards;
	int count;
	Sample best[SAMPLES];
	int worst_count;
	Sample worst[SAMPLES];
} Samples;

/* The step that is shown; false when the job has no samples.  Within the
 * owner's scope, as all that reads here. */
static bool
find_step(const ReportJob *shown, Samples *samples)
{
	Statement statement = {0};

	statement_int(&statement, shown->job->id);
	statement_float(&statement, shown->kept_step);
	if (statement_read(&statement,
	                   "SELECT step, count(*), count(reward) > 0 FROM "
	                   "@schema@.alol_sample WHERE job = $1 GROUP BY step "
	                   "ORDER BY step = $2 DESC NULLS LAST, step DESC LIMIT "
	                   "1") == 0)
		return false;
	samples->step = result_int(0, 1);
	samples->total = result_int(0, 2);
	samples->has_rewards = result_bool(0, 3);
	return true;
}

static int
read_samples(const ReportJob *shown, const Samples *samples, bool is_best,
             int limit, MemoryContext context, Sample *found)
{
	Statement statement = {0};
	int count;

	statement_int(&statement, shown->job->id);
	statement_int(&statement, samples->step);
	statement_int(&statement, limit);
	count = (int) statement_read(
		&statement,
		psprintf("SELECT s.prompt, s.response, s.reward, b.response, b.reward "
	             "FROM @schema@.alol_sample s LEFT JOIN @schema@.alol_sample b "
	             "ON b.job = s.job AND b.number = s.number AND b.step = 0 AND "
	             "s.step > 0 WHERE s.job = $1 AND s.step = $2 ORDER BY "
	             "s.reward %s NULLS LAST, s.number LIMIT $3",
	             is_best ? "DESC" : "ASC"));
	for (int i = 0; i < count; i++)
	{
		found[i].prompt = result_text(context, i, 1);
		found[i].response = result_text(context, i, 2);
		found[i].reward = result_float(i, 3);
		found[i].before = result_text(context, i, 4);
		found[i].reward_before = result_float(i, 5);
	}
	return count;
}

/* ------------------------------------------------------------------- page */

static void
put_response(StringInfo out, const char *label, const char *response,
             double reward)
{
	appendStringInfo(out, "<div class=\"said\"><h5>%s", label);
	if (!isnan(reward))
		appendStringInfo(out, " <span class=\"reward\">%s</span>",
		                 axis_number(reward));
	appendStringInfoString(out, "</h5><p dir=\"auto\">");
	if (response[0] == '\0')
		appendStringInfoString(out, "<i>nothing</i>");
	html_clipped(out, response, RESPONSE_CHARACTERS);
	appendStringInfoString(out, "</p></div>");
}

static void
put_samples(StringInfo out, const char *title, const Sample *samples, int count)
{
	if (count == 0)
		return;
	appendStringInfo(out, "<h4>%s</h4>\n", title);
	for (int i = 0; i < count; i++)
	{
		const Sample *sample = &samples[i];

		appendStringInfoString(out, "<article class=\"sample\"><p "
		                            "class=\"prompt\" dir=\"auto\">");
		html_clipped(out, sample->prompt, PROMPT_CHARACTERS);
		appendStringInfoString(out, "</p><div class=\"pair\">");
		if (sample->before != NULL)
			put_response(out, "Before", sample->before, sample->reward_before);
		put_response(out, sample->before == NULL ? "Response" : "After",
		             sample->response, sample->reward);
		appendStringInfoString(out, "</div></article>\n");
	}
}

bool
report_samples(StringInfo out, const ReportJob *shown)
{
	MemoryContext context = CurrentMemoryContext;
	Samples samples = {0};
	OwnerScope scope;
	bool any;

	owner_begin(&scope);
	any = find_step(shown, &samples);
	if (any)
		samples.count =
			read_samples(shown, &samples, true, SAMPLES, context, samples.best);
	/* Few samples are not the best and the worst at once. */
	if (any && samples.has_rewards && samples.total > SAMPLES)
		samples.worst_count = read_samples(
			shown, &samples, false, (int) Min(SAMPLES, samples.total - SAMPLES),
			context, samples.worst);
	owner_end(&scope);
	if (!any)
		return false;
	appendStringInfo(out,
	                 "<p class=\"less\">of " INT64_FORMAT " samples%s</p>\n",
	                 samples.total,
	                 strcmp(shown->job->kind, "evaluate") == 0
	                     ? ""
	                     : psprintf(" at step " INT64_FORMAT, samples.step));
	put_samples(out, samples.has_rewards ? "Best" : "The first", samples.best,
	            samples.count);
	put_samples(out, "Worst", samples.worst, samples.worst_count);
	return true;
}
