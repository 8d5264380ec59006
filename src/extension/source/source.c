/*
 * source.c
 *		Sources: text that names or selects rows, checked before it runs.
 */
#include "alol.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

#include "base/json.h"
#include "inference/prompt.h"
#include "source/source.h"
#include "source/source_check.h"
#include "source/source_read.h"

/* So many columns are listed in a hint. */
#define HINT_COLUMNS 20

/* ------------------------------------------------------- text to a query */

/* "schema"."name" of a relation that rows can be selected from. */
static char *
qualified_name(Oid relation, const char *text, const char *argument)
{
	switch (get_rel_relkind(relation))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
			                errmsg("%s \"%s\" is not a table or view", argument,
			                       text)));
	}
	return quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relation)),
		get_rel_name(relation));
}

/* The SELECT for a source that is a name; NULL when it is not one. */
static char *
query_of_name(const char *text, const char *argument)
{
	List *names;
	List *parts = NIL;
	ListCell *cell;
	Oid relation;

	if (!SplitIdentifierString(pstrdup(text), '.', &names) || names == NIL)
		return NULL;
	if (list_length(names) > 3)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s \"%s\" has too many dots", argument, text)));
	foreach (cell, names)
		parts = lappend(parts, makeString(pstrdup(lfirst(cell))));
	relation = RangeVarGetRelid(makeRangeVarFromNameList(parts), NoLock, true);
	if (!OidIsValid(relation))
		ereport(ERROR,
		        (errcode(ERRCODE_UNDEFINED_TABLE),
		         errmsg("%s \"%s\" does not exist", argument, text),
		         errhint("It is a table, a view, or one SELECT statement.")));
	return psprintf("SELECT * FROM %s",
	                qualified_name(relation, text, argument));
}

/* The one SELECT (or VALUES, or TABLE) that a text is, parsed. */
static RawStmt *
parse_select(const char *text, const char *argument)
{
	List *statements = raw_parser(text, RAW_PARSE_DEFAULT);
	RawStmt *statement;
	SelectStmt *select;

	if (statements == NIL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("%s is empty", argument),
		                errhint("It is a table, a view, or one SELECT "
		                        "statement.")));
	if (list_length(statements) > 1)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s must be one statement, not %d", argument,
		                       list_length(statements))));
	statement = linitial_node(RawStmt, statements);
	if (!IsA(statement->stmt, SelectStmt))
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s must be a table, a view or one SELECT "
		                       "statement",
		                       argument)));
	/* INTO hangs on the leftmost SELECT of a UNION. */
	select = (SelectStmt *) statement->stmt;
	while (select->op != SETOP_NONE)
		select = select->larg;
	if (select->intoClause != NULL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
		                errmsg("%s must not have INTO", argument)));
	return statement;
}

/* The statement's own text, without a semicolon or what follows it. */
static char *
statement_text(const char *text, const RawStmt *statement)
{
	const char *begin = text + Max(statement->stmt_location, 0);

	return statement->stmt_len > 0 ? pnstrdup(begin, statement->stmt_len)
	                               : pstrdup(begin);
}

/*
 * Parses source->query, with names resolved and all that we forbid refused,
 * and leaves in it what may stand between parentheses.
 */
static Query *
analyze(Source *source)
{
	SourceText origin = {
		.statement = source->query,
		.what = psprintf("argument \"%s\"", source->argument),
	};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = source_error_callback,
		.arg = &origin,
	};
	const char *argument = source->argument;
	RawStmt *statement;
	Query *result;

	error_context_stack = &callback;
	statement = parse_select(source->query, argument);
	source->query = statement_text(source->query, statement);
	result = source_analyze(statement, origin.statement, NULL);
	error_context_stack = callback.previous;

	if (result->hasModifyingCTE)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("%s must not modify data", argument),
		                errdetail("It has INSERT, UPDATE, DELETE or MERGE in "
		                          "WITH.")));
	if (source_locks_rows((Node *) result))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		                errmsg("%s must not lock rows", argument),
		                errhint("Leave FOR UPDATE or FOR SHARE out.")));
	if (!source->allows_temporary && source_uses_temporary((Node *) result))
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("%s uses temporary objects", argument),
		         errdetail("A job runs in a process of its own, which does "
		                   "not see them.")));
	return result;
}

/*
 * Starts the query without reading from it: this checks permissions, and that
 * no view writes or locks.
 */
static void
check_runs(const char *query)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	SPI_cursor_close(source_cursor_open(query));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* ---------------------------------------------------------- its columns */

/* The columns' names for a hint: a, b, c */
static char *
column_list(TupleDesc columns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < columns->natts && i < HINT_COLUMNS; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "",
		                 NameStr(TupleDescAttr(columns, i)->attname));
	if (columns->natts > HINT_COLUMNS)
		appendStringInfoString(&list, ", ...");
	return list.data;
}

AttrNumber
source_find_column(TupleDesc columns, const char *name)
{
	for (int i = 0; i < columns->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(columns, i)->attname), name) == 0)
			return (AttrNumber) (i + 1);
	return 0;
}

/* The column of this name, of which there is one at most; or 0. */
static AttrNumber
find_column(const Source *source, const char *name)
{
	AttrNumber found = 0;

	for (int i = 0; i < source->columns->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(source->columns, i)->attname), name) !=
		    0)
			continue;
		if (found != 0)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
			                errmsg("%s has more than one column \"%s\"",
			                       source->argument, name)));
		found = (AttrNumber) (i + 1);
	}
	return found;
}

static void
no_such_column(const Source *source, const char *name, const char *option)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_UNDEFINED_COLUMN),
	     errmsg("%s has no column \"%s\"", source->argument, name),
	     errdetail("Its columns are %s.", column_list(source->columns)),
	     option == NULL
	         ? 0
	         : errhint("Another column can be named in option %s.", option)));
}

/* The column that an option names, or else the one of the usual name. */
static AttrNumber
named_column(const Source *source, Jsonb *options, const char *option,
             const char *usual)
{
	char *name = json_text(options, option);
	AttrNumber found = find_column(source, name != NULL ? name : usual);

	/* A validation source may do without the keys that the other one has. */
	if (found == 0 && name != NULL && strcmp(source->argument, "source") == 0)
		no_such_column(source, name, NULL);
	return found;
}

static void
find_columns(Source *source, Jsonb *options)
{
	char *prompt = json_text(options, "prompt_column");
	char *response = json_text(options, "response_column");
	char *chosen = json_text(options, "chosen_column");
	char *rejected = json_text(options, "rejected_column");

	source->prompt_column = prompt != NULL ? prompt : pstrdup("prompt");
	source->response_column = response != NULL ? response : pstrdup("response");
	source->chosen_column = chosen != NULL ? chosen : pstrdup("chosen");
	source->rejected_column = rejected != NULL ? rejected : pstrdup("rejected");
	source->prompt = find_column(source, source->prompt_column);
	source->response = find_column(source, source->response_column);
	source->key = named_column(source, options, "key_column", "key");
	source->chosen = named_column(source, options, "chosen_column", "chosen");
	source->rejected =
		named_column(source, options, "rejected_column", "rejected");
	source->reward = find_column(source, "reward");
	source->value = find_column(source, "value");
	source->advantage = find_column(source, "advantage");
}

/* Refuses columns whose values mean nothing outside of their query. */
static void
check_columns(const Source *source)
{
	if (source->columns->natts == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
		                errmsg("%s has no columns", source->argument)));
	for (int i = 0; i < source->columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(source->columns, i);

		if (get_typtype(column->atttypid) == TYPTYPE_PSEUDO)
			ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
			                errmsg("%s column \"%s\" has pseudo-type %s",
			                       source->argument, NameStr(column->attname),
			                       format_type_be(column->atttypid)),
			                errhint("Cast it to a type.")));
	}
}

/* --------------------------------------------------------------- opening */

static Source *
open_source(const char *text, const char *argument, Jsonb *options,
            bool allows_temporary)
{
	Source *source = palloc0(sizeof(Source));
	bool needs_snapshot = !ActiveSnapshotSet();

	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("%s must not be null", argument)));
	source->text = pstrdup(text);
	source->argument = pstrdup(argument);
	source->allows_temporary = allows_temporary;
	if (needs_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	source->query = query_of_name(text, argument);
	if (source->query == NULL)
		source->query = source->text;
	source->columns = ExecCleanTypeFromTL(analyze(source)->targetList);
	check_columns(source);
	check_runs(source->query);
	find_columns(source, options);
	if (needs_snapshot)
		PopActiveSnapshot();
	return source;
}

Source *
source_open(const char *text, const char *argument, Jsonb *options)
{
	return open_source(text, argument, options, false);
}

Source *
source_open_session(const char *text, const char *argument, Jsonb *options)
{
	return open_source(text, argument, options, true);
}

/* ------------------------------------------------- what columns must be */

static void
require_text(const Source *source, AttrNumber attribute, const char *name,
             const char *option)
{
	Oid type;
	Oid base;
	char category;
	bool preferred;

	if (attribute == 0)
		no_such_column(source, name, option);
	type = TupleDescAttr(source->columns, attribute - 1)->atttypid;
	base = getBaseType(type);
	get_type_category_preferred(base, &category, &preferred);
	if (category != TYPCATEGORY_STRING)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s column \"%s\" must be text, not %s",
		                       source->argument, name, format_type_be(type)),
		                errhint("Cast it to text.")));
}

void
source_require(const Source *source, bool response)
{
	if (!prompt_is_chat(source->columns, source->prompt))
		require_text(source, source->prompt, source->prompt_column,
		             "prompt_column");
	if (response)
		require_text(source, source->response, source->response_column,
		             "response_column");
}

bool
source_has_pairs(const Source *source)
{
	return source->chosen != 0 && source->rejected != 0;
}

void
source_require_texts(const Source *source, bool pairs, bool needs_prompt)
{
	/* Whoever names another column means it. */
	if (needs_prompt || source->prompt != 0 ||
	    strcmp(source->prompt_column, "prompt") != 0)
		source_require(source, false);
	if (!pairs)
	{
		require_text(source, source->response, source->response_column,
		             "response_column");
		return;
	}
	require_text(source, source->chosen, source->chosen_column,
	             "chosen_column");
	require_text(source, source->rejected, source->rejected_column,
	             "rejected_column");
}

void
source_require_pairs(const Source *source)
{
	source_require_texts(source, true, true);
}

AttrNumber
source_column(const Source *source, const char *name)
{
	AttrNumber column = find_column(source, name);

	if (column == 0)
		no_such_column(source, name, NULL);
	return column;
}

void
source_require_number(const Source *source, AttrNumber attribute,
                      const char *name)
{
	Oid type;

	if (attribute == 0)
		no_such_column(source, name, NULL);
	type = TupleDescAttr(source->columns, attribute - 1)->atttypid;
	if (!number_type(type))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s column \"%s\" must be a number, not %s",
		                       source->argument, name, format_type_be(type))));
}

/* --------------------------------------------------------------- values */

char *
source_text(HeapTuple row, TupleDesc columns, AttrNumber attribute)
{
	bool isnull;
	Datum value;
	Oid type;
	Oid output;
	bool is_varlena;

	if (attribute == 0)
		return NULL;
	value = heap_getattr(row, attribute, columns, &isnull);
	if (isnull)
		return NULL;
	type = TupleDescAttr(columns, attribute - 1)->atttypid;
	if (type == TEXTOID || type == VARCHAROID)
		return TextDatumGetCString(value);
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

bool
number_type(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

double
number_from_datum(Datum value, Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
			return DatumGetBool(value) ? 1.0 : 0.0;
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			/* Beyond a double it is an infinity, which callers refuse by row. */
			return DatumGetFloat8(
				DirectFunctionCall1(numeric_float8_no_overflow, value));
		default:
			elog(ERROR, "type %s is not a number", format_type_be(type));
			return 0.0; /* for the compiler */
	}
}

bool
source_number(HeapTuple row, TupleDesc columns, AttrNumber attribute,
              double *number)
{
	bool isnull = true;
	Datum value = 0;

	if (attribute != 0)
		value = heap_getattr(row, attribute, columns, &isnull);
	*number = isnull
	              ? 0.0
	              : number_from_datum(
						value, TupleDescAttr(columns, attribute - 1)->atttypid);
	return !isnull;
}
