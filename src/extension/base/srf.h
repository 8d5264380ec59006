/*
 * srf.h
 *		Set-returning functions that hand over all rows at once.
 */
#pragma once

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

/*
 * Makes the tuplestore that the caller of this function will read, and its
 * row type.  Add rows with tuplestore_putvalues(), then return (Datum) 0.
 */
extern Tuplestorestate *srf_open(FunctionCallInfo fcinfo, TupleDesc *columns);
