/*
 * spool_format.c
 *		The header of a spool: its columns, and whether their types are still
 *		what they were.
 */
#include "alol.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "source/spool_format.h"

/* Row types nest; the catalogue keeps them from nesting in themselves. */
static void
describe(StringInfo out, Oid type, int32 typmod)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;
	Oid element;

	check_stack_depth();
	if (!HeapTupleIsValid(tuple))
	{
		appendStringInfoString(out, "?");
		return;
	}
	form = (Form_pg_type) GETSTRUCT(tuple);
	appendStringInfo(out, "%s %d%c%c",
	                 format_type_extended(type, typmod,
	                                      FORMAT_TYPE_TYPEMOD_GIVEN |
	                                          FORMAT_TYPE_FORCE_QUALIFY),
	                 form->typlen, form->typbyval ? 'v' : 'r', form->typalign);
	if (form->typtype == TYPTYPE_COMPOSITE)
	{
		TupleDesc columns = lookup_rowtype_tupdesc_copy(type, -1);

		appendStringInfoChar(out, '(');
		for (int i = 0; i < columns->natts; i++)
		{
			Form_pg_attribute column = TupleDescAttr(columns, i);

			appendStringInfo(out, "%s", i > 0 ? ", " : "");
			if (column->attisdropped)
				appendStringInfo(out, "dropped %d%c", column->attlen,
				                 column->attalign);
			else
				describe(out, column->atttypid, column->atttypmod);
		}
		appendStringInfoChar(out, ')');
	}
	else if (form->typtype == TYPTYPE_DOMAIN)
	{
		appendStringInfoString(out, " over ");
		describe(out, form->typbasetype, form->typtypmod);
	}
	element = get_element_type(type);
	if (OidIsValid(element))
	{
		appendStringInfoString(out, " of ");
		describe(out, element, -1);
	}
	ReleaseSysCache(tuple);
}

char *
spool_describe_type(Oid type, int32 typmod)
{
	StringInfoData out;

	initStringInfo(&out);
	describe(&out, type, typmod);
	return out.data;
}

uint32
spool_crc(const void *data, size_t size)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data, size);
	FIN_CRC32C(crc);
	return crc;
}

void
spool_put_header(StringInfo out, TupleDesc columns)
{
	SpoolHead head = {.server = PG_VERSION_NUM / 100};
	StringInfoData data;

	initStringInfo(&data);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);
		const char *name = NameStr(attribute->attname);
		char *type =
			spool_describe_type(attribute->atttypid, attribute->atttypmod);
		SpoolColumn column = {
			.type = attribute->atttypid,
			.typmod = attribute->atttypmod,
			.collation = attribute->attcollation,
			.name_length = (uint32) strlen(name) + 1,
			.type_length = (uint32) strlen(type) + 1,
		};

		appendBinaryStringInfo(&data, (char *) &column, sizeof(column));
		appendBinaryStringInfo(&data, name, (int) column.name_length);
		appendBinaryStringInfo(&data, type, (int) column.type_length);
	}
	memcpy(head.magic, SPOOL_MAGIC, sizeof(head.magic));
	head.natts = (uint32) columns->natts;
	head.length = (uint32) data.len;
	head.crc = spool_crc(data.data, data.len);
	appendBinaryStringInfo(out, (char *) &head, sizeof(head));
	appendBinaryStringInfo(out, data.data, data.len);
}

static void
damaged(const char *path)
{
	ereport(ERROR,
	        (errcode(ERRCODE_DATA_CORRUPTED),
	         errmsg("columns of spool file \"%s\" cannot be read", path)));
}

static void
check_type(const SpoolColumn *column, const char *name, const char *then)
{
	char *now = spool_describe_type(column->type, column->typmod);

	if (strcmp(now, then) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATATYPE_MISMATCH),
		         errmsg("the type of column \"%s\" has changed since the job "
		                "read its source",
		                name),
		         errdetail("It was %s and is now %s.", then, now)));
	pfree(now);
}

TupleDesc
spool_get_columns(const SpoolHead *head, const char *data, const char *path)
{
	TupleDesc columns;
	size_t at = 0;

	if (head->natts > MaxTupleAttributeNumber)
		damaged(path);
	columns = CreateTemplateTupleDesc((int) head->natts);
	for (uint32 i = 0; i < head->natts; i++)
	{
		SpoolColumn column;
		const char *name;
		const char *type;

		if (head->length - at < sizeof(column))
			damaged(path);
		memcpy(&column, data + at, sizeof(column));
		at += sizeof(column);
		if (column.name_length == 0 || column.type_length == 0 ||
		    column.name_length > head->length - at ||
		    column.type_length > head->length - at - column.name_length)
			damaged(path);
		name = data + at;
		at += column.name_length;
		type = data + at;
		at += column.type_length;
		if (name[column.name_length - 1] != '\0' || data[at - 1] != '\0')
			damaged(path);
		check_type(&column, name, type);
		TupleDescInitEntry(columns, (AttrNumber) (i + 1), name, column.type,
		                   column.typmod, 0);
		TupleDescInitEntryCollation(columns, (AttrNumber) (i + 1),
		                            column.collation);
	}
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(columns);
#endif
	return columns;
}
