/*
 * arena.h
 *		Memory by lifetime: one arena per process, model, job or step.
 *
 * Everything an arena gave is freed at once by arena_destroy(), so failure
 * needs no cleanup ladder.  Large blocks are counted against the process's
 * memory limit (alol.memory_limit); see memory_limit_set().
 */
#pragma once

#include "base/failure.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Arena Arena;

/* A new, empty arena; never NULL (a few hundred bytes; aborts on ENOMEM). */
extern Arena *arena_create(void);

/* Frees all of it, and the arena; NULL is accepted. */
extern void arena_destroy(Arena *arena);

/*
 * size zeroed bytes aligned to 64.  Never NULL: when memory or the limit is
 * exhausted it longjmps nowhere and aborts nothing, but ends the process with
 * a message on stderr, which SQL shows as the engine's last words.  For sizes
 * that depend on input use arena_try(), which fails instead.
 */
extern void *arena_alloc(Arena *arena, size_t size);

/* As arena_alloc() for count elements; NULL and a described failure if the
 * size overflows, is over the limit or cannot be had. */
extern void *arena_try(Arena *arena, size_t count, size_t size,
                       Failure *failure);

/* One of several tables that are wanted together: count elements. */
typedef struct ArenaTable
{
	void **memory; /* receives it */
	int64_t count;
	size_t size; /* of an element */
} ArenaTable;

/* arena_try() for each of count tables; false at the first that fails. */
extern bool arena_try_tables(Arena *arena, const ArenaTable *tables,
                             size_t count, Failure *failure);

extern char *arena_strdup(Arena *arena, const char *text);
extern char *arena_strndup(Arena *arena, const char *text, size_t length);
extern char *arena_printf(Arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Runs close(object) when the arena is destroyed, last registered first. */
extern void arena_on_destroy(Arena *arena, void (*close)(void *), void *object);

/* The limit in bytes for what arenas hold in all, 0 for none. */
extern void memory_limit_set(uint64_t bytes);
extern uint64_t memory_limit(void);

/* What the limit leaves; UINT64_MAX without one. */
extern uint64_t memory_left(void);

/* Fails, with what is needed and what is left, if so many bytes more are over
 * the limit: before a beginning that could not be brought to an end. */
extern bool memory_check(uint64_t bytes, Failure *failure);

/* Bytes arenas hold now. */
extern uint64_t memory_used(void);
