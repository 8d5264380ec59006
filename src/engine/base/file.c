/*
 * file.c
 *		Mapping, reading and crash-safe writing of files.
 */
#include "base/file.h"

#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Mapping
{
	void *data;
	size_t size;
} Mapping;

static void
unmap(void *object)
{
	Mapping *mapping = object;

	munmap(mapping->data, mapping->size);
}

/* Opens a regular file (not a directory, device or FIFO) for reading. */
static int
open_regular(const char *path, struct stat *status, Failure *failure)
{
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (descriptor < 0)
	{
		fail_errno(failure, "cannot open \"%s\"", path);
		return -1;
	}
	if (fstat(descriptor, status) != 0)
		fail_errno(failure, "cannot examine \"%s\"", path);
	else if (!S_ISREG(status->st_mode))
		fail(failure, FAILURE_BAD_FILE, "\"%s\" is not a regular file", path);
	else
		return descriptor;
	close(descriptor);
	return -1;
}

static uint64_t
nanoseconds(const struct timespec *time)
{
	return (uint64_t) time->tv_sec * 1000000000u + (uint64_t) time->tv_nsec;
}

bool
file_map(Arena *arena, const char *path, MappedFile *file, Failure *failure)
{
	struct stat status;
	int descriptor = open_regular(path, &status, failure);
	Mapping *mapping;

	if (descriptor < 0)
		return false;
	file->size = (size_t) status.st_size;
	file->data = NULL;
	file->identity[0] = status.st_dev;
	file->identity[1] = status.st_ino;
	file->identity[2] = (uint64_t) status.st_size;
	file->identity[3] = nanoseconds(&status.st_mtim);
	file->identity[4] = nanoseconds(&status.st_ctim);
	file->modified = status.st_mtim;
	if (file->size == 0)
	{
		close(descriptor);
		return true;
	}
	mapping = arena_alloc(arena, sizeof(Mapping));
	mapping->size = file->size;
	mapping->data =
		mmap(NULL, file->size, PROT_READ, MAP_SHARED, descriptor, 0);
	close(descriptor);
	if (mapping->data == MAP_FAILED)
		return fail_errno(failure, "cannot map \"%s\"", path);
	arena_on_destroy(arena, unmap, mapping);
	file->data = mapping->data;
	return true;
}

uint64_t
file_identity_add(uint64_t sum, const MappedFile *file)
{
	for (int i = 1; i < FILE_IDENTITY; i++)
		sum = random_mix(sum ^ file->identity[i]);
	return sum;
}

void
file_forget(const void *data, size_t size)
{
	uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
	uintptr_t first = ((uintptr_t) data + page - 1) / page * page;
	uintptr_t last = ((uintptr_t) data + size) / page * page;

	if (last > first)
		madvise((void *) first, last - first, MADV_DONTNEED);
}

char *
file_read(Arena *arena, const char *path, size_t max_size, size_t *size,
          Failure *failure)
{
	struct stat status;
	int descriptor = open_regular(path, &status, failure);
	char *text;
	size_t done = 0;

	if (descriptor < 0)
		return NULL;
	if ((size_t) status.st_size > max_size)
	{
		close(descriptor);
		fail(failure, FAILURE_BAD_FILE,
		     "\"%s\" has %lld bytes, more than the %zu expected at most", path,
		     (long long) status.st_size, max_size);
		return NULL;
	}
	text = arena_try(arena, (size_t) status.st_size + 1, 1, failure);
	while (text != NULL && done < (size_t) status.st_size)
	{
		ssize_t got =
			read(descriptor, text + done, (size_t) status.st_size - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
		{
			fail_errno(failure, "cannot read \"%s\"", path);
			text = NULL;
		}
		if (got <= 0)
			break;
		done += (size_t) got;
	}
	close(descriptor);
	if (text != NULL && size != NULL)
		*size = done;
	return text;
}

bool
file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool
file_is_regular(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

bool
file_writer_open(FileWriter *writer, const char *path, Failure *failure)
{
	memset(writer, 0, sizeof(FileWriter));
	if (strlen(path) >= sizeof(writer->path))
		return fail(failure, FAILURE_BAD_INPUT, "path \"%s\" is too long",
		            path);
	strcpy(writer->path, path);
	snprintf(writer->temporary, sizeof(writer->temporary), "%s.tmp", path);
	writer->stream = fopen(writer->temporary, "we");
	if (writer->stream == NULL)
		return fail_errno(failure, "cannot create \"%s\"", writer->temporary);
	return true;
}

void
file_write(FileWriter *writer, const void *data, size_t size)
{
	if (writer->error == 0 && size > 0 &&
	    fwrite(data, 1, size, writer->stream) != size)
		writer->error = errno;
}

bool
file_sync_directory(const char *path)
{
	char copy[4096];
	int descriptor;
	bool done;

	if (strlen(path) >= sizeof(copy))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(copy, path);
	descriptor = open(dirname(copy), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
	if (descriptor < 0)
		return false;
	done = fsync(descriptor) == 0;
	close(descriptor);
	return done;
}

bool
file_writer_commit(FileWriter *writer, Failure *failure)
{
	bool done;

	if (writer->error == 0 && fflush(writer->stream) != 0)
		writer->error = errno;
	if (writer->error == 0 && fsync(fileno(writer->stream)) != 0)
		writer->error = errno;
	if (fclose(writer->stream) != 0 && writer->error == 0)
		writer->error = errno;
	writer->stream = NULL;
	errno = writer->error;
	done = writer->error == 0 && rename(writer->temporary, writer->path) == 0 &&
	       file_sync_directory(writer->path);
	if (!done)
	{
		fail_errno(failure, "cannot write \"%s\"", writer->path);
		unlink(writer->temporary);
	}
	return done;
}

void
file_writer_close(FileWriter *writer)
{
	if (writer->stream == NULL)
		return;
	fclose(writer->stream);
	unlink(writer->temporary);
	writer->stream = NULL;
}

bool
file_write_whole(const char *path, const void *data, size_t size,
                 Failure *failure)
{
	FileWriter writer;

	if (!file_writer_open(&writer, path, failure))
		return false;
	file_write(&writer, data, size);
	return file_writer_commit(&writer, failure);
}
