/*
 * critic.h
 *		Training classifiers: what alol_train_reward() adds to a job.
 *
 * Order of life: critic_objective() and critic_sources_open() in the caller's
 * session; in the worker critic_sources_open() again while the rows become
 * files, critic_open() on these files, critic_take_rows() once the engine has
 * opened the job, critic_report() after training.
 */
#pragma once

#include "job/job_run.h"
#include "job/job_source.h"
#include "job/labels.h"

/* Objectives, as alol_job.method has them; "auto" becomes one. */
#define CRITIC_CLASSIFICATION "classification"
#define CRITIC_REGRESSION "regression"
#define CRITIC_PAIRWISE "pairwise"

/* What the worker knows of the rows' labels. */
struct Critic
{
	bool is_indexed;       /* labels are names, each with its index */
	AttrNumber label;      /* column of run->rows; 0: pairs have none */
	AttrNumber held_label; /* the same of run->validation */
	Labels *labels;        /* is_indexed */
};

/*
 * The objective that a call names; "auto" is decided by the columns of its
 * source and the type of the label.
 */
extern char *critic_objective(const char *objective, const char *source,
                              const char *label, Jsonb *options);

/* Opens what such a job reads, as the current user; raises for all that
 * cannot work.  settings name the objective and the label. */
extern void critic_sources_open(const char *source, const char *validation,
                                Jsonb *settings, JobSources *sources);

/* The label's column in the rows of a source; 0 where pairs need none. */
extern AttrNumber critic_label(const Source *source, Jsonb *settings);

/* Finds the labels in the job's files and holds rows out; raises where there
 * is nothing to tell apart. */
extern void critic_open(JobRun *run);

/* "labels" of WIRE_JOB_OPEN, or NULL. */
extern char *critic_labels_json(const JobRun *run);

/* Sends all rows to the engine. */
extern void critic_take_rows(JobRun *run);

/* Says which step is kept, and how good it is. */
extern void critic_report(JobRun *run, Jsonb *result);
