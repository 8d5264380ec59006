/*
 * report_chart.h
 *		Curves of metrics as SVG, one chart a metric, the jobs in it together.
 */
#pragma once

#include "lib/stringinfo.h"

#include "report/report_job.h"

/* Charts of the metrics that any of the jobs has; whether there is one. */
extern bool report_charts(StringInfo out, ReportJob *const *jobs, int count);
