/*
 * run.h
 *		The limits within which a template is read and rendered, its memory,
 *		its output, and how its errors travel.
 *
 * Templates come from strangers: they may loop without end, double a string
 * forever, call themselves.  So every piece of work is charged, every byte
 * comes from a budget, and whatever recurses counts its depth.
 *
 * Here alone in the engine an error leaves by longjmp: an interpreter can fail
 * in every line, and all its memory lies in arenas that the caller destroys.
 * jinja.c jumps out, to return false like anyone else.
 */
#pragma once

#include "base/arena.h"

#include <setjmp.h>

#define RUN_STEPS ((int64_t) 20000000)
#define RUN_MEMORY ((size_t) 128 << 20)
#define RUN_OUTPUT ((size_t) 16 << 20)
#define RUN_DEPTH 600

typedef struct Run
{
	Arena *arena;
	Failure *failure;
	jmp_buf escape;
	int line; /* of the template, where it is now */
	int64_t steps_left;
	size_t memory_left;
	int depth;
	char *chunk; /* memory not yet given out */
	size_t chunk_left;

	char *text; /* the output; macros and blocks take its end away again */
	size_t length;
	size_t capacity;
} Run;

extern void run_start(Run *run, Arena *arena, Failure *failure);

/* Describes the failure with the line, and leaves. */
extern _Noreturn void run_fail(Run *run, FailureCode code, const char *format,
                               ...) __attribute__((format(printf, 3, 4)));

/* What the template itself says with raise_exception(). */
extern _Noreturn void run_refuse(Run *run, const char *message);

/* Takes one step and as many more as so many bytes or items need. */
extern void run_charge(Run *run, size_t work);

/* Around everything that can recurse. */
extern void run_enter(Run *run);
extern void run_leave(Run *run);

/* Zeroed bytes, aligned to 16; never NULL. */
extern void *run_alloc(Run *run, size_t count, size_t size);

/* count more items of size bytes: a larger block where capacity is reached. */
extern void *run_grow(Run *run, void *items, size_t count, size_t *capacity,
                      size_t size);

extern void run_write(Run *run, const char *text, size_t length);
