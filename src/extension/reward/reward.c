/*
 * reward.c
 *		Rewards: SQL expressions over the rows of a source.
 *
 * An expression is never pasted into a statement before PostgreSQL's own
 * parser has shown that, between two parentheses, it is one value and nothing
 * else.
 */
#include "alol.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"

#include "engine/batch.h"
#include "reward/reward_internal.h"
#include "source/source_check.h"

#define WHOLE_HINT                                                             \
	"What depends on all rows, such as a rank or a mean, belongs in the "      \
	"source."

/* ---------------------------------------------------------------- parsing */

/*
 * Adds to source_error_callback(): an aggregate beside a column is reported
 * as a missing GROUP BY, which is no help here.
 */
static void
parse_error_callback(void *argument)
{
	source_error_callback(argument);
	if (geterrcode() == ERRCODE_GROUPING_ERROR)
	{
		errmsg("reward must not use aggregate functions");
		errhint(WHOLE_HINT);
	}
}

/* The only value of a SELECT without any clause; NULL when it has others. */
static ResTarget *
only_target(const SelectStmt *select)
{
	ResTarget *target;

	if (select->op != SETOP_NONE || select->distinctClause != NIL ||
	    select->intoClause != NULL || select->fromClause != NIL ||
	    select->whereClause != NULL || select->groupClause != NIL ||
	    select->havingClause != NULL || select->windowClause != NIL ||
	    select->valuesLists != NIL || select->sortClause != NIL ||
	    select->limitOffset != NULL || select->limitCount != NULL ||
	    select->lockingClause != NIL || select->withClause != NULL ||
	    list_length(select->targetList) != 1)
		return NULL;
	target = linitial_node(ResTarget, select->targetList);
	return target->name == NULL && target->indirection == NIL ? target : NULL;
}

/* Raises unless the text, put between parentheses, is one value. */
static void
check_is_expression(const char *expression, const char *label)
{
	char *statement = psprintf("SELECT (\n%s\n)", expression);
	SourceText origin = {.statement = statement, .what = label};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = parse_error_callback,
		.arg = &origin,
	};
	List *statements;
	RawStmt *raw;

	if (expression[strspn(expression, " \t\r\n\f")] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s is empty", label)));
	error_context_stack = &callback;
	statements = raw_parser(statement, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;
	raw = linitial_node(RawStmt, statements);
	if (list_length(statements) != 1 || !IsA(raw->stmt, SelectStmt) ||
	    only_target((SelectStmt *) raw->stmt) == NULL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s must be one SQL expression", label),
		                errdetail("It reads: %s", expression)));
}

/* An environment in which the row is a relation. */
static QueryEnvironment *
row_environment(TupleDesc columns)
{
	QueryEnvironment *environment = create_queryEnv();
	EphemeralNamedRelation relation =
		palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = REWARD_ROW;
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = columns;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = 1;
	register_ENR(environment, relation);
	return environment;
}

/* ------------------------------------------------- what the parser found */

typedef struct Findings
{
	int depth; /* of subqueries */
	int natts;
	Bitmapset *reads;
	bool reads_rows; /* a subquery has the row as its table */
} Findings;

static bool
find(Node *node, void *context)
{
	Findings *findings = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		bool result;

		findings->depth++;
		result = query_tree_walker((Query *) node, find, context,
		                           QTW_EXAMINE_RTES_BEFORE);
		findings->depth--;
		return result;
	}
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		if (entry->rtekind == RTE_NAMEDTUPLESTORE && findings->depth > 1)
			findings->reads_rows = true;
		return false;
	}
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		/* Depth 1 is our own SELECT, whose only table is the row. */
		if ((int) var->varlevelsup != findings->depth - 1)
			return false;
		if (var->varattno > 0)
			findings->reads = bms_add_member(findings->reads, var->varattno);
		else
			findings->reads =
				bms_add_range(findings->reads, 1, findings->natts);
		return false;
	}
	return expression_tree_walker(node, find, context);
}

static void
refuse(const char *label, const char *what)
{
	ereport(ERROR,
	        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
	         errmsg("%s must not use %s", label, what), errhint(WHOLE_HINT)));
}

/* Raises for what an expression over one row cannot be. */
static void
check_query(const Query *query, const char *label, bool allows_temporary)
{
	Oid type;

	if (query->hasAggs)
		refuse(label, "aggregate functions");
	if (query->hasWindowFuncs)
		refuse(label, "window functions");
	if (query->hasTargetSRFs)
		refuse(label, "set-returning functions");
	if (list_length(query->targetList) != 1)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s must be one value, not %d", label,
		                       list_length(query->targetList))));
	if (source_locks_rows((Node *) query))
		refuse(label, "row locks");
	if (!allows_temporary && source_uses_temporary((Node *) query))
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("%s uses temporary objects", label),
		         errdetail("A job runs in a process of its own, which does "
		                   "not see them.")));
	type =
		exprType((Node *) linitial_node(TargetEntry, query->targetList)->expr);
	if (!number_type(type))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s must be a number, not %s", label,
		                       format_type_be(type))));
}

/* Parses the statement of a component, with names resolved, and checks it. */
static void
analyze(Component *component, TupleDesc columns, bool allows_temporary)
{
	SourceText origin = {
		.statement = component->statement,
		.what = component->label,
	};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = parse_error_callback,
		.arg = &origin,
	};
	Findings findings = {.natts = columns->natts};
	List *statements;
	Query *query;

	error_context_stack = &callback;
	statements = raw_parser(component->statement, RAW_PARSE_DEFAULT);
	query = source_analyze(linitial_node(RawStmt, statements),
	                       component->statement, row_environment(columns));
	error_context_stack = callback.previous;

	check_query(query, component->label, allows_temporary);
	(void) find((Node *) query, &findings);
	if (findings.reads_rows)
		refuse(component->label, "\"" REWARD_ROW "\" as a table");
	component->reads = findings.reads;
	component->is_batched = batch_is_useful((Node *) query);
}

/* ---------------------------------------------------------------- opening */

static void
open_component(Component *component, const char *name, const char *expression,
               TupleDesc columns, bool allows_temporary)
{
	component->name = name == NULL ? NULL : pstrdup(name);
	component->label =
		name == NULL ? "reward" : psprintf("reward \"%s\"", name);
	/* A column's name as it is, even where SQL would want quotes. */
	if (source_find_column(columns, expression) != 0)
		component->statement =
			psprintf("SELECT " REWARD_ROW ".%s FROM " REWARD_ROW,
		             quote_identifier(expression));
	else
	{
		check_is_expression(expression, component->label);
		component->statement =
			psprintf("SELECT (\n%s\n) FROM " REWARD_ROW, expression);
	}
	analyze(component, columns, allows_temporary);
}

/* The members of '{"name": "expression", ...}'. */
static void
open_named(Reward *reward, const char *json, bool allows_temporary)
{
	Jsonb *object =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	reward->is_named = true;
	reward->components = palloc0(sizeof(Component) * JB_ROOT_COUNT(object));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvString)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			                errmsg("reward \"%s\" must be a string that holds "
			                       "an SQL expression",
			                       name)));
		open_component(&reward->components[reward->count++], name,
		               pnstrdup(value.val.string.val, value.val.string.len),
		               reward->columns, allows_temporary);
	}
	if (reward->count == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("reward has no components")));
}

Reward *
reward_open(const char *expression, TupleDesc columns, const Source *source)
{
	Reward *reward = palloc0(sizeof(Reward));
	bool allows_temporary = source != NULL && source->allows_temporary;

	reward->columns = CreateTupleDescCopy(columns);
	if (source != NULL)
	{
		reward->prompt = source->prompt;
		reward->key = source->key;
		reward->response = source->response;
	}
	if (expression == NULL)
	{
		if (source_find_column(columns, "reward") == 0)
			ereport(ERROR,
			        (errcode(ERRCODE_UNDEFINED_COLUMN),
			         errmsg("%s has no column \"reward\"",
			                source == NULL ? "source" : source->argument),
			         errhint("Give a column's name or an SQL expression as "
			                 "reward.")));
		expression = "reward";
	}
	if (expression[strspn(expression, " \t\r\n\f")] == '{')
	{
		open_named(reward, expression, allows_temporary);
		return reward;
	}
	reward->count = 1;
	reward->components = palloc0(sizeof(Component));
	open_component(reward->components, NULL, expression, columns,
	               allows_temporary);
	return reward;
}

/* -------------------------------------------------------------- what it is */

/* Whether a component reads more of a row than its prompt and key. */
static bool
reads_data(const Reward *reward, const Component *component)
{
	int attribute = -1;

	while ((attribute = bms_next_member(component->reads, attribute)) >= 0)
		if (attribute != reward->prompt && attribute != reward->key)
			return true;
	return false;
}

bool
reward_is_stored(const Reward *reward)
{
	bool any_reads_response = false;

	for (int i = 0; i < reward->count; i++)
	{
		const Component *component = &reward->components[i];

		if (bms_is_member(reward->response, component->reads))
			any_reads_response = true;
		else if (reads_data(reward, component))
			return true;
	}
	return !any_reads_response;
}

int
reward_components(const Reward *reward)
{
	return reward->is_named ? reward->count : 0;
}

const char *
reward_component_name(const Reward *reward, int i)
{
	return reward->components[i].name;
}

Bitmapset *
reward_columns(const Reward *reward)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < reward->count; i++)
		columns = bms_add_members(columns, reward->components[i].reads);
	return columns;
}

HeapTuple
reward_replace_response(TupleDesc columns, AttrNumber response, HeapTuple row,
                        const char *utf8, size_t length)
{
	Oid type = TupleDescAttr(columns, response - 1)->atttypid;
	Datum value = PointerGetDatum(text_from_utf8(utf8, length));
	int attribute = response;
	bool isnull = false;

	if (type != TEXTOID && type != VARCHAROID)
	{
		Oid input;
		Oid parameter;

		getTypeInputInfo(type, &input, &parameter);
		value = OidInputFunctionCall(input, TextDatumGetCString(value),
		                             parameter, -1);
	}
	return heap_modify_tuple_by_cols(row, columns, 1, &attribute, &value,
	                                 &isnull);
}
