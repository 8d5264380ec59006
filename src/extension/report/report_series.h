/*
 * report_series.h
 *		Metrics of jobs as charts show them.
 *
 * Read as the extension's owner: the caller has asked job_get() whether the
 * current user may see the job.
 */
#pragma once

typedef struct Series
{
	int count;
	double *step; /* [count], rising */
	double *value;
} Series;

/* All of a job's values of a metric, in the current memory context; count 0
 * where it has none. */
extern void series_read(int64 job, const char *metric, Series *series);

/* The names of a job's metrics, in order; palloc'd. */
extern char **series_metrics(int64 job, int *count);

/* What a metric is counted in ("nats"), or NULL for a bare number. */
extern const char *series_unit(const char *metric);

/* From the least to the greatest finite value; false when there is none. */
extern bool series_range(const Series *series, double *low, double *high);

/* How many values are NaN or infinite. */
extern int series_missing(const Series *series);
