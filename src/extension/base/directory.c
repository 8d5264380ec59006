/*
 * directory.c
 *		The data directory: cache/, jobs/, temporary/ and so on, made at first use.
 *
 * By default it lies in PGDATA under a name that pg_basebackup skips, as
 * everything in it can be made again or belongs to this one server.
 */
#include "alol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

/* pg_basebackup skips every name that starts with pgsql_tmp. */
#define DEFAULT_NAME "pgsql_tmp_alol"

static void
make_directory(const char *path)
{
	if (MakePGDirectory(path) != 0 && errno != EEXIST)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create directory \"%s\": %m", path)));
}

static char *
root_directory(void)
{
	if (alol_data_directory != NULL && alol_data_directory[0] != '\0')
		return pstrdup(alol_data_directory);
	return psprintf("%s/%s", DataDir, DEFAULT_NAME);
}

/* root/name, both made if they are not there; root itself must have a parent. */
static char *
directory_of(const char *name)
{
	char *root = root_directory();
	char *path = psprintf("%s/%s", root, name);

	make_directory(root);
	make_directory(path);
	pfree(root);
	return path;
}

char *
directory_cache_path(void)
{
	return psprintf("%s/cache", root_directory());
}

void
directory_try_in_cache(const char *path)
{
	char *root = root_directory();

	(void) MakePGDirectory(root);
	(void) MakePGDirectory(psprintf("%s/cache", root));
	(void) MakePGDirectory(path);
}

char *
directory_cache(void)
{
	return directory_of("cache");
}

char *
directory_jobs(void)
{
	return directory_of("jobs");
}

char *
directory_slots(void)
{
	return directory_of("slots");
}

char *
directory_queue(void)
{
	return directory_of("queue");
}

char *
directory_devices(void)
{
	return directory_of("devices");
}

/* Removes a file or a tree below a directory descriptor. */
static void
remove_entry(int parent, const char *name)
{
	int descriptor;
	DIR *directory;
	struct dirent *entry;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return;
	/* O_NOFOLLOW: a link is removed above, never followed. */
	descriptor =
		openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (descriptor < 0)
		return;
	directory = fdopendir(descriptor);
	if (directory == NULL)
	{
		close(descriptor);
		return;
	}
	while ((entry = readdir(directory)) != NULL)
	{
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_entry(descriptor, entry->d_name);
	}
	closedir(directory);
	(void) unlinkat(parent, name, AT_REMOVEDIR);
}

void
directory_remove(const char *path)
{
	remove_entry(AT_FDCWD, path);
}

/* Removes what processes that are gone have left: names are PID.RANDOM. */
static void
sweep(const char *temporary)
{
	DIR *directory = opendir(temporary);
	struct dirent *entry;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
	{
		long pid = strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pid != MyProcPid && kill((pid_t) pid, 0) != 0 &&
		    errno == ESRCH)
			remove_entry(dirfd(directory), entry->d_name);
	}
	closedir(directory);
}

char *
directory_temporary(void)
{
	char *temporary = directory_of("temporary");
	char *path;
	uint64 random;

	sweep(temporary);
	if (!pg_strong_random(&random, sizeof(random)))
		elog(ERROR, "could not make a random name");
	path =
		psprintf("%s/%d.%016" INT64_MODIFIER "x", temporary, MyProcPid, random);
	if (MakePGDirectory(path) != 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create directory \"%s\": %m", path)));
	pfree(temporary);
	return path;
}
