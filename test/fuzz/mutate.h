/*
 * mutate.h
 *		A small fuzzer: changes a seed file here and there and feeds it to a
 *		function, which must neither crash nor leak, whatever it is given.
 *
 * Build with -fsanitize=address,undefined; run as PROGRAM SEED_FILE [ROUNDS].
 * Rounds are numbered and reproducible: the last one begun is in mutant.bin in
 * the program's temporary directory when it crashes.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The function under test; directory is for files it wants to write. */
typedef void (*FuzzTarget)(const char *directory, const uint8_t *data,
                           size_t size);

static uint64_t fuzz_state;

static inline size_t
fuzz_random(size_t below)
{
	fuzz_state = fuzz_state * 6364136223846793005u + 1442695040888963407u;
	return below == 0 ? 0 : (size_t) (fuzz_state >> 33) % below;
}

/* Puts a text in the place of length bytes at a random place. */
static inline size_t
fuzz_replace(uint8_t *data, size_t size, size_t room, const char *text,
             size_t length)
{
	size_t at = fuzz_random(size + 1);
	size_t added = strlen(text);

	if (length > size - at)
		length = size - at;
	if (size - length + added > room)
		return size;
	memmove(data + at + added, data + at + length, size - at - length);
	memcpy(data + at, text, added);
	return size - length + added;
}

/* A few changes; returns the new size, at most room. */
static inline size_t
fuzz_mutate(uint8_t *data, size_t size, size_t room)
{
	static const char *const words[] = {
		"null", "-1",   "0",  "1",  "4294967296", "9223372036854775807",
		"1e99", "\"\"", "[]", "{}", "true",       "\"\\u0000\"",
		",",    ":",    "]",  "}",  "\"",         "\xff"};
	size_t changes = 1 + fuzz_random(4);

	for (size_t i = 0; i < changes && size > 0; i++)
		switch (fuzz_random(5))
		{
			case 0:
				data[fuzz_random(size)] ^= (uint8_t) (1u << fuzz_random(8));
				break;
			case 1:
				data[fuzz_random(size)] = (uint8_t) ('0' + fuzz_random(10));
				break;
			case 2:
				size = fuzz_replace(
					data, size, room,
					words[fuzz_random(sizeof(words) / sizeof(words[0]))],
					fuzz_random(12));
				break;
			case 3:
				size = fuzz_replace(data, size, room, "", fuzz_random(40));
				break;
			default:
				if (fuzz_random(8) == 0)
					size = fuzz_random(size);
		}
	return size;
}

static inline int
fuzz_main(int count, char **arguments, FuzzTarget target)
{
	char directory[] = "/tmp/alol-fuzz-XXXXXX";
	char path[64];
	long rounds = count > 2 ? strtol(arguments[2], NULL, 10) : 10000;
	FILE *file = count > 1 ? fopen(arguments[1], "rb") : NULL;
	size_t room = (size_t) 1 << 22;
	uint8_t *seed = malloc(room);
	uint8_t *data = malloc(room);
	size_t size;

	if (file == NULL || mkdtemp(directory) == NULL)
	{
		fprintf(stderr, "usage: %s SEED_FILE [ROUNDS]\n", arguments[0]);
		return 1;
	}
	size = fread(seed, 1, room / 2, file);
	fclose(file);
	snprintf(path, sizeof(path), "%s/mutant.bin", directory);
	printf("%s\n", directory);
	for (long i = 0; i < rounds; i++)
	{
		size_t mutant;

		fuzz_state = (uint64_t) i;
		memcpy(data, seed, size);
		mutant = fuzz_mutate(data, size, room);
		file = fopen(path, "wb");
		fwrite(data, 1, mutant, file);
		fclose(file);
		target(directory, data, mutant);
	}
	unlink(path);
	rmdir(directory);
	free(seed);
	free(data);
	return 0;
}
