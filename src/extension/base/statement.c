/*
 * statement.c
 *		One SQL statement with typed parameters, run as the extension's owner.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

#include "base/statement.h"

/* ----------------------------------------------------------- parameters */

static void
add(Statement *statement, Oid type, Datum value, bool is_null)
{
	int at = statement->count;

	if (at >= STATEMENT_PARAMETERS)
		elog(ERROR, "a statement has at most %d parameters",
		     STATEMENT_PARAMETERS);
	statement->types[at] = type;
	statement->values[at] = value;
	statement->nulls[at] = is_null ? 'n' : ' ';
	statement->count = at + 1;
}

void
statement_text(Statement *statement, const char *value)
{
	add(statement, TEXTOID, value == NULL ? 0 : CStringGetTextDatum(value),
	    value == NULL);
}

void
statement_id(Statement *statement, int64 value)
{
	add(statement, INT8OID, Int64GetDatum(value), value == 0);
}

void
statement_int(Statement *statement, int64 value)
{
	add(statement, INT8OID, Int64GetDatum(value), false);
}

void
statement_float(Statement *statement, double value)
{
	add(statement, FLOAT8OID, Float8GetDatum(value), isnan(value));
}

void
statement_oid(Statement *statement, Oid value)
{
	add(statement, OIDOID, ObjectIdGetDatum(value), false);
}

void
statement_jsonb(Statement *statement, Jsonb *value)
{
	add(statement, JSONBOID, value == NULL ? 0 : JsonbPGetDatum(value),
	    value == NULL);
}

void
statement_datum(Statement *statement, Oid type, Datum value)
{
	add(statement, type, value, false);
}

void
statement_array(Statement *statement, Oid element, Datum *values, bool *nulls,
                int count)
{
	int dimensions[1] = {count};
	int bounds[1] = {1};
	int16 length;
	bool by_value;
	char align;
	ArrayType *array;

	get_typlenbyvalalign(element, &length, &by_value, &align);
	array = construct_md_array(values, nulls, 1, dimensions, bounds, element,
	                           length, by_value, align);
	add(statement, get_array_type(element), PointerGetDatum(array), false);
}

/* -------------------------------------------------------------- running */

static uint64
run(Statement *statement, const char *query, bool read_only)
{
	return owner_run(query, statement->count, statement->types,
	                 statement->values, statement->nulls, read_only);
}

uint64
statement_read(Statement *statement, const char *query)
{
	return run(statement, query, true);
}

uint64
statement_write(Statement *statement, const char *query)
{
	return run(statement, query, false);
}

/* -------------------------------------------------------------- results */

/* A column's value; false when it is NULL. */
static bool
get(uint64 row, int column, Datum *value)
{
	bool is_null;

	if (SPI_tuptable == NULL || row >= SPI_tuptable->numvals)
		elog(ERROR, "the result has no such row");
	*value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
	                       column, &is_null);
	return !is_null;
}

char *
result_text(MemoryContext context, uint64 row, int column)
{
	Datum value;
	MemoryContext saved;
	char *string;

	if (!get(row, column, &value))
		return NULL;
	saved = MemoryContextSwitchTo(context);
	string = TextDatumGetCString(value);
	MemoryContextSwitchTo(saved);
	return string;
}

int64
result_int(uint64 row, int column)
{
	Datum value;

	return get(row, column, &value) ? DatumGetInt64(value) : 0;
}

bool
result_bool(uint64 row, int column)
{
	Datum value;

	return get(row, column, &value) && DatumGetBool(value);
}

double
result_float(uint64 row, int column)
{
	Datum value;

	return get(row, column, &value) ? DatumGetFloat8(value) : NAN;
}

Oid
result_oid(uint64 row, int column)
{
	Datum value;

	return get(row, column, &value) ? DatumGetObjectId(value) : InvalidOid;
}

Jsonb *
result_jsonb(MemoryContext context, uint64 row, int column)
{
	Datum value;
	MemoryContext saved;
	Jsonb *copy;

	if (!get(row, column, &value))
		return NULL;
	saved = MemoryContextSwitchTo(context);
	copy = DatumGetJsonbPCopy(value);
	MemoryContextSwitchTo(saved);
	return copy;
}
