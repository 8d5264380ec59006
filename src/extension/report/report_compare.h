/*
 * report_compare.h
 *		Evaluations of the same prompts, compared.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* A table of the differences between the first evaluation and the others;
 * whether there is something to compare. */
extern bool report_comparisons(StringInfo out, ReportJob *const *jobs,
                               int count);
