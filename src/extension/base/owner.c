/*
 * owner.c
 *		The extension's schema and owner, and writing as that owner.
 *
 * Nobody has DML rights on the base tables; only this scope writes them, with
 * a search_path that no user can plant something in, and no user's SQL is
 * evaluated inside it.
 */
#include "alol.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Reads pg_extension's row of alol; raises when there is none. */
static void
extension_row(Oid *schema, Oid *owner)
{
	Relation relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
	            F_NAMEEQ, CStringGetDatum("alol"));
	scan =
		systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("extension \"alol\" does not exist in database "
		                       "\"%s\"",
		                       get_database_name(MyDatabaseId)),
		                errhint("Run CREATE EXTENSION alol.")));
	*schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

Oid
alol_schema(void)
{
	Oid schema;
	Oid owner;

	extension_row(&schema, &owner);
	return schema;
}

const char *
alol_schema_name(void)
{
	return quote_identifier(get_namespace_name(alol_schema()));
}

Oid
alol_extension_owner(void)
{
	Oid schema;
	Oid owner;

	extension_row(&schema, &owner);
	return owner;
}

void
owner_begin(OwnerScope *scope)
{
	Oid owner = alol_extension_owner();

	GetUserIdAndSecContext(&scope->saved_user, &scope->saved_context);
	SetUserIdAndSecContext(owner, scope->saved_context |
	                                  SECURITY_LOCAL_USERID_CHANGE |
	                                  SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
	                         PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* A superuser's row_security = off would raise where we mean to see all. */
	(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION,
	                         GUC_ACTION_SAVE, true, 0, false);
	/* What others have committed during this statement counts, too. */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* The query with "@schema@" replaced. */
static char *
in_schema(const char *query)
{
	static const char token[] = "@schema@";
	const char *schema = alol_schema_name();
	StringInfoData result;
	const char *at;

	initStringInfo(&result);
	while ((at = strstr(query, token)) != NULL)
	{
		appendBinaryStringInfo(&result, query, (int) (at - query));
		appendStringInfoString(&result, schema);
		query = at + strlen(token);
	}
	appendStringInfoString(&result, query);
	return result.data;
}

uint64
owner_run(const char *query, int count, Oid *types, Datum *values,
          const char *nulls, bool read_only)
{
	char *statement = in_schema(query);
	int code = SPI_execute_with_args(statement, count, types, values, nulls,
	                                 read_only, 0);

	if (code < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(code));
	pfree(statement);
	return SPI_processed;
}

void
owner_end(OwnerScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	PopActiveSnapshot();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->saved_user, scope->saved_context);
}
