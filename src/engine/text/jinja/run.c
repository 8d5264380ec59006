/*
 * run.c
 *		Limits, memory, output and errors of a template.
 */
#include "text/jinja/run.h"

#include <stdio.h>
#include <string.h>

#define CHUNK ((size_t) 64 << 10)

/* Bytes or items that cost as much as a step. */
#define WORK_PER_STEP 16

void
run_start(Run *run, Arena *arena, Failure *failure)
{
	memset(run, 0, sizeof(Run));
	run->arena = arena;
	run->failure = failure;
	run->line = 1;
	run->steps_left = RUN_STEPS;
	run->memory_left = RUN_MEMORY;
}

void
run_fail(Run *run, FailureCode code, const char *format, ...)
{
	char text[FAILURE_TEXT];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fail(run->failure, code, "chat template, line %d: %s", run->line, text);
	longjmp(run->escape, 1);
}

void
run_refuse(Run *run, const char *message)
{
	fail(run->failure, FAILURE_BAD_INPUT, "%s", message);
	fail_while(run->failure, "chat template, line %d", run->line);
	longjmp(run->escape, 1);
}

void
run_charge(Run *run, size_t work)
{
	run->steps_left -= 1 + (int64_t) (work / WORK_PER_STEP);
	if (run->steps_left < 0)
		run_fail(run, FAILURE_BAD_FILE,
		         "it takes more than %lld steps and does not seem to end",
		         (long long) RUN_STEPS);
}

void
run_enter(Run *run)
{
	run_charge(run, 0);
	if (++run->depth > RUN_DEPTH)
		run_fail(run, FAILURE_BAD_FILE, "it is nested deeper than %d levels",
		         RUN_DEPTH);
}

void
run_leave(Run *run)
{
	run->depth--;
}

static void *
take(Run *run, size_t bytes)
{
	void *memory;

	if (bytes > run->memory_left)
		run_fail(run, FAILURE_BAD_FILE, "it needs more than %zu MB of memory",
		         RUN_MEMORY >> 20);
	run->memory_left -= bytes;
	memory = arena_try(run->arena, bytes, 1, run->failure);
	if (memory == NULL)
		longjmp(run->escape, 1);
	return memory;
}

void *
run_alloc(Run *run, size_t count, size_t size)
{
	size_t bytes;
	void *memory;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > RUN_MEMORY)
		bytes = RUN_MEMORY + 1;
	bytes = (bytes + 15) / 16 * 16;
	if (bytes == 0)
		bytes = 16;
	if (bytes > CHUNK / 4)
		return take(run, bytes);
	if (bytes > run->chunk_left)
	{
		run->chunk = take(run, CHUNK);
		run->chunk_left = CHUNK;
	}
	memory = run->chunk;
	run->chunk += bytes;
	run->chunk_left -= bytes;
	return memory;
}

void *
run_grow(Run *run, void *items, size_t count, size_t *capacity, size_t size)
{
	void *larger;

	if (count < *capacity)
		return items;
	*capacity = *capacity == 0 ? 8 : 2 * *capacity;
	larger = run_alloc(run, *capacity, size);
	if (count > 0)
		memcpy(larger, items, count * size);
	return larger;
}

void
run_write(Run *run, const char *text, size_t length)
{
	run_charge(run, length);
	if (length > RUN_OUTPUT - run->length)
		run_fail(run, FAILURE_BAD_FILE, "it writes more than %zu MB",
		         RUN_OUTPUT >> 20);
	if (length == 0)
		return;
	if (run->length + length > run->capacity)
	{
		size_t capacity = run->capacity < 4096 ? 4096 : run->capacity;
		char *larger;

		while (capacity < run->length + length)
			capacity *= 2;
		larger = run_alloc(run, capacity, 1);
		if (run->length > 0)
			memcpy(larger, run->text, run->length);
		run->text = larger;
		run->capacity = capacity;
	}
	memcpy(run->text + run->length, text, length);
	run->length += length;
}
