/*
 * model_manage.c
 *		What the owner of a model does with it: rename, drop, grant, revoke.
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

#include "model/model.h"

/* Raises when a job that is not over works with the model. */
static void
check_jobs(const Model *model)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(model->id);
	int64 job = 0;
	OwnerScope scope;
	bool isnull;

	if (!OidIsValid(get_relname_relid("alol_job", alol_schema())))
		return;
	owner_begin(&scope);
	if (owner_run("SELECT id FROM @schema@.alol_job WHERE state IN ('queued', "
	              "'running') AND $1 IN (model_id, value_id, "
	              "reference_id) LIMIT 1",
	              1, &type, &value, NULL, true) > 0)
		job = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
		                                  SPI_tuptable->tupdesc, 1, &isnull));
	owner_end(&scope);
	if (job != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
		                errmsg("model \"%s\" is used by job " INT64_FORMAT,
		                       model->name, job),
		                errhint("Wait for the job, or cancel it with "
		                        "alol_cancel().")));
}

/* Raises when another model needs this one. */
static void
check_models(const Model *model)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(model->id);
	MemoryContext context = CurrentMemoryContext;
	char *other = NULL;
	OwnerScope scope;

	owner_begin(&scope);
	if (owner_run("SELECT name FROM @schema@.alol_model WHERE base = $1 OR "
	              "tokenizer = $1 ORDER BY name LIMIT 1",
	              1, &type, &value, NULL, true) > 0)
		other = MemoryContextStrdup(
			context,
			SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	owner_end(&scope);
	if (other != NULL)
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
		                errmsg("model \"%s\" is used by model \"%s\"",
		                       model->name, other)));
}

/* Runs statements about the model: $1 is its id. */
static uint64
run_on(const Model *model, const char *query, bool read_only)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(model->id);

	return owner_run(query, 1, &type, &value, NULL, read_only);
}

/* Whether another model, when this one is gone, has the same files. */
static bool
has_same_files(const Model *model)
{
	const char *files = model->hash != NULL ? model->hash : model->path;

	return files != NULL &&
	       owner_run("SELECT FROM @schema@.alol_model WHERE hash = $1 OR "
	                 "path = $1 LIMIT 1",
	                 1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(files)},
	                 NULL, false) > 0;
}

ALOL_FUNCTION(alol_model_drop);
Datum
alol_model_drop(PG_FUNCTION_ARGS)
{
	Model *model;
	OwnerScope scope;
	bool is_shared;

	PreventCommandIfReadOnly("alol_model_drop()");
	model = model_get_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	/* First of all, so that a job or model that is being made with it is seen
	 * by the checks, or finds it gone. */
	owner_begin(&scope);
	run_on(model, "SELECT FROM @schema@.alol_model WHERE id = $1 FOR UPDATE",
	       false);
	owner_end(&scope);
	check_jobs(model);
	check_models(model);
	owner_begin(&scope);
	run_on(model, "DELETE FROM @schema@.alol_model WHERE id = $1", false);
	run_on(model, "DELETE FROM @schema@.alol_model_acl WHERE model = $1",
	       false);
	run_on(model, "DELETE FROM @schema@.alol_model_file WHERE model = $1",
	       false);
	is_shared = has_same_files(model);
	owner_end(&scope);
	/* Only a cache: after a rollback it is made again. */
	if (model->hash != NULL && !is_shared)
		directory_remove(psprintf("%s/%s", directory_cache(), model->hash));
	if (model->path != NULL && !is_shared)
		directory_remove(model_path_forms(model->path));
	PG_RETURN_VOID();
}

ALOL_FUNCTION(alol_model_rename);
Datum
alol_model_rename(PG_FUNCTION_ARGS)
{
	char *new_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Oid types[] = {INT8OID, TEXTOID};
	Datum values[2];
	Model *model;
	OwnerScope scope;

	PreventCommandIfReadOnly("alol_model_rename()");
	model = model_get_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	model_check_new_name(new_name);
	values[0] = Int64GetDatum(model->id);
	values[1] = CStringGetTextDatum(new_name);
	owner_begin(&scope);
	owner_run("UPDATE @schema@.alol_model SET name = $2 WHERE id = $1", 2,
	          types, values, NULL, false);
	owner_end(&scope);
	PG_RETURN_VOID();
}

/* Runs an acl statement of $1 model, $2 role for alol_model_grant(name, role)
 * and its opposite; a NULL role is everyone. */
static void
change_acl(FunctionCallInfo fcinfo, const char *query)
{
	Oid role = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	Oid types[] = {INT8OID, OIDOID};
	Datum values[2];
	Model *model;
	OwnerScope scope;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("name of the model must not be null")));
	model = model_get_own(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[0] = Int64GetDatum(model->id);
	values[1] = ObjectIdGetDatum(role);
	owner_begin(&scope);
	owner_run(query, 2, types, values, NULL, false);
	owner_end(&scope);
}

ALOL_FUNCTION(alol_model_grant);
Datum
alol_model_grant(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("alol_model_grant()");
	/* A number that is no role yet might become one. */
	if (!PG_ARGISNULL(1) && OidIsValid(PG_GETARG_OID(1)))
		(void) GetUserNameFromId(PG_GETARG_OID(1), false);
	change_acl(fcinfo, "INSERT INTO @schema@.alol_model_acl (model, role) "
	                   "VALUES ($1, $2::regrole) ON CONFLICT DO NOTHING");
	PG_RETURN_VOID();
}

ALOL_FUNCTION(alol_model_revoke);
Datum
alol_model_revoke(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("alol_model_revoke()");
	change_acl(fcinfo, "DELETE FROM @schema@.alol_model_acl WHERE model = $1 "
	                   "AND role = $2::regrole");
	PG_RETURN_VOID();
}
