/*
 * job.h
 *		The one job an engine may hold, from JOB_OPEN to the end of the process.
 */
#pragma once

#include "serve/models.h"
#include "train/held.h"
#include "train/trainer.h"

struct Job
{
	Arena *arena; /* of the job, its model too */
	json_t *settings;
	TrainOptions options;
	const char *directory;
	Model *model;          /* a copy of its own, to be trained */
	const char *reference; /* JSON text of the reference's ModelRef, or NULL */
	DatasetWriter writer;
	bool is_writing;  /* rows are coming */
	bool is_ready;    /* they are complete: dataset is open, and grouped */
	bool is_recorded; /* the other side has written down what it was told */
	bool has_trained; /* or tried to: the model is no longer as it was */
	bool gives_pairs; /* the rows are chosen and rejected ones */
	int64_t rows;     /* that came */
	Dataset dataset;

	/* Of a classifier. */
	ClassifierPlan plan;
	DatasetWriter held_writer;
	Held held;
	bool has_held; /* there is something to measure on */
	int64_t empty; /* rows without any token */
};

/* The job that is open; NULL and a failure if none is. */
extern Job *job_of(Request *request, Failure *failure);

/*
 * The rows file has its last name only when training begins: what the other
 * side records of the rows is then complete, and a job that ends before is
 * scored again.
 */
#define JOB_ROWS "rows"
#define JOB_ROWS_SCORED "rows.scored"

/* Opens the rows file of this name that scoring has finished; is_ready, unless
 * there is no group to train on. */
extern bool job_open_rows(Job *job, const char *name, Failure *failure);

/* Path of a file in the job's directory, in its arena. */
extern const char *job_path(const Job *job, const char *name);

/* ------------------------------------ jobs of classifiers (job_critic.c) */

/* What the request wants the model to become, into job->plan. */
extern bool critic_read_plan(Request *request, Job *job, Failure *failure);

/* New rows come: held-out ones have a file of their own. */
extern bool critic_begin_rows(Job *job, Failure *failure);

/* WIRE_JOB_ROWS. */
extern bool critic_take_rows(Request *request, Job *job, Failure *failure);

/* The rows are complete: has_held, and held. */
extern bool critic_open_held(Job *job, Failure *failure);
