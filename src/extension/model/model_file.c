/*
 * model_file.c
 *		Names, sizes and hashes of a model's files.
 */
#include "alol.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "nodes/pg_list.h"

#include "base/json.h"
#include "model/model_file.h"

struct ModelHash
{
	pg_cryptohash_ctx *context;
};

pg_attribute_noreturn() static void fail_hash(void)
{
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
	                errmsg("could not compute a SHA-256 hash")));
	pg_unreachable();
}

ModelHash *
model_hash_open(void)
{
	ModelHash *hash = palloc0(sizeof(ModelHash));

	hash->context = pg_cryptohash_create(PG_SHA256);
	if (hash->context == NULL || pg_cryptohash_init(hash->context) < 0)
		fail_hash();
	return hash;
}

void
model_hash_add(ModelHash *hash, const void *data, size_t size)
{
	if (pg_cryptohash_update(hash->context, data, size) < 0)
		fail_hash();
}

void
model_hash_close(ModelHash *hash, char hex[MODEL_HASH_SIZE])
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];

	if (pg_cryptohash_final(hash->context, digest, sizeof(digest)) < 0)
		fail_hash();
	pg_cryptohash_free(hash->context);
	pfree(hash);
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void
model_check_file_name(const char *name)
{
	if (name == NULL || name[0] == '\0' || name[0] == '.' ||
	    strchr(name, '/') != NULL || strlen(name) > 255)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("\"%s\" is not the name of a model's file",
		                       name == NULL ? "" : name)));
}

List *
model_files_read(Jsonb *files)
{
	JsonbIterator *iterator = JsonbIteratorInit(&files->root);
	JsonbIteratorToken token;
	JsonbValue value;
	List *list = NIL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		ModelFile *file;
		Jsonb *entry;
		char *hash;

		if (token != WJB_ELEM || value.type != jbvBinary)
			continue;
		entry = JsonbValueToJsonb(&value);
		file = palloc0(sizeof(ModelFile));
		file->name = json_text(entry, "name");
		file->bytes = json_int(entry, "bytes", -1);
		hash = json_text(entry, "sha256");
		model_check_file_name(file->name);
		if (file->bytes < 0 || hash == NULL ||
		    strlen(hash) != MODEL_HASH_SIZE - 1)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
			                errmsg("the list of a model's files is broken at "
			                       "\"%s\"",
			                       file->name)));
		strlcpy(file->hash, hash, MODEL_HASH_SIZE);
		list = lappend(list, file);
	}
	return list;
}

Jsonb *
model_files_write(List *files)
{
	StringInfoData json;
	ListCell *cell;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	foreach (cell, files)
	{
		ModelFile *file = lfirst(cell);

		appendStringInfoString(&json, cell == list_head(files) ? "{" : ", {");
		json_add_text(&json, "name", file->name);
		json_add_int(&json, "bytes", file->bytes);
		json_add_text(&json, "sha256", file->hash);
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoChar(&json, ']');
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

static int
by_name(const ListCell *left, const ListCell *right)
{
	return strcmp(((ModelFile *) lfirst(left))->name,
	              ((ModelFile *) lfirst(right))->name);
}

void
model_files_hash(List *files, char hex[MODEL_HASH_SIZE])
{
	ModelHash *hash = model_hash_open();
	ListCell *cell;

	list_sort(files, by_name);
	foreach (cell, files)
	{
		ModelFile *file = lfirst(cell);
		char *line = psprintf("%s " INT64_FORMAT " %s\n", file->hash,
		                      file->bytes, file->name);

		model_hash_add(hash, line, strlen(line));
	}
	model_hash_close(hash, hex);
}
