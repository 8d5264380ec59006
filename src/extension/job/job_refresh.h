/*
 * job_refresh.h
 *		Option refresh_reference: a policy that has learned enough becomes the
 *		reference, and the rest is learned from what the rows are worth to it.
 *
 * The engine stops training at such a step and leaves a checkpoint that says
 * so; whoever opens the job next, at once or after a crash, is told of the new
 * reference.  Then the value is fitted on that one's responses, and the rows
 * are scored, as at the beginning.
 */
#pragma once

#include "job/job_run.h"
#include "job/job_source.h"

/* Raises where a call gives the option and a new reference would change
 * nothing, or could not be found. */
extern void refresh_check(const char *method_name, const Method *method,
                          Jsonb *settings, const JobSources *sources);

/* Takes over what WIRE_JOB_OPEN tells of the reference. */
extern void refresh_take(JobRun *run, Jsonb *opened, bool is_scored);

/* Where the value of the reference is fitted, palloc'd. */
extern char *refresh_value_directory(const JobRun *run);

/* The rows are scored: forgets what only that needed. */
extern void refresh_end(JobRun *run);
