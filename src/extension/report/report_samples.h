/*
 * report_samples.h
 *		The best and the worst of what a policy said.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* The samples of one job, beside what it said before; whether it has any. */
extern bool report_samples(StringInfo out, const ReportJob *shown);
