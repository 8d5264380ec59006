/*
 * job.h
 *		A job as its row in alol_job has it, and its life outside its worker.
 *
 * alol_train() and its like insert a row and start a worker at commit
 * (job_start.h).  From then on the worker alone writes the row
 * (job_record.h), until the job is over.
 */
#pragma once

#include "utils/jsonb.h"

typedef struct Job
{
	int64 id;
	char *uuid;
	Oid owner;
	char *kind;  /* "train", "value", "evaluate", "reward" */
	char *state; /* as stored: an interrupted one is "running" */
	char *source;
	char *model;
	char *output;     /* NULL for kind "evaluate" */
	char *method;     /* or objective; NULL for kinds "value", "evaluate" */
	char *reward;     /* NULL: the column reward */
	char *value;      /* name of a value model, or NULL */
	char *validation; /* NULL: a part of the source */
	int64 model_id;
	int64 value_id;     /* 0: none */
	int64 reference_id; /* 0: the model itself */
	Jsonb *options;     /* as given */
	Jsonb *settings;    /* flat, with all defaults */
	Jsonb *session;     /* settings of the caller's session by name */
	bool is_spooled;
	int64 checkpoint;
	int starts;
	char *waits_for; /* what it lacked memory on, or NULL */
	char *sqlstate;
	char *error;
	char *detail;
	char *hint;
	char *context;
	Jsonb *notices; /* [{"severity", "message"}] */
} Job;

/* The job, in the current memory context; NULL if there is none. */
extern Job *job_find(int64 id);

/* The same, raising unless it exists and the current user may touch it
 * (is a member of its owner). */
extern Job *job_get(int64 id);

/* queued, running, succeeded, failed, cancelled, or interrupted where nobody
 * works on a running one. */
extern const char *job_state(int64 id, const char *stored);

/* succeeded, failed, cancelled */
extern bool job_state_is_final(const char *state);

/* The directory of a job's files, which may not exist; palloc'd. */
extern char *job_directory(const Job *job);

/* Removes directories of this database's jobs that are gone, and of databases
 * that are gone. */
extern void job_sweep_directories(void);

/* Writes the final state of a job that no worker holds and that is not over;
 * error (NULL: none) says why its owner cannot run it. */
extern void job_write_state(int64 id, const char *state, const char *error);
