/*
 * critic_source.c
 *		What alol_train_reward() reads: its columns decide the objective.
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "job/critic.h"
#include "base/json.h"

/* How labels of a type can be used. */
typedef enum LabelType
{
	LABEL_NAME,   /* text and the like, booleans: of classes */
	LABEL_INDEX,  /* integers: of classes, or as numbers */
	LABEL_NUMBER, /* numbers as they are */
	LABEL_OTHER
} LabelType;

static LabelType
label_type(Oid type)
{
	char category;
	bool preferred;

	type = getBaseType(type);
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return LABEL_INDEX;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return LABEL_NUMBER;
		default:
			get_type_category_preferred(type, &category, &preferred);
			return category == TYPCATEGORY_STRING ||
			               category == TYPCATEGORY_BOOLEAN ||
			               category == TYPCATEGORY_ENUM
			           ? LABEL_NAME
			           : LABEL_OTHER;
	}
}

static Oid
column_type(const Source *source, AttrNumber column)
{
	return TupleDescAttr(source->columns, column - 1)->atttypid;
}

char *
critic_objective(const char *objective, const char *text, const char *label,
                 Jsonb *options)
{
	Source *source;
	AttrNumber column;

	if (strcmp(objective, "auto") != 0)
		return pstrdup(objective);
	source = source_open(text, "source", options);
	if (source_has_pairs(source))
		return pstrdup(CRITIC_PAIRWISE);
	column = source_column(source, label);
	return pstrdup(label_type(column_type(source, column)) == LABEL_NUMBER
	                   ? CRITIC_REGRESSION
	                   : CRITIC_CLASSIFICATION);
}

/* Raises unless the objective can use labels of this type. */
static void
check_label(const Source *source, AttrNumber column, const char *name,
            const char *objective)
{
	LabelType type = label_type(column_type(source, column));

	if (strcmp(objective, CRITIC_CLASSIFICATION) != 0)
	{
		source_require_number(source, column, name);
		return;
	}
	if (type == LABEL_NUMBER)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("%s column \"%s\" has type %s, of which "
		                       "classification makes no classes",
		                       source->argument, name,
		                       format_type_be(column_type(source, column))),
		                errhint("Cast it to integer or text, or use objective "
		                        "regression.")));
	if (type == LABEL_OTHER)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("%s column \"%s\" must be an integer, text or boolean, "
		                "not %s",
		                source->argument, name,
		                format_type_be(column_type(source, column)))));
}

AttrNumber
critic_label(const Source *source, Jsonb *settings)
{
	const char *objective = json_text(settings, "method");

	if (strcmp(objective, CRITIC_PAIRWISE) == 0 && source_has_pairs(source))
		return 0;
	return source_column(source, json_text(settings, "label"));
}

static Source *
open_texts(const char *text, const char *argument, Jsonb *settings)
{
	const char *objective = json_text(settings, "method");
	bool compares = strcmp(objective, CRITIC_PAIRWISE) == 0;
	Source *source = source_open(text, argument, settings);
	AttrNumber label;

	/* Rows are compared within their prompt; pairs and single texts may do
	 * without. */
	source_require_texts(source, compares && source_has_pairs(source),
	                     compares && !source_has_pairs(source));
	label = critic_label(source, settings);
	if (label != 0)
		check_label(source, label, json_text(settings, "label"), objective);
	return source;
}

void
critic_sources_open(const char *source, const char *validation, Jsonb *settings,
                    JobSources *sources)
{
	memset(sources, 0, sizeof(*sources));
	sources->source = open_texts(source, "source", settings);
	if (validation == NULL)
		return;
	sources->validation = open_texts(validation, "validation", settings);
	if (source_has_pairs(sources->validation) !=
	        source_has_pairs(sources->source) &&
	    strcmp(json_text(settings, "method"), CRITIC_PAIRWISE) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("one of source and validation has pairs, the "
		                       "other rows")));
}
