/*
 * job_record.c
 *		What a worker writes down about its job.
 */
#include "alol.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "job/job_record.h"
#include "job/job_run.h"
#include "base/json.h"
#include "base/statement.h"

#define WRITE_INTERVAL_MS 1000

/* ---------------------------------------------------------- transactions */

/* Runs one statement on the job, whose id is its $1, in a transaction; the
 * number of rows. */
static uint64
write_alone(Statement *statement, const char *query)
{
	MemoryContext saved = job_begin_write();
	OwnerScope scope;
	uint64 count;

	owner_begin(&scope);
	count = statement_write(statement, query);
	owner_end(&scope);
	job_commit(saved);
	return count;
}

/* Statements are built in memory that goes when they have run. */
static MemoryContext
scratch_begin(MemoryContext *scratch)
{
	*scratch = AllocSetContextCreate(CurrentMemoryContext, "alol record",
	                                 ALLOCSET_SMALL_SIZES);
	return MemoryContextSwitchTo(*scratch);
}

static void
scratch_end(MemoryContext scratch, MemoryContext saved)
{
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(scratch);
}

/* The phase under way, and what is known of it and not written, as it came too
 * soon after what was; phase NULL: nothing is. */
static char phase_now[32];
static JobProgress unwritten = JOB_PROGRESS_NONE;

/* --------------------------------------------------------------- metrics */

/* Metrics that wait to be written. */
typedef struct MetricBuffer
{
	int count;
	int capacity;
	int64 *step;
	char **name;
	double *value;
	TimestampTz *at;
	MemoryContext context;
	TimestampTz written_at;
} MetricBuffer;

static MetricBuffer metrics;

static void
grow_metrics(void)
{
	int capacity = metrics.capacity == 0 ? 256 : metrics.capacity * 2;
	MemoryContext saved;

	if (metrics.context == NULL)
		metrics.context = AllocSetContextCreate(
			TopMemoryContext, "alol metrics", ALLOCSET_DEFAULT_SIZES);
	saved = MemoryContextSwitchTo(metrics.context);
	if (metrics.capacity == 0)
	{
		metrics.step = palloc(capacity * sizeof(int64));
		metrics.name = palloc(capacity * sizeof(char *));
		metrics.value = palloc(capacity * sizeof(double));
		metrics.at = palloc(capacity * sizeof(TimestampTz));
	}
	else
	{
		metrics.step = repalloc(metrics.step, capacity * sizeof(int64));
		metrics.name = repalloc(metrics.name, capacity * sizeof(char *));
		metrics.value = repalloc(metrics.value, capacity * sizeof(double));
		metrics.at = repalloc(metrics.at, capacity * sizeof(TimestampTz));
	}
	metrics.capacity = capacity;
	MemoryContextSwitchTo(saved);
}

static void
forget_metrics(void)
{
	if (metrics.context != NULL)
		MemoryContextReset(metrics.context);
	metrics.count = metrics.capacity = 0;
	metrics.written_at = GetCurrentTimestamp();
}

void
job_record_flush(Job *job)
{
	MemoryContext scratch;
	MemoryContext saved;
	MemoryContext outside;
	Statement statement = {0};
	OwnerScope scope;
	Datum *steps;
	Datum *names;
	Datum *values;
	Datum *times;

	if (metrics.count == 0)
		return;
	saved = scratch_begin(&scratch);
	outside = job_begin_write();
	steps = palloc(metrics.count * sizeof(Datum));
	names = palloc(metrics.count * sizeof(Datum));
	values = palloc(metrics.count * sizeof(Datum));
	times = palloc(metrics.count * sizeof(Datum));
	for (int i = 0; i < metrics.count; i++)
	{
		steps[i] = Int64GetDatum(metrics.step[i]);
		names[i] = CStringGetTextDatum(metrics.name[i]);
		values[i] = Float8GetDatum(metrics.value[i]);
		times[i] = TimestampTzGetDatum(metrics.at[i]);
	}
	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_oid(&statement, job->owner);
	statement_array(&statement, INT8OID, steps, NULL, metrics.count);
	statement_array(&statement, TEXTOID, names, NULL, metrics.count);
	statement_array(&statement, FLOAT8OID, values, NULL, metrics.count);
	statement_array(&statement, TIMESTAMPTZOID, times, NULL, metrics.count);
	/* Of one metric and step said twice the later counts. */
	statement_write(
		&statement,
		"INSERT INTO @schema@.alol_metric (job, owner, step, metric, value, "
		"at) SELECT DISTINCT ON (m.metric, m.step) $1, $2::regrole, m.step, "
		"m.metric, m.value, m.at FROM unnest($3, $4, $5, $6) WITH ORDINALITY "
		"AS m (step, metric, value, at, number) ORDER BY m.metric, m.step, "
		"m.number DESC ON CONFLICT (job, metric, step) DO UPDATE SET value = "
		"excluded.value, at = excluded.at");
	owner_end(&scope);
	job_commit(outside);
	scratch_end(scratch, saved);
	forget_metrics();
}

void
job_record_metric(Job *job, int64 step, const char *name, double value)
{
	TimestampTz now = GetCurrentTimestamp();

	/* What was not measured has no row. */
	if (isnan(value))
		return;
	if (metrics.count == metrics.capacity)
		grow_metrics();
	metrics.step[metrics.count] = step;
	metrics.name[metrics.count] = MemoryContextStrdup(metrics.context, name);
	metrics.value[metrics.count] = value;
	metrics.at[metrics.count] = now;
	metrics.count++;
	if (TimestampDifferenceExceeds(metrics.written_at, now, WRITE_INTERVAL_MS))
		job_record_flush(job);
}

void
job_record_metrics_frame(Job *job, EngineFrame *event)
{
	int64 step = json_int(event->head, "step", 0);
	uint32 count = wire_get_count(&event->items, 4 + 8);

	if (strcmp(phase_now, "training") == 0)
	{
		unwritten.phase = phase_now;
		unwritten.step = step;
	}
	for (uint32 i = 0; i < count; i++)
	{
		size_t length;
		const char *name = wire_get_text(&event->items, &length);
		double value = wire_get_f64(&event->items);

		if (event->items.broken)
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
			                errmsg("the engine sent broken metrics")));
		job_record_metric(job, step, pnstrdup(name, (Size) length), value);
	}
}

/* -------------------------------------------------------------- progress */

/* What is being measured, for the time that is left of it. */
typedef struct Clock
{
	TimestampTz started_at;
	int64 first; /* what was done when it started; -1: not started */
} Clock;

static Clock phase_clock;
static TimestampTz progress_written_at;

/* Steps, with the evaluations between them: the time that the whole job
 * takes. */
static Clock step_clock = {.first = -1};
static int64 last_step = -1;
static int64 last_steps = -1;

static void
start_clock(Clock *clock, int64 done)
{
	clock->started_at = GetCurrentTimestamp();
	clock->first = done;
}

static void
start_phase(const char *phase, int64 done)
{
	strlcpy(phase_now, phase, sizeof(phase_now));
	start_clock(&phase_clock, done);
}

/* Seconds until done is total, at the speed it had so far; or NaN. */
static double
time_left(const Clock *clock, int64 done, int64 total, TimestampTz now)
{
	double seconds = (double) (now - clock->started_at) / USECS_PER_SEC;

	if (clock->first < 0 || total < 0 || done <= clock->first || done > total)
		return NAN;
	return seconds / (double) (done - clock->first) * (double) (total - done);
}

static double
seconds_left(const JobProgress *progress, TimestampTz now)
{
	if (progress->step >= 0)
	{
		if (step_clock.first < 0)
			start_clock(&step_clock, progress->step);
		last_step = progress->step;
		last_steps = progress->steps;
	}
	if (last_step >= 0)
		return time_left(&step_clock, last_step, last_steps, now);
	return time_left(&phase_clock, progress->done, progress->total, now);
}

/* A parameter that is NULL below 0. */
static void
known_int(Statement *statement, int64 value)
{
	if (value < 0)
		statement_id(statement, 0);
	else
		statement_int(statement, value);
}

static void
write_progress(Job *job, const JobProgress *progress, TimestampTz now)
{
	MemoryContext scratch;
	MemoryContext saved = scratch_begin(&scratch);
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_oid(&statement, job->owner);
	statement_text(&statement, progress->phase);
	known_int(&statement, progress->done);
	known_int(&statement, progress->total);
	statement_float(&statement, seconds_left(progress, now));
	known_int(&statement, progress->step);
	known_int(&statement, progress->steps);
	statement_float(&statement, progress->tokens_per_second);
	statement_float(&statement, progress->loss);
	known_int(&statement, progress->memory_bytes);
	write_alone(
		&statement,
		"INSERT INTO @schema@.alol_job_progress AS p (job, owner, phase, "
		"done, total, seconds_left, step, steps, tokens_per_second, loss, "
		"memory_bytes) VALUES ($1, $2::regrole, $3, $4, $5, $6, $7, $8, $9, "
		"$10, $11) ON CONFLICT (job) DO UPDATE SET phase = excluded.phase, "
		"done = excluded.done, total = excluded.total, seconds_left = "
		"excluded.seconds_left, step = coalesce(excluded.step, p.step), steps "
		"= coalesce(excluded.steps, p.steps), tokens_per_second = "
		"coalesce(excluded.tokens_per_second, p.tokens_per_second), loss = "
		"coalesce(excluded.loss, p.loss), memory_bytes = "
		"greatest(excluded.memory_bytes, p.memory_bytes)");
	scratch_end(scratch, saved);
	progress_written_at = now;
	unwritten = (JobProgress) JOB_PROGRESS_NONE;
}

void
job_record_phase(Job *job, const char *phase)
{
	JobProgress progress = JOB_PROGRESS_NONE;

	progress.phase = phase;
	start_phase(phase, 0);
	last_step = last_steps = step_clock.first = -1;
	write_progress(job, &progress, GetCurrentTimestamp());
}

void
job_record_progress(Job *job, const JobProgress *progress)
{
	TimestampTz now = GetCurrentTimestamp();

	if (strcmp(phase_now, progress->phase) != 0)
		start_phase(progress->phase, Max(progress->done, 0));
	else if (!TimestampDifferenceExceeds(progress_written_at, now,
	                                     WRITE_INTERVAL_MS) &&
	         progress->done != progress->total)
	{
		unwritten = *progress;
		unwritten.phase = phase_now;
		return;
	}
	write_progress(job, progress, now);
}

void
job_record_last_progress(Job *job)
{
	if (unwritten.phase != NULL)
		write_progress(job, &unwritten, GetCurrentTimestamp());
}

/* ----------------------------------------------------------------- state */

void
job_record_settle(Job *job)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	write_alone(&statement,
	            "SELECT FROM @schema@.alol_job WHERE id = $1 FOR SHARE");
}

bool
job_record_start(Job *job)
{
	Statement statement = {0};
	bool is_restart = strcmp(job->state, "running") == 0;

	statement_int(&statement, job->id);
	statement_int(&statement, MyProcPid);
	statement_int(&statement, is_restart ? 1 : 0);
	return write_alone(
			   &statement,
			   "UPDATE @schema@.alol_job SET state = 'running', pid = $2, "
			   "starts = starts + $3, started_at = coalesce(started_at, "
			   "clock_timestamp()), finished_at = NULL, sqlstate = NULL, "
			   "error = NULL, detail = NULL, hint = NULL, context = NULL, "
			   "waits_for = NULL WHERE id = $1 AND state IN ('queued', 'running')") >
	       0;
}

void
job_record_device(Job *job, const char *device)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_text(&statement, device);
	write_alone(&statement,
	            "UPDATE @schema@.alol_job SET device = $2 WHERE id = $1 AND "
	            "device IS DISTINCT FROM $2");
}

void
job_record_notice(Job *job, const char *severity, const char *message)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_text(&statement, severity);
	statement_text(&statement, message);
	/* A resumed job says the same things again. */
	write_alone(&statement,
	            "UPDATE @schema@.alol_job SET notices = notices || "
	            "jsonb_build_object('severity', $2, 'message', $3) "
	            "WHERE id = $1 AND NOT notices @> jsonb_build_array("
	            "jsonb_build_object('message', $3))");
}

void
job_record_checkpoint(Job *job, int64 step)
{
	Statement statement = {0};

	job_record_flush(job);
	statement_int(&statement, job->id);
	statement_int(&statement, step);
	write_alone(&statement, "UPDATE @schema@.alol_job SET checkpoint = $2, "
	                        "starts = 0 WHERE id = $1");
	job->checkpoint = step;
}

void
job_record_rewind(Job *job, int64 step)
{
	MemoryContext saved;
	Statement metric = {0};
	Statement sample = {0};
	OwnerScope scope;

	forget_metrics();
	saved = job_begin_write();
	owner_begin(&scope);
	statement_int(&metric, job->id);
	statement_int(&metric, step);
	/* Those of rows and value were measured before the first step. */
	statement_write(&metric, "DELETE FROM @schema@.alol_metric WHERE job = $1 "
	                         "AND step > $2 AND metric NOT LIKE 'rows/%' AND "
	                         "metric NOT LIKE 'value/%'");
	statement_int(&sample, job->id);
	statement_int(&sample, step);
	statement_write(&sample, "DELETE FROM @schema@.alol_sample WHERE job = $1 "
	                         "AND step > $2");
	owner_end(&scope);
	job_commit(saved);
}

void
job_record_spooled(Job *job)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	write_alone(&statement,
	            "UPDATE @schema@.alol_job SET is_spooled = true WHERE id = $1");
	job->is_spooled = true;
}

void
job_insert_sample(const Job *job, int64 step, int number, const char *prompt,
                  text *response, double reward)
{
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_oid(&statement, job->owner);
	statement_int(&statement, step);
	statement_int(&statement, number);
	statement_text(&statement, prompt);
	statement_datum(&statement, TEXTOID, PointerGetDatum(response));
	statement_float(&statement, reward);
	statement_write(
		&statement,
		"INSERT INTO @schema@.alol_sample (job, owner, step, "
		"number, prompt, response, reward) VALUES ($1, "
		"$2::regrole, $3, $4, $5, $6, $7) ON CONFLICT (job, step, "
		"number) DO UPDATE SET response = excluded.response, reward "
		"= coalesce(excluded.reward, alol_sample.reward)");
	owner_end(&scope);
}

void
job_record_end(Job *job, const char *state, ErrorData *error)
{
	Statement statement = {0};

	statement_int(&statement, job->id);
	statement_text(&statement, state);
	statement_text(&statement,
	               error == NULL ? NULL : unpack_sql_state(error->sqlerrcode));
	statement_text(&statement, error == NULL ? NULL : error->message);
	statement_text(&statement, error == NULL ? NULL : error->detail);
	statement_text(&statement, error == NULL ? NULL : error->hint);
	statement_text(&statement, error == NULL ? NULL : error->context);
	write_alone(
		&statement,
		"UPDATE @schema@.alol_job SET state = $2, sqlstate = $3, "
		"error = $4, detail = $5, hint = $6, context = $7, finished_at = "
		"clock_timestamp(), pid = NULL WHERE id = $1");
}

void
job_record_wait(Job *job, const char *spec, int64 looked_at, ErrorData *error)
{
	Statement statement = {0};

	/* Once, not after every look. */
	if (job->waits_for == NULL)
		job_record_notice(
			job, "notice",
			psprintf("%s: the job waits until others give memory back",
		             error->message));
	statement_int(&statement, job->id);
	statement_text(&statement, spec);
	statement_int(&statement, looked_at);
	statement_text(&statement, error->message);
	write_alone(&statement,
	            "UPDATE @schema@.alol_job SET state = 'queued', pid = NULL, "
	            "waits_for = $2, waits_since = $3, detail = $4 WHERE id = $1");
}

void
job_insert_success(const Job *job)
{
	Statement statement = {0};
	OwnerScope scope;

	owner_begin(&scope);
	statement_int(&statement, job->id);
	statement_write(&statement,
	                "UPDATE @schema@.alol_job SET state = 'succeeded', "
	                "finished_at = clock_timestamp(), pid = NULL "
	                "WHERE id = $1");
	owner_end(&scope);
}
