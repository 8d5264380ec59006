/*
 * model_store.c
 *		Writing a model: its files in chunks, its row last.
 */
#include "alol.h"

#include <fcntl.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "model/model_file.h"
#include "model/model_store.h"

static int64
new_id(void)
{
	bool isnull;

	owner_run("SELECT nextval('@schema@.alol_model_id'::regclass)", 0, NULL,
	          NULL, NULL, false);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
	                                   SPI_tuptable->tupdesc, 1, &isnull));
}

static void
store_chunk(int64 model, const char *name, int chunk, bytea *data)
{
	Oid types[] = {INT8OID, TEXTOID, INT4OID, BYTEAOID};
	Datum values[] = {Int64GetDatum(model), CStringGetTextDatum(name),
	                  Int32GetDatum(chunk), PointerGetDatum(data)};

	owner_run("INSERT INTO @schema@.alol_model_file (model, name, chunk, data) "
	          "VALUES ($1, $2, $3, $4)",
	          4, types, values, NULL, false);
}

/* Reads a whole chunk, or what is left of the file. */
static size_t
read_chunk(int descriptor, const char *path, char *data)
{
	size_t size = 0;

	while (size < MODEL_CHUNK_SIZE)
	{
		ssize_t count = read(descriptor, data + size, MODEL_CHUNK_SIZE - size);

		if (count < 0)
			ereport(ERROR, (errcode_for_file_access(),
			                errmsg("could not read file \"%s\": %m", path)));
		if (count == 0)
			break;
		size += (size_t) count;
	}
	return size;
}

/* Stores one file chunk by chunk; an empty one has no chunk. */
static void
store_file(int64 model, const char *path, ModelFile *file)
{
	MemoryContext chunk_context = AllocSetContextCreate(
		CurrentMemoryContext, "alol chunk", ALLOCSET_DEFAULT_SIZES);
	int descriptor = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	bytea *data = palloc(VARHDRSZ + MODEL_CHUNK_SIZE);
	ModelHash *hash = model_hash_open();
	int chunk = 0;
	size_t size;

	if (descriptor < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not open file \"%s\": %m", path)));
	file->bytes = 0;
	while ((size = read_chunk(descriptor, path, VARDATA(data))) > 0)
	{
		MemoryContext saved = MemoryContextSwitchTo(chunk_context);

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(data, VARHDRSZ + size);
		model_hash_add(hash, VARDATA(data), size);
		store_chunk(model, file->name, chunk++, data);
		file->bytes += (int64) size;
		MemoryContextSwitchTo(saved);
		MemoryContextReset(chunk_context);
	}
	model_hash_close(hash, file->hash);
	CloseTransientFile(descriptor);
	pfree(data);
	MemoryContextDelete(chunk_context);
}

/* Stores all files that the description names; a List of ModelFile. */
static List *
store_files(int64 model, const ModelRow *row)
{
	Jsonb *names = json_member(row->description, "files");
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;
	List *files = NIL;

	if (names == NULL)
		elog(ERROR, "the engine named no files of model \"%s\"", row->name);
	iterator = JsonbIteratorInit(&names->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		ModelFile *file;

		if (token != WJB_ELEM || value.type != jbvString)
			continue;
		file = palloc0(sizeof(ModelFile));
		file->name = pnstrdup(value.val.string.val, value.val.string.len);
		model_check_file_name(file->name);
		store_file(model, psprintf("%s/%s", row->directory, file->name), file);
		files = lappend(files, file);
	}
	return files;
}

static int64
total_bytes(List *files)
{
	int64 bytes = 0;
	ListCell *cell;

	foreach (cell, files)
		bytes += ((ModelFile *) lfirst(cell))->bytes;
	return bytes;
}

static const char *
text_of(Jsonb *description, const char *key)
{
	char *text = json_text(description, key);

	return text == NULL ? "" : text;
}

/* A parameter of a statement that is NULL when pointer is. */
static Datum
text_or_null(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static Datum
id_or_null(int64 id, char *null)
{
	*null = id == 0 ? 'n' : ' ';
	return Int64GetDatum(id);
}

static void
insert_row(int64 id, const ModelRow *row, List *files)
{
	Oid types[] = {INT8OID,  TEXTOID, OIDOID,  TEXTOID, TEXTOID, INT8OID,
	               TEXTOID,  INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID,
	               JSONBOID, INT8OID, INT8OID, INT8OID, INT8OID};
	char nulls[] = "                 ";
	char hash[MODEL_HASH_SIZE];
	Jsonb *description = row->description;
	bool is_stored = row->path == NULL;
	int64 bytes =
		is_stored ? total_bytes(files) : json_int(description, "bytes", 0);
	Datum values[lengthof(types)];

	if (is_stored)
		model_files_hash(files, hash);
	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(row->name);
	values[2] = ObjectIdGetDatum(row->owner);
	values[3] = CStringGetTextDatum(text_of(description, "kind"));
	values[4] = CStringGetTextDatum(text_of(description, "architecture"));
	values[5] = Int64GetDatum(json_int(description, "parameters", 0));
	values[6] = CStringGetTextDatum(text_of(description, "dtype"));
	values[7] = Int64GetDatum(json_int(description, "context", 0));
	values[8] = Int64GetDatum(json_int(description, "vocabulary", 0));
	values[9] = Int64GetDatum(bytes);
	values[10] = text_or_null(row->path, &nulls[10]);
	values[11] = text_or_null(is_stored ? hash : NULL, &nulls[11]);
	nulls[12] = is_stored ? ' ' : 'n';
	values[12] = is_stored ? JsonbPGetDatum(model_files_write(files)) : 0;
	values[13] = id_or_null(row->base, &nulls[13]);
	values[14] = id_or_null(row->tokenizer, &nulls[14]);
	values[15] = id_or_null(row->job, &nulls[15]);
	values[16] = id_or_null(json_int(description, "rank", 0), &nulls[16]);
	owner_run("INSERT INTO @schema@.alol_model (id, name, owner, kind, "
	          "architecture, parameters, dtype, context, vocabulary, bytes, "
	          "path, hash, files, base, tokenizer, job, rank) VALUES ($1, $2, "
	          "$3::regrole, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
	          "$15, $16, $17)",
	          lengthof(types), types, values, nulls, false);
}

int64
model_row_store(const ModelRow *row)
{
	OwnerScope scope;
	List *files = NIL;
	int64 id;

	owner_begin(&scope);
	id = new_id();
	if (row->path == NULL)
		files = store_files(id, row);
	insert_row(id, row, files);
	owner_end(&scope);
	return id;
}

int64
model_store(const char *name, Oid owner, const char *directory,
            Jsonb *description, int64 base, int64 job)
{
	ModelRow row = {
		.name = name,
		.owner = owner,
		.description = description,
		.directory = directory,
		.base = base,
		.job = job,
	};

	return model_row_store(&row);
}
