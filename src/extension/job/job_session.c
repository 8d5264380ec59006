/*
 * job_session.c
 *		The caller's session, as far as a worker must be like it.
 *
 * A worker is a new session of the owner: it has the search_path of ALTER
 * ROLE, not the caller's, in which the source was checked.
 */
#include "alol.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "lib/stringinfo.h"
#include "utils/guc.h"

#include "job/job_submit.h"
#include "base/json.h"
#include "base/statement.h"

/* "alol.device" is, where the session has set it: what the configuration says
 * may change before a job goes on. */
static const char *const recorded[] = {
	"search_path",  "DateStyle",    "TimeZone",
	"row_security", "alol.threads", "alol.checkpoint_interval",
};

/* Settings that would make the worker someone else, or its transactions
 * something else. */
static const char *const refused[] = {
	"role",
	"session_authorization",
	"transaction_read_only",
	"transaction_isolation",
	"transaction_deferrable",
	"default_transaction_read_only",
};

static void
check_name(const char *name)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_fixed;

	for (size_t i = 0; i < lengthof(refused); i++)
	{
		if (pg_strcasecmp(name, refused[i]) == 0)
			ereport(ERROR,
			        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			         errmsg("setting \"%s\" cannot be passed to a job", name)));
	}
	owner_begin(&scope);
	statement_text(&statement, name);
	is_fixed = statement_read(&statement,
	                          "SELECT FROM pg_settings WHERE lower(name) = "
	                          "lower($1) AND context NOT IN ('user', "
	                          "'superuser')") > 0;
	owner_end(&scope);
	if (is_fixed)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("setting \"%s\" cannot be passed to a job", name),
		         errdetail("It cannot be set in a session.")));
}

static bool
is_of_session(const char *name)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_set;

	owner_begin(&scope);
	statement_text(&statement, name);
	is_set = statement_read(&statement,
	                        "SELECT FROM pg_settings WHERE name = $1 AND "
	                        "source = 'session'") > 0;
	owner_end(&scope);
	return is_set;
}

static void
record(StringInfo json, const char *name)
{
	json_add_text(json, name, GetConfigOptionByName(name, NULL, false));
}

Jsonb *
session_record(Jsonb *settings)
{
	Jsonb *names = json_member(settings, "settings");
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (size_t i = 0; i < lengthof(recorded); i++)
		record(&json, recorded[i]);
	if (is_of_session("alol.device"))
		record(&json, "alol.device");
	for (uint32 i = 0; names != NULL; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&names->root, i);
		char *name;

		if (value == NULL)
			break;
		if (value->type != jbvString)
			continue;
		name = pnstrdup(value->val.string.val, value->val.string.len);
		check_name(name);
		record(&json, name);
	}
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/*
 * With whose right the worker sets it.  The caller had PostgreSQL's own
 * settings and ours with whatever right that took.  Those of other libraries
 * may have been mere names in a session that had not loaded the library:
 * anyone can set these to anything.
 */
static GucContext
right_to_set(const char *name)
{
	if (strchr(name, '.') == NULL || pg_strncasecmp(name, "alol.", 5) == 0 ||
	    superuser())
		return PGC_SUSET;
	return PGC_USERSET;
}

void
session_apply(Jsonb *session)
{
	JsonbIterator *iterator = JsonbIteratorInit(&session->root);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && name != NULL && value.type == jbvString)
			(void) set_config_option(
				name, pnstrdup(value.val.string.val, value.val.string.len),
				right_to_set(name), PGC_S_SESSION, GUC_ACTION_SET, true, 0,
				false);
	}
}
