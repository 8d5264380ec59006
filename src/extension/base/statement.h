/*
 * statement.h
 *		One SQL statement with typed parameters, run as the extension's owner.
 *
 * Zero a Statement, add its parameters in the order of $1, $2 ..., and run it
 * between owner_begin() and owner_end().  Results are read by column from the
 * rows that SPI holds.
 */
#pragma once

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define STATEMENT_PARAMETERS 24

typedef struct Statement
{
	int count;
	Oid types[STATEMENT_PARAMETERS];
	Datum values[STATEMENT_PARAMETERS];
	char nulls[STATEMENT_PARAMETERS];
} Statement;

/* NULL texts and jsonbs, the id 0 and NaN are SQL's NULL. */
extern void statement_text(Statement *statement, const char *value);
extern void statement_id(Statement *statement, int64 value);
extern void statement_int(Statement *statement, int64 value);
extern void statement_float(Statement *statement, double value);
extern void statement_oid(Statement *statement, Oid value);
extern void statement_jsonb(Statement *statement, Jsonb *value);

/* A parameter of any other type. */
extern void statement_datum(Statement *statement, Oid type, Datum value);

/* An array; elements of a by-value type where nulls marks the absent ones
 * (NULL: none is). */
extern void statement_array(Statement *statement, Oid element, Datum *values,
                            bool *nulls, int count);

/* Runs it with "@schema@" replaced; the number of rows. */
extern uint64 statement_read(Statement *statement, const char *query);
extern uint64 statement_write(Statement *statement, const char *query);

/* Columns (from 1) of row (from 0) of the last result; NULL, 0, false or NaN
 * for SQL's NULL.  What is palloc'd lies in context. */
extern char *result_text(MemoryContext context, uint64 row, int column);
extern int64 result_int(uint64 row, int column);
extern bool result_bool(uint64 row, int column);
extern double result_float(uint64 row, int column);
extern Oid result_oid(uint64 row, int column);
extern Jsonb *result_jsonb(MemoryContext context, uint64 row, int column);
