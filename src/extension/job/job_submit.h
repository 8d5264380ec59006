/*
 * job_submit.h
 *		A call that starts a job: its arguments, checked, become a row.
 */
#pragma once

#include "utils/jsonb.h"

#define LORA_DEFAULT (-1)
#define LORA_RANK_MAX 65536

/* What the user said; NULL, NaN and 0 where the default holds. */
typedef struct JobCall
{
	const char *kind; /* "train", "value", "evaluate", "reward" */
	char *source;
	char *model;
	char *output; /* NULL for kind "evaluate" */
	char *method; /* or objective; NULL for kinds "value" and "evaluate" */
	char *label;  /* NULL but for kind "reward" */
	char *reward;
	char *value;
	char *validation;
	double epochs;
	int steps; /* 0: from the epochs */
	int batch_size;
	double learning_rate; /* NaN: the default */
	int lora_rank;        /* LORA_DEFAULT: by the model */
	int64 seed;
	Jsonb *options;
} JobCall;

/* Raises for numbers that cannot be. */
extern void job_call_check(const JobCall *call);

/*
 * The caller's session as a worker needs it: search_path and the like, alol.*,
 * and what the option "settings" names, an object of texts by name.
 */
extern Jsonb *session_record(Jsonb *settings);

/* Makes this session like that one. */
extern void session_apply(Jsonb *session);

/* Checks everything that can be checked, inserts the row and arms the start
 * of the worker; the job's id. */
extern int64 job_submit(JobCall *call);
