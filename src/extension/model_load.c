/*
 * model_load.c
 *		alol_model_load(): a directory on the server becomes a model.
 */
#include "alol.h"

#include <sys/stat.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "json.h"
#include "model_store.h"
#include "nearest.h"

/* What the options of alol_model_load() say. */
typedef struct LoadOptions
{
	char *tokenizer; /* name of a model, or NULL */
	bool is_stored;  /* in the database */
} LoadOptions;

static void
check_kind(const char *kind)
{
	if (strcmp(kind, "auto") == 0 || strcmp(kind, "lm") == 0)
		return;
	if (strcmp(kind, "classifier") == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("classifiers are not available yet")));
	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("kind must be \"auto\", \"lm\" or \"classifier\", not "
	                "\"%s\"",
	                kind)));
}

/* The checked path: absolute, a directory. */
static char *
check_path(const char *argument)
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
		                errmsg("could not open directory \"%s\": %m", path)));
	if (!S_ISDIR(status.st_mode))
		ereport(ERROR,
		        (errcode(ERRCODE_WRONG_OBJECT_TYPE),
		         errmsg("\"%s\" is not a directory", path),
		         errhint("A model is loaded from a Hugging Face directory.")));
	return path;
}

static char *
text_option(JsonbValue *value, const char *key)
{
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("option \"%s\" must be text", key)));
	return pnstrdup(value->val.string.val, value->val.string.len);
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

static void
read_option(LoadOptions *options, const char *key, JsonbValue *value)
{
	if (strcmp(key, "tokenizer") == 0)
		options->tokenizer = text_option(value, key);
	else if (strcmp(key, "store") == 0)
	{
		char *store = text_option(value, key);

		options->is_stored = strcmp(store, "database") == 0;
		if (!options->is_stored && strcmp(store, "path") != 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("option \"store\" must be \"path\" or "
			                       "\"database\", not \"%s\"",
			                       store)));
	}
	else if (strcmp(key, "base") == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("adapters are not available yet")));
	else
		fail_unknown(key);
}

static LoadOptions
read_options(Jsonb *object)
{
	LoadOptions options = {0};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("options must be a JSON object")));
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvNull)
			read_option(&options,
			            pnstrdup(key.val.string.val, key.val.string.len),
			            &value);
	}
	return options;
}

/* The engine opens and checks the directory, with the tokenizer it will have.
 */
static Jsonb *
inspect(const char *name, const char *path, const Model *tokenizer)
{
	Engine *engine = engine_session();
	StringInfoData ref;

	if (tokenizer == NULL)
		return model_inspect_directory(engine, name, path);
	initStringInfo(&ref);
	appendStringInfoChar(&ref, '{');
	json_add_text(&ref, "name", name);
	json_add_text(&ref, "path", path);
	json_add_text(&ref, "tokenizer", model_directory(tokenizer));
	appendStringInfoChar(&ref, '}');
	return model_inspect(engine, ref.data);
}

ALOL_FUNCTION(alol_model_load);
Datum
alol_model_load(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(2));
	LoadOptions options = read_options(PG_GETARG_JSONB_P(3));
	Model *tokenizer = NULL;
	ModelRow row = {.name = name, .owner = GetUserId()};
	char *path;

	PreventCommandIfReadOnly("alol_model_load()");
	check_kind(kind);
	model_check_new_name(name);
	path = check_path(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (options.tokenizer != NULL)
	{
		tokenizer = model_get(options.tokenizer, GetUserId());
		row.tokenizer =
			tokenizer->tokenizer != 0 ? tokenizer->tokenizer : tokenizer->id;
	}
	row.description = inspect(name, path, tokenizer);
	row.path = options.is_stored ? NULL : path;
	row.directory = path;
	model_row_store(&row);
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
