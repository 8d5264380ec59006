/*
 * report_job.h
 *		A job as a report shows it.
 */
#pragma once

#include "lib/stringinfo.h"

#include "job/job.h"
#include "report/report_series.h"

/* Colours and dashes of jobs, which the style sheet has as c0, d0 and so on. */
#define REPORT_COLOURS 7
#define REPORT_DASHES 4

typedef struct ReportJob
{
	const Job *job;
	int index; /* among the jobs of the page, from 0: its colour */
	const char *state;
	char *started;  /* "2026-11-25 23:10 UTC", or NULL */
	char *device;   /* or NULL */
	double seconds; /* that it took so far; NaN: it has not begun */
	double tokens_per_second;
	double steps; /* done */
	double steps_planned;

	/* Rewards of responses to the evaluation prompts; NaN: none. */
	double first_reward; /* before training */
	double best_reward;
	double best_step; /* the first that has it */
	double last_reward;
	double kept_step; /* the best, if it is better than before training */
} ReportJob;

/* Raises unless the current user may see the job. */
extern ReportJob *report_job_read(int64 id, int index);

/* What it is about: the model that it made or, for an evaluation, asked. */
extern const char *report_job_subject(const ReportJob *shown);

/* The heading of its column, one of so many, in a table. */
extern void report_job_heading(StringInfo out, const ReportJob *shown,
                               int columns);
