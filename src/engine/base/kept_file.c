/*
 * kept_file.c
 *		Files that can be made again at any time.
 */
#include "base/kept_file.h"

#include "base/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Of what is free on the disk, which may be that of the database. */
#define DISK_SHARE 4

/* A sound file's time of modification: the beginning of 2000. */
#define KEPT_TIME 946684800

/* How often others look whether it is made, and how long they believe in a
 * maker that writes nothing. */
#define WAIT_MS 10
#define PATIENCE_MS 30000

struct KeptWriter
{
	int file;
	uint64_t size; /* written so far */
	int error;     /* errno of the first failed write */
};

bool
kept_write(KeptWriter *writer, const void *data, size_t size)
{
	const char *bytes = data;

	while (writer->error == 0 && size > 0)
	{
		ssize_t count = write(writer->file, bytes, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
		{
			writer->error = count < 0 ? errno : EIO;
			break;
		}
		bytes += count;
		size -= (size_t) count;
		writer->size += (uint64_t) count;
	}
	return writer->error == 0;
}

bool
kept_fill(KeptWriter *writer, size_t unit)
{
	static const char zeros[4096];
	size_t missing = (unit - writer->size % unit) % unit;

	while (missing > 0)
	{
		size_t count = missing < sizeof(zeros) ? missing : sizeof(zeros);

		if (!kept_write(writer, zeros, count))
			return false;
		missing -= count;
	}
	return writer->error == 0;
}

/* ------------------------------------------------------ one that is there */

static void
destroy(void *arena)
{
	arena_destroy(arena);
}

static bool
is_sound(const KeptFile *kept, const MappedFile *mapped)
{
	return mapped->size == kept->size && kept->head_size <= kept->size &&
	       mapped->modified.tv_sec == KEPT_TIME &&
	       mapped->modified.tv_nsec == 0 &&
	       memcmp(mapped->data, kept->head, kept->head_size) == 0;
}

/* Maps the file if it is there and sound. */
static bool
find(Arena *arena, const KeptFile *kept, MappedFile *mapped)
{
	Arena *own = arena_create();
	Failure ignored;

	if (file_map(own, kept->path, mapped, &ignored) && is_sound(kept, mapped))
	{
		arena_on_destroy(arena, destroy, own);
		return true;
	}
	arena_destroy(own);
	return false;
}

/* ------------------------------------------------------------- making it */

/* The file to be made, and its descriptor, locked. */
typedef struct Making
{
	const char *path;
	int file; /* -1: not open */
} Making;

static bool
check_disk(const KeptFile *kept, int file, Failure *failure)
{
	struct statvfs disk;
	uint64_t most;

	if (fstatvfs(file, &disk) != 0)
		return fail_errno(failure, "cannot examine the disk of \"%s\"",
		                  kept->path);
	most = (uint64_t) disk.f_bavail * disk.f_frsize / DISK_SHARE;
	if (kept->size <= most)
		return true;
	return fail(failure, FAILURE_DISK_FULL,
	            "\"%s\" needs %llu MiB, more than a quarter of what is free "
	            "on its disk, %llu MiB",
	            kept->path, (unsigned long long) (kept->size >> 20),
	            (unsigned long long) (most * DISK_SHARE >> 20));
}

static void
wait_a_moment(void)
{
	struct timespec moment = {0, WAIT_MS * 1000000L};

	(void) nanosleep(&moment, NULL);
}

/* Locks the open file, and waits for a maker as long as it gets on. */
static bool
lock(const Making *making, Failure *failure)
{
	off_t size = -1;
	int waited_ms = 0;

	while (flock(making->file, LOCK_EX | LOCK_NB) != 0)
	{
		struct stat status;

		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail_errno(failure, "cannot lock \"%s\"", making->path);
		if (!poll_check(failure))
			return false;
		if (fstat(making->file, &status) == 0 && status.st_size != size)
		{
			size = status.st_size;
			waited_ms = 0;
		}
		if (waited_ms >= PATIENCE_MS)
			return fail(failure, FAILURE_IO,
			            "whoever makes \"%s\" does not get on", making->path);
		wait_a_moment();
		waited_ms += WAIT_MS;
	}
	return true;
}

/* Whether the locked file still has its name: the one before us may have
 * renamed or removed it. */
static bool
has_its_name(const Making *making)
{
	struct stat opened, named;

	return fstat(making->file, &opened) == 0 &&
	       lstat(making->path, &named) == 0 && opened.st_dev == named.st_dev &&
	       opened.st_ino == named.st_ino;
}

static void
close_making(Making *making)
{
	if (making->file >= 0)
		close(making->file);
	making->file = -1;
}

/* Opens and locks the file to be made. */
static bool
begin(Making *making, Failure *failure)
{
	for (;;)
	{
		making->file =
			open(making->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (making->file < 0)
			return fail_errno(failure, "cannot create \"%s\"", making->path);
		if (!lock(making, failure))
			return false;
		if (has_its_name(making))
			return true;
		close_making(making);
	}
}

static bool
write_all(const KeptFile *kept, Making *making, Failure *failure)
{
	const struct timespec times[2] = {{KEPT_TIME, 0}, {KEPT_TIME, 0}};
	KeptWriter writer = {.file = making->file};

	if (ftruncate(making->file, 0) != 0)
		return fail_errno(failure, "cannot empty \"%s\"", making->path);
	if (!check_disk(kept, making->file, failure))
		return false;
	kept_write(&writer, kept->head, kept->head_size);
	if (!kept->write(kept->argument, &writer, failure) && writer.error == 0)
		return false;
	errno = writer.error;
	if (writer.error != 0 || futimens(making->file, times) != 0 ||
	    fsync(making->file) != 0)
		return fail_errno(failure, "cannot write \"%s\"", making->path);
	if (writer.size != kept->size)
		return fail(failure, FAILURE_INTERNAL,
		            "\"%s\" has %llu bytes in place of %llu", making->path,
		            (unsigned long long) writer.size,
		            (unsigned long long) kept->size);
	if (rename(making->path, kept->path) != 0 ||
	    !file_sync_directory(kept->path))
		return fail_errno(failure, "cannot write \"%s\"", kept->path);
	return true;
}

bool
kept_file_map(Arena *arena, const KeptFile *kept, MappedFile *mapped,
              Failure *failure)
{
	Arena *own;
	Making making = {.file = -1};
	bool done;

	if (find(arena, kept, mapped))
		return true;
	own = arena_create();
	making.path = arena_printf(own, "%s.tmp", kept->path);
	done = begin(&making, failure);
	/* Another one may have made it meanwhile. */
	if (done && find(arena, kept, mapped))
		unlink(making.path);
	else if (done)
	{
		done = write_all(kept, &making, failure);
		if (!done)
			unlink(making.path);
		else if (!find(arena, kept, mapped))
			done = fail(failure, FAILURE_IO, "\"%s\" is not as it was written",
			            kept->path);
	}
	close_making(&making);
	arena_destroy(own);
	return done;
}
