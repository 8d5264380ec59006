/*
 * job_device.c
 *		Memory of devices that several jobs want.
 */
#include "alol.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "job/job_device.h"
#include "wire/device_spec.h"

/* As the engine names them (serve/choose.h). */
#define USERS ".users"

int64
device_clock(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Is this the file of a device that the specification may stand for? */
static bool
is_meant(const DeviceSpec *spec, const char *file)
{
	int number;

	if (strcmp(file, "cpu" USERS) == 0)
		return spec->kind == DEVICE_AUTO || spec->kind == DEVICE_CPU;
	if (spec->kind == DEVICE_CPU || sscanf(file, "cuda:%d" USERS, &number) != 1)
		return false;
	for (int i = 0; i < spec->count; i++)
	{
		if (spec->number[i] == number)
			return true;
	}
	return spec->kind != DEVICE_GPU || spec->count == 0;
}

/* Opens the next such file; -1: there is none any more. */
static int
open_next(DIR *directory, const DeviceSpec *spec)
{
	struct dirent *entry;

	while ((entry = readdir(directory)) != NULL)
	{
		int file = -1;

		if (strlen(entry->d_name) > strlen(USERS) &&
		    strcmp(entry->d_name + strlen(entry->d_name) - strlen(USERS),
		           USERS) == 0 &&
		    is_meant(spec, entry->d_name))
			file = openat(dirfd(directory), entry->d_name, O_RDWR | O_CLOEXEC);
		if (file >= 0)
			return file;
	}
	return -1;
}

void
device_was_freed(const char *device)
{
	DIR *directory = opendir(directory_devices());
	DeviceSpec spec;
	int file;

	if (directory == NULL)
		return;
	if (device_spec_parse(device, &spec))
	{
		while ((file = open_next(directory, &spec)) >= 0)
		{
			/* To the time that device_clock() gives: that of the file system is
			 * some milliseconds behind. */
			int64 now = device_clock();
			struct timespec time = {now / 1000000, now % 1000000 * 1000};

			(void) futimens(file, (struct timespec[]){time, time});
			close(file);
		}
	}
	closedir(directory);
}

static bool
is_locked(int file)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool
device_may_have_room(const char *spec, int64 looked_at)
{
	DIR *directory = opendir(directory_devices());
	DeviceSpec parsed;
	bool was_freed = false;
	bool is_used = false;
	int file;

	if (directory == NULL)
		return true;
	if (!device_spec_parse(spec, &parsed))
		memset(&parsed, 0, sizeof(parsed)); /* auto: any */
	while ((file = open_next(directory, &parsed)) >= 0)
	{
		struct stat status;

		if (fstat(file, &status) == 0)
			was_freed |= (int64) status.st_mtim.tv_sec * 1000000 +
			                 status.st_mtim.tv_nsec / 1000 >
			             looked_at;
		is_used |= is_locked(file);
		close(file);
	}
	closedir(directory);
	return was_freed || !is_used;
}
