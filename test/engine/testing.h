/*
 * testing.h
 *		What the engine's tests share: where golden values lie, reading them,
 *		and failing with a Failure's own words.
 *
 * The project's own set lies in test/golden under ALOL_SOURCE (default: the
 * current directory); the wider set in golden under ALOL_SHARED (default:
 * ../shared), and tests that need it are skipped where it is not there.
 */
#pragma once

#include "base/arena.h"
#include "base/file.h"
#include "formats/json.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Ends the test with the failure's message if condition is false. */
#define assert_ok(condition, failure)                                          \
	do                                                                         \
	{                                                                          \
		if (!(condition))                                                      \
			fail_msg("%s (%s)", (failure).message, (failure).context);         \
	} while (0)

/* The call must fail with exactly this code and with words that hold part. */
#define assert_fails(call, failure, expected, part)                            \
	do                                                                         \
	{                                                                          \
		memset(&(failure), 0, sizeof(failure));                                \
		if (call)                                                              \
			fail_msg("succeeded, \"%s\" was expected", part);                  \
		if (strstr((failure).message, part) == NULL)                           \
			fail_msg("failed with \"%s\", not \"%s\"", (failure).message,      \
			         part);                                                    \
		assert_int_equal((failure).code, expected);                            \
	} while (0)

static inline const char *
test_environment(const char *name, const char *fallback)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? fallback : value;
}

/* The project's golden set: folder below test/golden. */
static inline char *
test_golden_path(Arena *arena, const char *folder)
{
	return arena_printf(arena, "%s/test/golden/%s",
	                    test_environment("ALOL_SOURCE", "."), folder);
}

/* A path below the shared set, or NULL (and a word on stdout) if missing. */
static inline char *
test_shared_path(Arena *arena, const char *folder)
{
	char *path = arena_printf(
		arena, "%s/%s", test_environment("ALOL_SHARED", "../shared"), folder);

	if (file_exists(path))
		return path;
	printf("skipped: \"%s\" is not there\n", path);
	return NULL;
}

/* check(root of the golden set): the project's own one. */
static inline void
test_own_set(void (*check)(const char *root))
{
	Arena *arena = arena_create();

	check(test_golden_path(arena, ""));
	arena_destroy(arena);
}

/* The same for the shared one; skips the test where that is missing. */
static inline void
test_shared_set(void (*check)(const char *root))
{
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden");

	if (root != NULL)
		check(root);
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

/* folder/file as JSON. */
static inline json_t *
test_read_json(Arena *arena, const char *folder, const char *file)
{
	Failure failure = {0};
	json_t *value = NULL;

	assert_ok(json_open_file(arena, arena_printf(arena, "%s/%s", folder, file),
	                         (size_t) 256 << 20, &value, &failure),
	          failure);
	return value;
}

static inline int
forget_entry(const char *path, const struct stat *status, int kind,
             struct FTW *level)
{
	(void) status;
	(void) kind;
	(void) level;
	return remove(path);
}

/* The directories of a program; one that is forked leaves them alone. */
static struct
{
	pid_t owner;
	int count;
	char path[256][256];
} test_directories;

static inline void
forget_directories(void)
{
	if (getpid() != test_directories.owner)
		return;
	for (int i = 0; i < test_directories.count; i++)
		(void) nftw(test_directories.path[i], forget_entry, 8,
		            FTW_DEPTH | FTW_PHYS);
}

/* Removes it when the program ends. */
static inline void
forget_at_exit(const char *path)
{
	if (test_directories.count == 0)
	{
		test_directories.owner = getpid();
		atexit(forget_directories);
	}
	if (test_directories.count < 256)
		snprintf(test_directories.path[test_directories.count++], 256, "%s",
		         path);
}

/* A new directory under TMPDIR, which goes with the program. */
static inline char *
test_directory(Arena *arena)
{
	char *path = arena_printf(arena, "%s/alol-test-XXXXXX",
	                          test_environment("TMPDIR", "/tmp"));

	assert_non_null(mkdtemp(path));
	forget_at_exit(path);
	return path;
}

/* directory/name with this content; returns its path. */
static inline char *
test_write(Arena *arena, const char *directory, const char *name,
           const void *data, size_t size)
{
	char *path = arena_printf(arena, "%s/%s", directory, name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
	return path;
}
