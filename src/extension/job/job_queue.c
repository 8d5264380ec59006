/*
 * job_queue.c
 *		Databases whose jobs wait for a slot that another's job has.
 */
#include "alol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"

#include "job/job_queue.h"
#include "job/launcher.h"

static void
write_note(Oid database)
{
	char *path = psprintf("%s/%u", directory_queue(), database);
	int descriptor =
		open(path, O_WRONLY | O_CREAT | O_CLOEXEC, pg_file_create_mode);

	if (descriptor < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not create file \"%s\": %m", path)));
	close(descriptor);
	pfree(path);
}

void
queue_note(void)
{
	write_note(MyDatabaseId);
}

void
queue_wake_others(void)
{
	DIR *directory = opendir(directory_queue());
	struct dirent *entry;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
	{
		unsigned long database = strtoul(entry->d_name, NULL, 10);

		if (database == 0 || database > OID_MAX || database == MyDatabaseId)
			continue;
		/* First of all, as it may be written anew when we have looked. */
		(void) unlinkat(dirfd(directory), entry->d_name, 0);
		if (!launcher_start((Oid) database))
		{
			write_note((Oid) database);
			break;
		}
	}
	closedir(directory);
}
