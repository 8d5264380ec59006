/*
 * report_series.c
 *		Metrics of jobs as charts show them.
 */
#include "alol.h"

#include <math.h>

#include "report/report_series.h"
#include "base/statement.h"

/* Metrics that end in a star begin so. */
static const struct
{
	const char *metric;
	const char *unit;
} units[] = {
	{"kl", "nats"},      {"logps/*", "nats"},          {"num_tokens", "tokens"},
	{"epoch", "epochs"}, {"words", "words"},           {"tokens", "tokens"},
	{"rows/*", "rows"},  {"value/prompts", "prompts"},
};

const char *
series_unit(const char *metric)
{
	for (size_t i = 0; i < lengthof(units); i++)
	{
		size_t length = strcspn(units[i].metric, "*");

		if (units[i].metric[length] == '*'
		        ? strncmp(metric, units[i].metric, length) == 0
		        : strcmp(metric, units[i].metric) == 0)
			return units[i].unit;
	}
	return NULL;
}

void
series_read(int64 job, const char *metric, Series *series)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	OwnerScope scope;
	uint64 count;

	owner_begin(&scope);
	statement_int(&statement, job);
	statement_text(&statement, metric);
	count = statement_read(&statement,
	                       "SELECT step::float8, value FROM "
	                       "@schema@.alol_metric WHERE job = $1 AND metric = "
	                       "$2 ORDER BY step");
	series->count = (int) count;
	series->step =
		MemoryContextAllocHuge(context, (count + 1) * sizeof(double));
	series->value =
		MemoryContextAllocHuge(context, (count + 1) * sizeof(double));
	for (uint64 i = 0; i < count; i++)
	{
		series->step[i] = result_float(i, 1);
		series->value[i] = result_float(i, 2);
	}
	owner_end(&scope);
}

char **
series_metrics(int64 job, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	Statement statement = {0};
	OwnerScope scope;
	char **names;

	owner_begin(&scope);
	statement_int(&statement, job);
	*count = (int) statement_read(
		&statement, "SELECT DISTINCT metric COLLATE \"C\" FROM "
					"@schema@.alol_metric WHERE job = $1 ORDER BY 1");
	names = MemoryContextAlloc(context, (*count + 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
		names[i] = result_text(context, i, 1);
	owner_end(&scope);
	return names;
}

bool
series_range(const Series *series, double *low, double *high)
{
	bool is_known = false;

	for (int i = 0; i < series->count; i++)
	{
		double value = series->value[i];

		if (!isfinite(value))
			continue;
		*low = is_known ? Min(*low, value) : value;
		*high = is_known ? Max(*high, value) : value;
		is_known = true;
	}
	return is_known;
}

int
series_missing(const Series *series)
{
	int missing = 0;

	for (int i = 0; i < series->count; i++)
		missing += !isfinite(series->value[i]);
	return missing;
}
