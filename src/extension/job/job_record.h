/*
 * job_record.h
 *		What a worker writes down: progress, metrics, samples, notices, state.
 *
 * Each function is a short transaction of its own, except where it says
 * otherwise; called outside of one.
 */
#pragma once

#include "engine/engine.h"
#include "job/job.h"

/* How far a phase is; NaN and -1 where unknown. */
typedef struct JobProgress
{
	const char *phase;
	int64 done;
	int64 total;
	int64 step;
	int64 steps;
	double tokens_per_second;
	double loss;
	int64 memory_bytes;
} JobProgress;

#define JOB_PROGRESS_NONE                                                      \
	{                                                                          \
		.done = -1, .total = -1, .step = -1, .steps = -1,                      \
		.tokens_per_second = NAN, .loss = NAN, .memory_bytes = -1              \
	}

/* Waits for an open transaction that is about to change the job's state. */
extern void job_record_settle(Job *job);

/* The worker's job is running: committed before the work begins.  False when
 * it was cancelled or ended meanwhile. */
extern bool job_record_start(Job *job);

/* What the job's engine computes on. */
extern void job_record_device(Job *job, const char *device);

/* A new phase, written at once. */
extern void job_record_phase(Job *job, const char *phase);

/* Written at most once a second; what is unknown keeps its last value. */
extern void job_record_progress(Job *job, const JobProgress *progress);

/* Writes what was left out for being too soon, before the job ends or starts
 * anew. */
extern void job_record_last_progress(Job *job);

/* Says something to the job's owner: severity is "notice" or "warning". */
extern void job_record_notice(Job *job, const char *severity,
                              const char *message);

/* Buffers a metric; written with others once a second, or by the flush. */
extern void job_record_metric(Job *job, int64 step, const char *name,
                              double value);
extern void job_record_flush(Job *job);

/* The same for those of a WIRE_METRICS event. */
extern void job_record_metrics_frame(Job *job, EngineFrame *event);

/* A checkpoint of step is on disk. */
extern void job_record_checkpoint(Job *job, int64 step);

/* Forgets metrics and samples after a checkpoint's step. */
extern void job_record_rewind(Job *job, int64 step);

/* Rows are in the job's files: a resume needs these. */
extern void job_record_spooled(Job *job);

/* One generated response; reward NaN: none.  Within the caller's writing
 * transaction. */
extern void job_insert_sample(const Job *job, int64 step, int number,
                              const char *prompt, text *response,
                              double reward);

/* failed or cancelled, with what went wrong (NULL: nothing). */
extern void job_record_end(Job *job, const char *state, ErrorData *error);

/* Back in the queue: what spec stands for had too little memory when it was
 * looked at (device_clock()), as the error tells. */
extern void job_record_wait(Job *job, const char *spec, int64 looked_at,
                            ErrorData *error);

/* succeeded; within the caller's writing transaction. */
extern void job_insert_success(const Job *job);
