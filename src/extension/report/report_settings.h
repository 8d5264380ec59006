/*
 * report_settings.h
 *		What jobs were told, what they measured and what they said.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* A table of results, a column a job. */
extern void report_numbers(StringInfo out, ReportJob *const *jobs, int count);

/* A table of settings, in which differences are marked. */
extern void report_settings(StringInfo out, ReportJob *const *jobs, int count);

/* Errors and notices; whether there is one. */
extern bool report_notices(StringInfo out, ReportJob *const *jobs, int count);
