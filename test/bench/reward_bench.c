/*
 * reward_bench.c
 *		How long the engine itself takes for a batch of rewards: reward_bench
 *		MODEL FILE
 *
 * FILE has a prompt and a response a line, with a tab between them.  Prints the
 * seconds that a classifier takes for all of them at once, tokens included,
 * when it is open and has been asked before: of the clock, and of processors.
 */
#include "base/file.h"
#include "device/device.h"
#include "model/classify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP 64

static double
seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static void
check(bool done, const Failure *failure)
{
	if (done)
		return;
	fprintf(stderr, "%s\n%s\n", failure->message, failure->context);
	exit(1);
}

/* The lines of a file, in arena; their texts lie in its mapping. */
static TextPair *
read_pairs(Arena *arena, const char *path, int *count)
{
	MappedFile file;
	Failure failure;
	TextPair *pairs;
	const char *at, *end;

	check(file_map(arena, path, &file, &failure), &failure);
	at = (const char *) file.data;
	end = at + file.size;
	pairs = arena_alloc(arena, (file.size + 1) * sizeof(TextPair));
	for (*count = 0; at < end; (*count)++)
	{
		const char *line = memchr(at, '\n', (size_t) (end - at));
		const char *stop = line == NULL ? end : line;
		const char *tab = memchr(at, '\t', (size_t) (stop - at));
		const char *second = tab == NULL ? stop : tab + 1;

		pairs[*count] =
			(TextPair){at, (size_t) ((tab == NULL ? stop : tab) - at), second,
		               (size_t) (stop - second)};
		at = stop + 1;
	}
	return pairs;
}

static void
classify(Model *model, const TextPair *pairs, int count)
{
	Arena *arena = arena_create();
	float **logits = arena_alloc(arena, ((size_t) count + 1) * sizeof(float *));
	Failure failure;

	check(classify_pairs(model, arena, count, pairs, logits, &failure),
	      &failure);
	arena_destroy(arena);
}

int
main(int argc, char **argv)
{
	Arena *arena = arena_create();
	Device *device;
	Model *model;
	Failure failure;
	TextPair *pairs;
	int count;
	double start, used;

	if (argc != 3)
	{
		fprintf(stderr, "usage: %s MODEL FILE\n", argv[0]);
		return 2;
	}
	check(cpu_device_open(0, &device, &failure), &failure);
	check(model_open(arena, device, argv[1], NULL, &model, &failure), &failure);
	pairs = read_pairs(arena, argv[2], &count);
	classify(model, pairs, count < WARM_UP ? count : WARM_UP);
	start = seconds(CLOCK_MONOTONIC);
	used = seconds(CLOCK_PROCESS_CPUTIME_ID);
	classify(model, pairs, count);
	printf("%.4f %.2f\n", seconds(CLOCK_MONOTONIC) - start,
	       seconds(CLOCK_PROCESS_CPUTIME_ID) - used);
	arena_destroy(arena);
	device->close(device);
	return 0;
}
