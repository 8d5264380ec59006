/*
 * model_file.h
 *		What model_store.c and model_cache.c share: the files of a model that
 *		is stored in the database, in chunks.
 */
#pragma once

#include "lib/stringinfo.h"

#define MODEL_CHUNK_SIZE (1024 * 1024)

/* SHA-256 in hex, with the zero at its end. */
#define MODEL_HASH_SIZE 65

typedef struct ModelHash ModelHash;

extern ModelHash *model_hash_open(void);
extern void model_hash_add(ModelHash *hash, const void *data, size_t size);
extern void model_hash_close(ModelHash *hash, char hex[MODEL_HASH_SIZE]);

/* Raises unless it is the name of a file in the model's own directory. */
extern void model_check_file_name(const char *name);

/* One entry of alol_model.files. */
typedef struct ModelFile
{
	char *name;
	int64 bytes;
	char hash[MODEL_HASH_SIZE];
} ModelFile;

/* A List of ModelFile from the column, and the other way round. */
extern List *model_files_read(Jsonb *files);
extern Jsonb *model_files_write(List *files);

/* The hash of all: over names, sizes and hashes in the order of the names,
 * so equal content has one place in the cache. */
extern void model_files_hash(List *files, char hex[MODEL_HASH_SIZE]);
