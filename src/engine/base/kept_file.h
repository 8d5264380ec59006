/*
 * kept_file.h
 *		A file that can be made again at any time: mapped if it is there and
 *		sound, else made first.
 *
 * Of several processes that want it one makes it while the others wait, in a
 * file path.tmp that it holds locked, so that what a crash leaves is known to
 * be nobody's.  Sound is what has the size and the first bytes that would be
 * written now, and has not been written to since: its time of modification
 * is one that no write leaves.
 */
#pragma once

#include "base/file.h"

typedef struct KeptWriter KeptWriter;

typedef struct KeptFile
{
	const char *path;
	const void *head; /* [head_size] how it begins: all it depends on */
	size_t head_size;
	uint64_t size; /* of all of it */
	/* Writes what comes behind the head, by kept_write(); asks poll_check()
	 * in between. */
	bool (*write)(void *argument, KeptWriter *writer, Failure *failure);
	void *argument;
} KeptFile;

/*
 * Maps the file, read-only and shared, until the arena is destroyed.  Fails,
 * and leaves nothing, where it cannot be made: in a directory that is not
 * there or not writable, on a disk of which it would take more than a quarter
 * of what is free, by a maker that does not get on, or when cancelled.
 */
extern bool kept_file_map(Arena *arena, const KeptFile *kept,
                          MappedFile *mapped, Failure *failure);

/* False once a write failed, which kept_file_map() then tells. */
extern bool kept_write(KeptWriter *writer, const void *data, size_t size);
/* Zeros up to a multiple of `unit`, counted from the file's beginning. */
extern bool kept_fill(KeptWriter *writer, size_t unit);
