/*
 * model.h
 *		Models as the rest of the extension sees them: find one that the
 *		caller may use, hand it to an engine, store a new one.
 */
#pragma once

#include "engine/engine.h"

typedef struct Model
{
	int64 id;
	char *name;
	Oid owner;
	char kind;       /* 'l'm, 'a'dapter, 'c'lassifier, 'e'ncoder, 'v'alue */
	char *path;      /* server directory or GGUF file; NULL: stored in the
	                  * database */
	char *hash;      /* SHA-256 of the stored content in hex, or NULL */
	Jsonb *files;    /* [{"name", "bytes", "sha256"}] of the stored content */
	int64 base;      /* id of the model under a value model or an adapter;
	                  * 0: none */
	int64 tokenizer; /* id of the model whose tokenizer it uses; 0: its own */
	int64 parameters;
	int context; /* tokens */
	int rank;    /* of an adapter */
} Model;

/*
 * The model called name, in the current memory context.  Raises "model
 * \"x\" does not exist" (with the nearest names the caller may see), or that
 * the caller may not use it.  role is who must have the right.
 */
extern Model *model_get(const char *name, Oid role);
extern Model *model_get_by_id(int64 id);

/* The same, raising unless the current user owns it. */
extern Model *model_get_own(const char *name);

/* "a language model", "an adapter", ...: for messages. */
extern const char *model_kind_name(char kind);

/* Raises unless model is of this kind, or an adapter over one that is;
 * argument names it in the message: "policy \"x\" is a value model, not a
 * language model". */
extern void model_check_kind(const Model *model, char kind,
                             const char *argument);

/* Raises unless name is a good name for a new model that neither a model nor
 * the output of a live job has. */
extern void model_check_new_name(const char *name);

/*
 * The ModelRef (JSON text) by which an engine finds the model.  A model that
 * is stored in the database is materialised in the cache first.
 */
extern char *model_ref(const Model *model);

/* The same for a model that multiplies as option "dtype" says. */
extern char *model_ref_with(const Model *model, const char *dtype);

/* Where the model's own files are, materialised as well: a directory, or a
 * GGUF file. */
extern char *model_path(const Model *model);

/* Where engines keep what they make of a model that lies at path. */
extern char *model_path_forms(const char *path);

/* What WIRE_MODEL_INSPECT says of the model that ref (JSON) names; the engine
 * opens and checks all of it. */
extern Jsonb *model_inspect(Engine *engine, const char *ref);

/*
 * Stores the files of a directory as a new model in the database, chunk by
 * chunk, and its row last.  description is the engine's answer to
 * WIRE_MODEL_INSPECT.  job is 0 for none.  Must run in a read-write
 * transaction; switches to the extension's owner for the writes.
 */
extern int64 model_store(const char *name, Oid owner, const char *directory,
                         Jsonb *description, int64 base, int64 job);
