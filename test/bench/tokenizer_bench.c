/*
 * tokenizer_bench.c
 *		How fast texts become ids: tokenizer_bench DIRECTORY FILE ROUNDS
 *
 * FILE holds texts, each with its length before it (32 bits, little endian).
 * Prints the bytes of all, the seconds of the fastest round, and the tokens.
 */
#include "base/file.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

/* Encodes every text of the file; returns false at the first failure. */
static bool
encode_all(const Tokenizer *tokenizer, const MappedFile *file, size_t *bytes,
           size_t *tokens, Failure *failure)
{
	*bytes = 0;
	*tokens = 0;
	for (size_t at = 0; at + 4 <= file->size;)
	{
		Arena *arena = arena_create();
		TokenList list = {0};
		uint32_t length;
		bool done;

		memcpy(&length, file->data + at, 4);
		if (length > file->size - at - 4)
			length = (uint32_t) (file->size - at - 4);
		done = tokenizer_encode(tokenizer, arena,
		                        (const char *) file->data + at + 4, length,
		                        true, &list, failure);
		*bytes += length;
		*tokens += (size_t) list.count;
		at += 4 + (size_t) length;
		arena_destroy(arena);
		if (!done)
			return false;
	}
	return true;
}

int
main(int count, char **arguments)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Tokenizer *tokenizer;
	MappedFile file;
	double best = 1e99;
	size_t bytes = 0;
	size_t tokens = 0;
	bool done = count == 4 &&
	            tokenizer_open(arena, arguments[1], &tokenizer, &failure) &&
	            file_map(arena, arguments[2], &file, &failure);

	for (long i = done ? strtol(arguments[3], NULL, 10) : 0; i > 0 && done; i--)
	{
		double start = seconds();

		done = encode_all(tokenizer, &file, &bytes, &tokens, &failure);
		best = seconds() - start < best ? seconds() - start : best;
	}
	if (done)
		printf("%zu %.6f %zu\n", bytes, best, tokens);
	else
		fprintf(stderr, "%s\n",
		        count == 4 ? failure.message
		                   : "usage: tokenizer_bench DIRECTORY FILE ROUNDS");
	arena_destroy(arena);
	return done ? 0 : 1;
}
