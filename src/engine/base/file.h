/*
 * file.h
 *		Files read whole or mapped, and files written so that a crash leaves
 *		either the old or the new one.
 */
#pragma once

#include "base/arena.h"

#include <stdio.h>
#include <time.h>

#define FILE_IDENTITY 5

/* A read-only view of a whole file. */
typedef struct MappedFile
{
	const uint8_t *data; /* page-aligned; NULL when size is 0 */
	size_t size;
	struct timespec modified;
	/* Device, inode, size, times of modification and of change in ns: others
	 * once anything was written. */
	uint64_t identity[FILE_IDENTITY];
} MappedFile;

/* Maps path read-only and shared; unmapped when the arena is destroyed. */
extern bool file_map(Arena *arena, const char *path, MappedFile *file,
                     Failure *failure);

/* Lets go of the memory behind part of a mapping; it is read from the file
 * again when it is touched again. */
extern void file_forget(const void *data, size_t size);

/* Reads a whole file of at most max_size bytes, with a zero byte added. */
extern char *file_read(Arena *arena, const char *path, size_t max_size,
                       size_t *size, Failure *failure);

/* Adds the identity of a file to a number that is to tell contents apart, as
 * long as nobody sets the clock back; not its device, which may have another
 * number after a restart. */
extern uint64_t file_identity_add(uint64_t sum, const MappedFile *file);

extern bool file_exists(const char *path);
/* Not a directory, and not a device. */
extern bool file_is_regular(const char *path);

/*
 * A file under construction: written to "path.tmp", and by
 * file_writer_commit() flushed to disk and renamed to path (with the
 * directory's entry flushed too).  Close without commit removes it.  write
 * remembers the first error, which commit reports.
 */
typedef struct FileWriter
{
	FILE *stream;
	char path[1024];
	char temporary[1032];
	int error; /* errno of the first failed write */
} FileWriter;

extern bool file_writer_open(FileWriter *writer, const char *path,
                             Failure *failure);
extern void file_write(FileWriter *writer, const void *data, size_t size);
extern bool file_writer_commit(FileWriter *writer, Failure *failure);
extern void file_writer_close(FileWriter *writer);

/* Makes what happened to the name of the file at path durable. */
extern bool file_sync_directory(const char *path);

/* Writes size bytes as a new or replaced file in the way above. */
extern bool file_write_whole(const char *path, const void *data, size_t size,
                             Failure *failure);
