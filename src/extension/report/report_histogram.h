/*
 * report_histogram.h
 *		How the advantages of a job are spread, and which part is thrown away.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* A histogram for each job that has advantages; whether there is one. */
extern bool report_histograms(StringInfo out, ReportJob *const *jobs,
                              int count);
