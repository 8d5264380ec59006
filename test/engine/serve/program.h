/*
 * program.h
 *		The engine as it is installed: the program, with the test module beside
 *		it and faults that a test may choose.
 */
#pragma once

#include "serve/peer.h"

#include <sys/stat.h>

/* The directory that it is installed in. */
static const char *program_directory;

/* The module that goes beside it, below BUILD. */
#ifndef PROGRAM_MODULE
#define PROGRAM_MODULE "test/module/alol_cuda.so"
#endif

/* A variable that a test may choose. */
static char program_variable[64] = "ALOL_NOTHING=";

/* Descriptors of a sanitizer are gone after exec; and see is_engine. */
static char *const program_environment[] = {
	"OMP_NUM_THREADS=1", "GOMP_SPINCOUNT=2000", "ASAN_OPTIONS=detect_leaks=0",
	program_variable, NULL};

static inline void
copy_file(Arena *arena, const char *from, const char *name)
{
	Failure failure = {0};
	size_t size;
	char *path = arena_printf(arena, "%s/%s", program_directory, name);
	char *content = file_read(arena, from, (size_t) 1 << 30, &size, &failure);

	assert_ok(content != NULL, failure);
	test_write(arena, program_directory, name, content, size);
	assert_int_equal(chmod(path, 0755), 0);
}

/* The test program lies in BUILD/test/serve/, what it needs in BUILD. */
static inline int
install_program(void **state)
{
	static char directory[4096];
	Arena *arena = arena_create();
	char own[4096];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);

	(void) state;
	assert_true(length > 0);
	own[length] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(own, '/') = '\0';
	snprintf(directory, sizeof(directory), "%s", test_directory(arena));
	program_directory = directory;
	copy_file(arena, arena_printf(arena, "%s/alol-engine", own), "alol-engine");
	copy_file(arena, arena_printf(arena, "%s/" PROGRAM_MODULE, own),
	          "alol_cuda.so");
	arena_destroy(arena);
	return 0;
}

/* What the module finds wrong from now on: lines of a word and a number. */
static inline void
set_faults(const char *lines)
{
	Arena *arena = arena_create();

	test_write(arena, program_directory, "alol_cuda.so.faults", lines,
	           strlen(lines));
	arena_destroy(arena);
}

static inline int
uninstall_program(void **state)
{
	static const char *const names[] = {"alol-engine", "alol_cuda.so",
	                                    "alol_cuda.so.faults",
	                                    "alol_cuda.so.memory"};
	Arena *arena = arena_create();

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(arena_printf(arena, "%s/%s", program_directory, names[i]));
	rmdir(program_directory);
	arena_destroy(arena);
	return 0;
}

static inline void
run_program(int socket)
{
	char path[4200];
	char *const arguments[] = {"alol-engine", NULL};

	snprintf(path, sizeof(path), "%s/alol-engine", program_directory);
	if (dup2(socket, 3) == 3)
		execve(path, arguments, program_environment);
}

/* Starts it and asks for this device; the type of its answer. */
static inline int
greet_program(const char *device, const char *more)
{
	start_peer(run_program);
	return ask(WIRE_HELLO,
	           arena_printf(peer.arena,
	                        "{\"version\": %d, \"parent\": %d, \"threads\": 1, "
	                        "\"device\": \"%s\"%s}",
	                        WIRE_VERSION, (int) getpid(), device, more),
	           NULL);
}
