/*
 * model_load.c
 *		alol_model_load(): a directory or file on the server becomes a model.
 */
#include "alol.h"

#include <sys/stat.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "base/json.h"
#include "model/model_store.h"
#include "base/nearest.h"

/* What the options of alol_model_load() say. */
typedef struct LoadOptions
{
	Model *base;      /* under an adapter, or NULL */
	Model *tokenizer; /* whose tokenizer it uses, or NULL */
	bool is_stored;   /* in the database */
} LoadOptions;

static void
check_kind(const char *kind)
{
	static const char *const kinds[] = {"auto", "lm", "classifier", "encoder",
	                                    "adapter"};

	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("kind must be \"auto\", \"lm\", \"classifier\", "
	                       "\"encoder\" or \"adapter\", not \"%s\"",
	                       kind)));
}

/* The checked path, absolute: of a directory (*is_file false) or a file. */
static char *
check_path(const char *argument, bool *is_file)
{
	char *path = pstrdup(argument);
	struct stat status;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		         errmsg("permission denied to load a model from the server"),
		         errdetail("Only roles with privileges of the role "
		                   "\"pg_read_server_files\" may do so.")));
	canonicalize_path(path);
	if (!is_absolute_path(path))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
		                errmsg("path \"%s\" is not absolute", path)));
	if (stat(path, &status) != 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not open \"%s\": %m", path)));
	*is_file = S_ISREG(status.st_mode);
	if (!*is_file && !S_ISDIR(status.st_mode))
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		         errmsg("\"%s\" is neither a directory nor a file", path),
		         errhint("A model is loaded from a Hugging Face directory, a "
		                 "PEFT adapter directory or a GGUF file.")));
	return path;
}

/* Raises where an adapter has no base, before an engine would say less. */
static void
check_base(const char *path, const Model *base)
{
	char *config = psprintf("%s/adapter_config.json", path);
	struct stat status;

	if (base == NULL && stat(config, &status) == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("\"%s\" holds an adapter, which needs a base", path),
		         errhint("Load the model under it first, then name it: "
		                 "options => '{\"base\": \"...\"}'.")));
	if (base != NULL && (base->kind == 'a' || base->kind == 'v'))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		                errmsg("base \"%s\" is %s, not a model with weights "
		                       "of its own",
		                       base->name, model_kind_name(base->kind))));
}

pg_attribute_noreturn() static void fail_unknown(const char *key)
{
	static const char *const known[] = {"base", "tokenizer", "store"};
	const char *nearest = nearest_name(key, known, lengthof(known));

	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("unknown option \"%s\"", key),
	         nearest == NULL ? errhint("The options are \"base\", "
	                                   "\"tokenizer\" and \"store\".")
	                         : errhint("Perhaps you mean \"%s\".", nearest)));
	pg_unreachable();
}

/* JsonOptionVisitor: null counts as not given. */
static void
read_option(void *argument, const char *key, JsonbValue *value)
{
	LoadOptions *options = argument;

	if (value->type == jbvNull)
		return;
	if (strcmp(key, "tokenizer") == 0)
		options->tokenizer =
			model_get(json_option_text(value, key), GetUserId());
	else if (strcmp(key, "base") == 0)
		options->base = model_get(json_option_text(value, key), GetUserId());
	else if (strcmp(key, "store") == 0)
	{
		char *store = json_option_text(value, key);

		options->is_stored = strcmp(store, "database") == 0;
		if (!options->is_stored && strcmp(store, "path") != 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("option \"store\" must be \"path\" or "
			                       "\"database\", not \"%s\"",
			                       store)));
	}
	else
		fail_unknown(key);
}

/* The engine opens and checks the files, with the models they will have. */
static Jsonb *
inspect(const char *name, const char *path, const LoadOptions *options)
{
	StringInfoData ref;

	initStringInfo(&ref);
	appendStringInfoChar(&ref, '{');
	json_add_text(&ref, "name", name);
	json_add_text(&ref, "path", path);
	if (options->tokenizer != NULL)
		json_add_text(&ref, "tokenizer", model_path(options->tokenizer));
	if (options->base != NULL)
		json_add_json(&ref, "base", model_ref(options->base));
	appendStringInfoChar(&ref, '}');
	return model_inspect(engine_session(), ref.data);
}

/* What the engine found must be what the caller asked for. */
static void
check_found(const char *path, Jsonb *description, const char *kind,
            const Model *base)
{
	const char *found = json_text(description, "kind");

	if (found == NULL)
		elog(ERROR, "the engine gave \"%s\" no kind", path);
	if (strcmp(kind, "auto") != 0 && strcmp(kind, found) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		         errmsg("\"%s\" holds %s, not %s", path,
		                model_kind_name(found[0]), model_kind_name(kind[0]))));
	if (base != NULL && found[0] != 'a' && found[0] != 'v')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("\"%s\" holds %s, which has no base", path,
		                       model_kind_name(found[0]))));
}

ALOL_FUNCTION(alol_model_load);
Datum
alol_model_load(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(2));
	LoadOptions options = {0};
	ModelRow row = {.name = name, .owner = GetUserId()};
	bool is_file;
	char *path;

	json_visit_options(PG_GETARG_JSONB_P(3), read_option, &options);
	PreventCommandIfReadOnly("alol_model_load()");
	check_kind(kind);
	model_check_new_name(name);
	path = check_path(text_to_cstring(PG_GETARG_TEXT_PP(1)), &is_file);
	check_base(path, options.base);
	if (options.tokenizer != NULL)
		row.tokenizer = options.tokenizer->tokenizer != 0
		                    ? options.tokenizer->tokenizer
		                    : options.tokenizer->id;
	if (options.base != NULL)
		row.base = options.base->id;
	row.description = inspect(name, path, &options);
	check_found(path, row.description, kind, options.base);
	row.path = options.is_stored ? NULL : path;
	row.directory = pstrdup(path);
	if (is_file)
		get_parent_directory((char *) row.directory);
	model_row_store(&row);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
