/*
 * model_cache.c
 *		From a model's row to files an engine can map, and its ModelRef.
 *
 * A stored model lies in the cache under the hash of its content, so that ten
 * sessions map one copy, and neither a restore nor a copied database can give
 * wrong weights.  It is written elsewhere and renamed: what the cache shows is
 * whole, and of two that make it at once one wins and both are right.
 */
#include "alol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "model/model.h"
#include "model/model_file.h"

/* What no engine has asked for so long is swept: its model was dropped with
 * its database, or can be made again. */
#define KEEP_DAYS 30
#define DAY_S (24 * 60 * 60)

/* Chunks that are read from the database at a time. */
#define CHUNKS_AT_ONCE 8

/* Models under models, at most: value on policy, on tokenizer. */
#define DEPTH_MAX 4

/* ---------------------------------------------- out of the database */

static void
write_all(int descriptor, const char *path, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t count = write(descriptor, data, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			ereport(ERROR, (errcode_for_file_access(),
			                errmsg("could not write file \"%s\": %m", path)));
		data += count;
		size -= (size_t) count;
	}
}

/* Writes and hashes up to CHUNKS_AT_ONCE chunks from first on; returns how
 * many there were. */
static int
copy_chunks(int64 model, const char *name, int first, int descriptor,
            const char *path, ModelHash *hash)
{
	Oid types[] = {INT8OID, TEXTOID, INT4OID, INT4OID};
	Datum values[] = {Int64GetDatum(model), CStringGetTextDatum(name),
	                  Int32GetDatum(first),
	                  Int32GetDatum(first + CHUNKS_AT_ONCE)};
	int count = (int) owner_run(
		"SELECT data FROM @schema@.alol_model_file WHERE model = $1 AND "
		"name = $2 AND chunk >= $3 AND chunk < $4 ORDER BY chunk",
		4, types, values, NULL, true);
	SPITupleTable *rows = SPI_tuptable;

	for (int i = 0; i < count; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull);
		bytea *data = DatumGetByteaPP(value);

		write_all(descriptor, path, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
		model_hash_add(hash, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
		if ((Pointer) data != DatumGetPointer(value))
			pfree(data);
	}
	SPI_freetuptable(rows);
	return count;
}

static void
extract_file(const Model *model, const ModelFile *file, const char *path)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "alol file", ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	int descriptor =
		OpenTransientFile(path, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY);
	ModelHash *hash = model_hash_open();
	char hex[MODEL_HASH_SIZE];
	int chunk = 0;
	int count;

	if (descriptor < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create file \"%s\": %m", path)));
	do
	{
		CHECK_FOR_INTERRUPTS();
		count =
			copy_chunks(model->id, file->name, chunk, descriptor, path, hash);
		chunk += count;
	} while (count == CHUNKS_AT_ONCE);
	model_hash_close(hash, hex);
	if (strcmp(hex, file->hash) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATA_CORRUPTED),
		         errmsg("file \"%s\" of model \"%s\" is damaged in the "
		                "database",
		                file->name, model->name),
		         errdetail("Its SHA-256 is %s, not %s.", hex, file->hash)));
	if (pg_fsync(descriptor) != 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not fsync file \"%s\": %m", path)));
	CloseTransientFile(descriptor);
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
}

/* ------------------------------------------------------- in the cache */

/* Are all files there, with the right size? */
static bool
is_whole(const char *directory, List *files)
{
	ListCell *cell;

	foreach (cell, files)
	{
		ModelFile *file = lfirst(cell);
		char *path = psprintf("%s/%s", directory, file->name);
		struct stat status;
		bool is_there = stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
		                status.st_size == file->bytes;

		pfree(path);
		if (!is_there)
			return false;
	}
	return true;
}

/* Renames the made directory to its place, whoever comes first. */
static void
publish(const char *made, const char *place, List *files)
{
	fsync_fname(made, true);
	if (rename(made, place) == 0)
		return;
	if ((errno == EEXIST || errno == ENOTEMPTY) && !is_whole(place, files))
	{
		/* A damaged one stands there; engines that map it keep its files. */
		directory_remove(place);
		if (rename(made, place) == 0)
			return;
	}
	if (!is_whole(place, files))
		ereport(ERROR,
		        (errcode_for_file_access(),
		         errmsg("could not rename \"%s\" to \"%s\": %m", made, place)));
}

static void
extract_model(const Model *model, List *files, const char *place)
{
	char *made = directory_temporary();

	PG_TRY();
	{
		OwnerScope scope;
		ListCell *cell;

		owner_begin(&scope);
		foreach (cell, files)
		{
			ModelFile *file = lfirst(cell);

			extract_file(model, file, psprintf("%s/%s", made, file->name));
		}
		owner_end(&scope);
		publish(made, place, files);
	}
	PG_FINALLY();
	{
		directory_remove(made);
	}
	PG_END_TRY();
}

/* The time of a directory is that of its last use, to a day. */
static void
note_use(const char *place)
{
	struct stat status;

	if (stat(place, &status) == 0 && status.st_mtime < time(NULL) - DAY_S)
		(void) utimes(place, NULL);
}

/* Removes what has not been used for KEEP_DAYS. */
static void
sweep_cache(const char *cache)
{
	DIR *directory = opendir(cache);
	time_t oldest = time(NULL) - (time_t) KEEP_DAYS * DAY_S;
	struct dirent *entry;
	struct stat status;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
	{
		if (entry->d_name[0] != '.' &&
		    fstatat(dirfd(directory), entry->d_name, &status,
		            AT_SYMLINK_NOFOLLOW) == 0 &&
		    status.st_mtime < oldest)
			directory_remove(psprintf("%s/%s", cache, entry->d_name));
	}
	closedir(directory);
}

/* A GGUF file is all of its model; other models are directories. */
static char *
find_in(const char *directory, List *files)
{
	const ModelFile *file = list_length(files) == 1 ? linitial(files) : NULL;
	size_t length = file == NULL ? 0 : strlen(file->name);

	if (length > 5 && strcmp(file->name + length - 5, ".gguf") == 0)
		return psprintf("%s/%s", directory, file->name);
	return pstrdup(directory);
}

char *
model_path(const Model *model)
{
	char *cache;
	List *files;
	char *place;

	if (model->path != NULL)
		return pstrdup(model->path);
	files = model_files_read(model->files);
	cache = directory_cache();
	place = psprintf("%s/%s", cache, model->hash);
	if (!is_whole(place, files))
	{
		sweep_cache(cache);
		extract_model(model, files, place);
	}
	note_use(place);
	return find_in(place, files);
}

/* -------------------------------------------- what engines make of it */

char *
model_path_forms(const char *path)
{
	ModelHash *hash = model_hash_open();
	char hex[MODEL_HASH_SIZE];

	model_hash_add(hash, path, strlen(path));
	model_hash_close(hash, hex);
	return psprintf("%s/path-%s", directory_cache_path(), hex);
}

/*
 * Where engines keep what they make of the model's weights: beside its files
 * in the cache, or for a model that is not ours in a place of its own, which is
 * made if it can be.  Engines get on without, and say so in the log.
 */
static char *
forms_directory(const Model *model)
{
	char *cache = directory_cache_path();
	char *place;

	if (model->path == NULL)
		return psprintf("%s/%s", cache, model->hash);
	place = model_path_forms(model->path);
	if (access(place, F_OK) != 0)
	{
		sweep_cache(cache);
		directory_try_in_cache(place);
	}
	note_use(place);
	return place;
}

/* ----------------------------------------------------------- ModelRef */

static char *
reference(const Model *model, const char *dtype, int depth)
{
	StringInfoData json;

	if (depth > DEPTH_MAX)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
		                errmsg("model \"%s\" stands on too many others",
		                       model->name)));
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_text(&json, "name", model->name);
	json_add_text(&json, "path", model_path(model));
	if (model->kind != 'a' && model->kind != 'v')
		json_add_text(&json, "forms", forms_directory(model));
	if (model->tokenizer != 0)
		json_add_text(&json, "tokenizer",
		              model_path(model_get_by_id(model->tokenizer)));
	if (model->base != 0)
		json_add_json(&json, "base",
		              reference(model_get_by_id(model->base), NULL, depth + 1));
	if (dtype != NULL)
		json_add_text(&json, "dtype", dtype);
	appendStringInfoChar(&json, '}');
	return json.data;
}

char *
model_ref(const Model *model)
{
	return reference(model, NULL, 1);
}

char *
model_ref_with(const Model *model, const char *dtype)
{
	return reference(model, dtype, 1);
}
