/*
 * model_export.c
 *		alol_model_export(): a model becomes a directory or file on the server.
 */
#include "alol.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"
#include "utils/acl.h"

#include "base/json.h"
#include "model/model.h"

/* Types of numbers that a format's files may have; the first is the default:
 * as the model is stored, where that is a type of plain floats. */
static const char *const dtypes[] = {"auto", "f32", "f16", "bf16", "q8_0"};

/* What the third and fourth argument say. */
typedef struct ExportOptions
{
	char *format;
	bool is_file; /* or else a directory */
	char *dtype;
} ExportOptions;

static void
check_format(ExportOptions *options, const Model *model)
{
	const char *format = options->format;

	options->is_file = strcmp(format, "gguf") == 0;
	if (!options->is_file && strcmp(format, "safetensors") != 0 &&
	    strcmp(format, "peft") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("format must be \"safetensors\", \"peft\" or "
		                       "\"gguf\", not \"%s\"",
		                       format)));
	if (strcmp(format, "peft") == 0 && model->kind != 'a')
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		         errmsg("model \"%s\" is %s, not an adapter", model->name,
		                model_kind_name(model->kind)),
		         errhint("Format \"safetensors\" writes whole models.")));
}

static void
read_dtype(ExportOptions *options, const char *dtype)
{
	int count = options->is_file ? lengthof(dtypes) : lengthof(dtypes) - 1;

	for (int i = 0; i < count; i++)
		if (strcmp(dtype, dtypes[i]) == 0)
		{
			options->dtype = pstrdup(dtype);
			return;
		}
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("option \"dtype\" must be \"auto\", \"f32\", "
	                "\"f16\" or \"bf16\"%s, not \"%s\"",
	                options->is_file ? ", or \"q8_0\" in GGUF" : "", dtype)));
}

/* JsonOptionVisitor */
static void
read_option(void *argument, const char *key, JsonbValue *value)
{
	if (strcmp(key, "dtype") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("unknown option \"%s\"", key),
		                errhint("The only option is \"dtype\".")));
	read_dtype(argument, json_option_text(value, key));
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

/* Lets the engine write the model into an empty directory. */
static void
write_files(Engine *engine, const char *ref, const char *directory,
            const ExportOptions *options)
{
	StringInfoData json;
	EngineFrame reply;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "model", ref);
	json_add_text(&json, "directory", directory);
	json_add_text(&json, "format", options->format);
	json_add_text(&json, "dtype", options->dtype);
	appendStringInfoChar(&json, '}');
	engine_ask(engine, WIRE_MODEL_EXPORT, engine_payload(json.data), &reply);
}

static void
export_directory(const char *ref, const char *path,
                 const ExportOptions *options)
{
	Engine *engine = engine_session();
	bool is_made = make_directory(path);

	PG_TRY();
	{
		write_files(engine, ref, path, options);
	}
	PG_CATCH();
	{
		/* Only what was not there before is taken away again. */
		if (is_made)
			directory_remove(path);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
fail_exists(const char *path)
{
	ereport(ERROR, (errcode(ERRCODE_DUPLICATE_FILE),
	                errmsg("\"%s\" exists already", path),
	                errhint("An export never overwrites.")));
}

/* The file is written in a directory beside its place, and linked there when
 * it is whole: a link never replaces what is there. */
static void
export_file(const char *ref, const char *path, const ExportOptions *options)
{
	Engine *engine = engine_session();
	char *made = psprintf("%s.alol-%d", path, MyProcPid);
	char *file = psprintf("%s/model.gguf", made);
	struct stat status;

	if (lstat(path, &status) == 0)
		fail_exists(path);
	(void) make_directory(made);
	PG_TRY();
	{
		write_files(engine, ref, made, options);
		if (link(file, path) != 0)
		{
			if (errno == EEXIST)
				fail_exists(path);
			ereport(ERROR, (errcode_for_file_access(),
			                errmsg("could not create file \"%s\": %m", path)));
		}
	}
	PG_FINALLY();
	{
		directory_remove(made);
	}
	PG_END_TRY();
}

ALOL_FUNCTION(alol_model_export);
Datum
alol_model_export(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ExportOptions options = {.format = text_to_cstring(PG_GETARG_TEXT_PP(2))};
	Model *model;
	char *path;

	PreventCommandIfReadOnly("alol_model_export()");
	model = model_get_own(name);
	check_format(&options, model);
	options.dtype = pstrdup(dtypes[0]);
	json_visit_options(PG_GETARG_JSONB_P(3), read_option, &options);
	path = check_path(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (options.is_file)
		export_file(model_ref(model), path, &options);
	else
		export_directory(model_ref(model), path, &options);
	PG_RETURN_TEXT_P(cstring_to_text(path));
}
