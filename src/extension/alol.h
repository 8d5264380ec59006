/*
 * alol.h
 *		What every file of the extension includes: PostgreSQL, settings, and
 *		the few helpers that all rooms share.
 */
#pragma once

/* Before 16 PostgreSQL leaves this empty, and we hide what is not exported. */
#ifndef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Its name from 18 on. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() pg_noreturn
#endif

/* Marks a C function that SQL calls; nothing else is exported. */
#define ALOL_FUNCTION(name)                                                    \
	PG_FUNCTION_INFO_V1(name);                                                 \
	PGDLLEXPORT Datum name(PG_FUNCTION_ARGS)

/* Settings (alol.max_jobs, ...); see settings.c. */
extern int alol_max_jobs;
extern int alol_max_session_engines;
extern char *alol_data_directory; /* empty: the default */
extern int alol_memory_limit_mb;  /* 0: half of what is free */
extern char *alol_device;
extern int alol_threads; /* 0: all */
extern int alol_checkpoint_interval_s;
extern int alol_engine_idle_timeout_s;

/* The extension's schema and owner in this database; raises if it is not
 * created here. */
extern Oid alol_schema(void);
extern const char *alol_schema_name(void); /* quoted, for building SQL */
extern Oid alol_extension_owner(void);

/*
 * Runs SPI statements as the extension's owner with search_path =
 * pg_catalog, pg_temp, and a snapshot of its own.  begin switches and
 * SPI-connects, end undoes both; an error in between is undone by the
 * transaction's abort.  Never evaluates user SQL in between.
 */
typedef struct OwnerScope
{
	Oid saved_user;
	int saved_context;
	int guc_level;
} OwnerScope;

extern void owner_begin(OwnerScope *scope);
extern void owner_end(OwnerScope *scope);

/*
 * SPI_execute_with_args inside the scope, where "@schema@" in the query is the
 * extension's schema; nulls may be NULL.  Returns SPI_processed; raises unless
 * the statement succeeds.
 */
extern uint64 owner_run(const char *query, int count, Oid *types, Datum *values,
                        const char *nulls, bool read_only);

/*
 * Text between the database's encoding and the engine's UTF-8.  Both need a
 * transaction where the database is not in UTF-8.  What is not whole UTF-8,
 * and zero bytes, become U+FFFD on the way in; a character that the
 * database's encoding lacks is an error.
 */
extern char *text_to_utf8(const char *text, size_t length, size_t *utf8_length);
extern text *text_from_utf8(const char *utf8, size_t length);

/* For messages: what is long ends in "..."; in place, where it is cut. */
extern char *text_clip(char *text);

/*
 * The data directory and what lies in it, made at first use: cache/ models by
 * content, jobs/ one directory a job, temporary/ what the engine writes before
 * it is stored (left behind by a crash, it is swept later).  palloc'd paths;
 * failure raises.
 */
extern char *directory_cache(void);
extern char *directory_cache_path(void);              /* not made, no error */
extern void directory_try_in_cache(const char *path); /* no error */
extern char *directory_jobs(void);
extern char *directory_slots(void);     /* lock files of session engines */
extern char *directory_queue(void);     /* databases with waiting jobs */
extern char *directory_devices(void);   /* lock files of devices */
extern char *directory_temporary(void); /* a new, empty one */
extern void directory_remove(const char *path); /* with all in it; no error */
