/*
 * model_catalog.c
 *		Finding a model's row, and who may use it.
 *
 * The tables are read as the extension's owner; whether the role in question
 * may use what was found is decided here, after pg_has_role(..., 'MEMBER').
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "model/model.h"
#include "base/nearest.h"

#define NAME_MAX_BYTES 63

const char *
model_kind_name(char kind)
{
	switch (kind)
	{
		case 'l':
			return "a language model";
		case 'a':
			return "an adapter";
		case 'c':
			return "a classifier";
		case 'e':
			return "an encoder";
		default:
			return "a value model";
	}
}

/* A column of the first row of the last result; false when it is null. */
static bool
column(int number, Datum *value)
{
	bool isnull;

	*value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number,
	                       &isnull);
	return !isnull;
}

static char *
text_column(int number)
{
	Datum value;

	return column(number, &value) ? TextDatumGetCString(value) : NULL;
}

static int64
int_column(int number)
{
	Datum value;

	return column(number, &value) ? DatumGetInt64(value) : 0;
}

/* The row of the last result as a Model in context. */
static Model *
read_row(MemoryContext context)
{
	MemoryContext saved = MemoryContextSwitchTo(context);
	Model *model = palloc0(sizeof(Model));
	Datum value;

	model->id = int_column(1);
	model->name = text_column(2);
	if (column(3, &value))
		model->owner = DatumGetObjectId(value);
	model->kind = *text_column(4);
	model->path = text_column(5);
	model->hash = text_column(6);
	if (column(7, &value))
		model->files = DatumGetJsonbPCopy(value);
	model->base = int_column(8);
	model->tokenizer = int_column(9);
	model->parameters = int_column(10);
	model->context = (int) int_column(11);
	model->rank = (int) int_column(12);
	MemoryContextSwitchTo(saved);
	return model;
}

/* The model for which condition (on $1) holds, or NULL. */
static Model *
find_model(const char *condition, Oid type, Datum value, MemoryContext context)
{
	char *query =
		psprintf("SELECT id, name, owner::oid, kind, path, hash, files, base, "
	             "tokenizer, parameters, context::bigint, rank::bigint FROM "
	             "@schema@.alol_model WHERE %s",
	             condition);

	if (owner_run(query, 1, &type, &value, NULL, true) == 0)
		return NULL;
	return read_row(context);
}

/* Is the model shared with a role that role is a member of? */
static bool
is_granted(int64 id, Oid role)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(id);
	uint64 count =
		owner_run("SELECT role::oid FROM @schema@.alol_model_acl WHERE "
	              "model = $1",
	              1, &type, &value, NULL, true);

	for (uint64 i = 0; i < count; i++)
	{
		bool isnull;
		Oid grantee = DatumGetObjectId(SPI_getbinval(
			SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		if (!OidIsValid(grantee) || is_member_of_role(role, grantee))
			return true;
	}
	return false;
}

/* A HINT that names the nearest model the role may see, or NULL. */
static char *
nearest_hint(const char *name, Oid role, MemoryContext context)
{
	uint64 count = owner_run("SELECT name, owner::oid, id FROM "
	                         "@schema@.alol_model ORDER BY name LIMIT 1000",
	                         0, NULL, NULL, NULL, true);
	SPITupleTable *rows = SPI_tuptable;
	const char **names = palloc(sizeof(char *) * (count + 1));
	const char *nearest;
	int seen = 0;

	for (uint64 i = 0; i < count; i++)
	{
		bool isnull;
		Oid owner = DatumGetObjectId(
			SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		int64 id = DatumGetInt64(
			SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull));

		if (is_member_of_role(role, owner) || is_granted(id, role))
			names[seen++] = SPI_getvalue(rows->vals[i], rows->tupdesc, 1);
	}
	nearest = nearest_name(name, names, seen);
	if (nearest == NULL)
		return NULL;
	return MemoryContextStrdup(
		context, psprintf("Perhaps you mean the model \"%s\".", nearest));
}

Model *
model_get(const char *name, Oid role)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope scope;
	Model *model;
	char *hint = NULL;
	bool is_usable = false;

	owner_begin(&scope);
	model =
		find_model("name = $1", TEXTOID, CStringGetTextDatum(name), context);
	if (model == NULL)
		hint = nearest_hint(name, role, context);
	else
		is_usable = is_member_of_role(role, model->owner) ||
		            is_granted(model->id, role);
	owner_end(&scope);

	if (model == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("model \"%s\" does not exist", name),
		                hint == NULL ? 0 : errhint("%s", hint)));
	if (!is_usable)
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		         errmsg("permission denied for model \"%s\"", name),
		         errhint("Its owner can share it with alol_model_grant().")));
	return model;
}

Model *
model_get_by_id(int64 id)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerScope scope;
	Model *model;

	owner_begin(&scope);
	model = find_model("id = $1", INT8OID, Int64GetDatum(id), context);
	owner_end(&scope);
	if (model == NULL)
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_OBJECT),
		         errmsg("model number " INT64_FORMAT " does not exist", id)));
	return model;
}

/* An adapter serves as what its base is. */
static char
kind_in_use(const Model *model)
{
	if (model->kind != 'a' || model->base == 0)
		return model->kind;
	return model_get_by_id(model->base)->kind;
}

void
model_check_kind(const Model *model, char kind, const char *argument)
{
	if (model->kind != kind && kind_in_use(model) != kind)
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		         errmsg("%s \"%s\" is %s, not %s", argument, model->name,
		                model_kind_name(model->kind), model_kind_name(kind))));
}

Model *
model_get_own(const char *name)
{
	Model *model = model_get(name, GetUserId());

	if (!is_member_of_role(GetUserId(), model->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		                errmsg("must be owner of model \"%s\"", name)));
	return model;
}

/* Does a job that is not over make a model of this name? */
static bool
is_awaited_output(const char *name)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);

	if (!OidIsValid(get_relname_relid("alol_job", alol_schema())))
		return false;
	return owner_run("SELECT FROM @schema@.alol_job WHERE output = $1 "
	                 "AND state IN ('queued', 'running')",
	                 1, &type, &value, NULL, true) > 0;
}

void
model_check_new_name(const char *name)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	OwnerScope scope;
	bool is_taken;
	bool is_awaited;

	if (name[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("name of a model is empty")));
	if (strlen(name) > NAME_MAX_BYTES)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
		                errmsg("name of a model has %zu bytes, at most %d are "
		                       "possible",
		                       strlen(name), NAME_MAX_BYTES)));
	owner_begin(&scope);
	is_taken = owner_run("SELECT FROM @schema@.alol_model WHERE name = $1", 1,
	                     &type, &value, NULL, true) > 0;
	is_awaited = is_awaited_output(name);
	owner_end(&scope);
	if (is_taken || is_awaited)
		ereport(ERROR,
		        (errcode(ERRCODE_DUPLICATE_OBJECT),
		         errmsg("model \"%s\" exists already", name),
		         is_awaited ? errdetail("A job is about to make it.") : 0));
}
