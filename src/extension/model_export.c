/*
 * model_export.c
 *		alol_model_export(): a model becomes a directory on the server.
 */
#include "alol.h"

#include <errno.h>
#include <sys/stat.h>

#include "catalog/pg_authid.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"
#include "utils/acl.h"

#include "json.h"
#include "model.h"

static void
check_format(const char *format)
{
	if (strcmp(format, "safetensors") == 0)
		return;
	if (strcmp(format, "peft") == 0 || strcmp(format, "gguf") == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("export to \"%s\" is not available yet", format)));
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("format must be \"safetensors\", \"peft\" or "
	                       "\"gguf\", not \"%s\"",
	                       format)));
}

static char *
check_path(const char *argument)
{
	char *path = pstrdup(argument);

	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		         errmsg("permission denied to export a model to the server"),
		         errdetail("Only roles with privileges of the role "
		                   "\"pg_write_server_files\" may do so.")));
	canonicalize_path(path);
	if (!is_absolute_path(path))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
		                errmsg("path \"%s\" is not absolute", path)));
	return path;
}

/* Makes the directory, or takes an empty one; true when it was made. */
static bool
make_directory(const char *path)
{
	if (MakePGDirectory(path) == 0)
		return true;
	if (errno != EEXIST)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create directory \"%s\": %m", path)));
	if (pg_check_dir(path) != 1)
		ereport(ERROR,
		        (errcode(ERRCODE_DUPLICATE_FILE),
		         errmsg("\"%s\" exists and is not an empty directory", path),
		         errhint("An export never overwrites.")));
	return false;
}

static void export(Engine *engine, const char *ref, const char *path,
                   const char *format)
{
	StringInfoData json;
	EngineFrame reply;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", ref);
	json_add_text(&json, "directory", path);
	json_add_text(&json, "format", format);
	appendStringInfoChar(&json, '}');
	engine_ask(engine, WIRE_MODEL_EXPORT, engine_payload(json.data), &reply);
}

ALOL_FUNCTION(alol_model_export);
Datum
alol_model_export(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *format = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Model *model;
	char *path;
	char *ref;
	Engine *engine;
	bool is_made;

	PreventCommandIfReadOnly("alol_model_export()");
	model = model_get_own(name);
	check_format(format);
	path = check_path(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	ref = model_ref(model);
	engine = engine_session();
	is_made = make_directory(path);
	PG_TRY();
	{
		export(engine, ref, path, format);
	}
	PG_CATCH();
	{
		/* Only what was not there before is taken away again. */
		if (is_made)
			directory_remove(path);
		PG_RE_THROW();
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(path));
}
