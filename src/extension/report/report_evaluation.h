/*
 * report_evaluation.h
 *		What evaluations measured, with how sure it is.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* Reward, and each of its components, of the jobs that have them; whether
 * there is one. */
extern bool report_evaluations(StringInfo out, ReportJob *const *jobs,
                               int count);
