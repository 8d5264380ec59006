/*
 * source_check.c
 *		What sources and rewards must not contain, found in parsed queries.
 */
#include "alol.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "source/source_check.h"

Query *
source_analyze(RawStmt *statement, const char *text,
               QueryEnvironment *environment)
{
#if PG_VERSION_NUM >= 150000
	return parse_analyze_fixedparams(statement, text, NULL, 0, environment);
#else
	return parse_analyze(statement, text, NULL, 0, environment);
#endif
}

void
source_error_callback(void *argument)
{
	const SourceText *origin = argument;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(origin->statement);
	}
	errcontext("%s", origin->what);
}

static bool
is_temporary_function(Oid function, void *context)
{
	return isAnyTempNamespace(get_func_namespace(function));
}

static bool
is_temporary_type(Oid type)
{
	Oid element = get_element_type(type);
	HeapTuple tuple = SearchSysCache1(
		TYPEOID, ObjectIdGetDatum(OidIsValid(element) ? element : type));
	bool result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result =
		isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return result;
}

static bool
is_temporary_relation(Oid relation)
{
	return get_rel_persistence(relation) == RELPERSISTENCE_TEMP;
}

/* A constant of a temporary type, or one that names a temporary relation. */
static bool
is_temporary_constant(const Const *constant)
{
	if (constant->consttype == REGCLASSOID && !constant->constisnull)
		return is_temporary_relation(DatumGetObjectId(constant->constvalue));
	return is_temporary_type(constant->consttype);
}

static bool
uses_temporary(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_temporary_function, NULL))
		return true;
	switch (nodeTag(node))
	{
		case T_Query:
			return query_tree_walker((Query *) node, uses_temporary, context,
			                         QTW_EXAMINE_RTES_BEFORE);
		case T_RangeTblEntry:
		{
			RangeTblEntry *entry = (RangeTblEntry *) node;

			/* The walker goes on into its subquery or function. */
			return entry->rtekind == RTE_RELATION &&
			       is_temporary_relation(entry->relid);
		}
		case T_Const:
			return is_temporary_constant((Const *) node);
		case T_FuncExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CoerceToDomain:
		case T_RowExpr:
			if (is_temporary_type(exprType(node)))
				return true;
			break;
		default:
			break;
	}
	return expression_tree_walker(node, uses_temporary, context);
}

bool
source_uses_temporary(Node *node)
{
	return uses_temporary(node, NULL);
}

static bool
locks_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return ((Query *) node)->rowMarks != NIL ||
		       query_tree_walker((Query *) node, locks_rows, context, 0);
	return expression_tree_walker(node, locks_rows, context);
}

bool
source_locks_rows(Node *node)
{
	return locks_rows(node, NULL);
}
