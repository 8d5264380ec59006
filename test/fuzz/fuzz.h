/*
 * fuzz.h
 *		What the fuzzers share: input as a file in a directory of its own.
 *
 * Every target defines LLVMFuzzerTestOneInput() (libFuzzer) and must neither
 * crash, leak nor run for long, whatever it is given.  `make fuzz` runs them.
 */
#pragma once

#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The directory of this process, made at the first call. */
static inline const char *
fuzz_directory(void)
{
	static char directory[256];
	const char *top = getenv("TMPDIR");

	if (directory[0] != '\0')
		return directory;
	snprintf(directory, sizeof(directory), "%s/alol-fuzz-XXXXXX",
	         top == NULL ? "/tmp" : top);
	if (mkdtemp(directory) == NULL)
		abort();
	/* As an engine has: what asks for more must be refused, not killed. */
	memory_limit_set((uint64_t) 1 << 30);
	return directory;
}

/* Writes the input as directory/name; returns its path, in arena. */
static inline char *
fuzz_file(Arena *arena, const char *name, const uint8_t *data, size_t size)
{
	char *path = arena_printf(arena, "%s/%s", fuzz_directory(), name);
	FILE *file = fopen(path, "wb");

	if (file == NULL || fwrite(data, 1, size, file) != size ||
	    fclose(file) != 0)
		abort();
	return path;
}
