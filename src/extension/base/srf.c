/*
 * srf.c
 *		Set-returning functions that hand over all rows at once.
 */
#include "alol.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/srf.h"

Tuplestorestate *
srf_open(FunctionCallInfo fcinfo, TupleDesc *columns)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext saved;
	Tuplestorestate *rows;

	if (info == NULL || !IsA(info, ReturnSetInfo) ||
	    (info->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("set-valued function called in context that "
		                       "cannot accept a set")));
	saved = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, columns) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rows = tuplestore_begin_heap(
		(info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	info->returnMode = SFRM_Materialize;
	info->setResult = rows;
	info->setDesc = *columns;
	MemoryContextSwitchTo(saved);
	return rows;
}
