/*
 * job_directory.c
 *		Where a job's files lie, and when they are swept away.
 *
 * A directory is named by server, database and job, so that neither a copied
 * database nor a restored dump can take another's files for its own.
 */
#include "alol.h"

#include <dirent.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/syscache.h"

#include "job/job.h"
#include "base/statement.h"

#define UUID_LENGTH 36

char *
job_directory(const Job *job)
{
	return psprintf("%s/" UINT64_FORMAT "-%u-%s", directory_jobs(),
	                GetSystemIdentifier(), MyDatabaseId, job->uuid);
}

static bool
is_known_job(const char *uuid)
{
	Statement statement = {0};
	OwnerScope scope;
	bool is_known;

	owner_begin(&scope);
	statement_text(&statement, uuid);
	is_known = statement_read(&statement, "SELECT FROM @schema@.alol_job "
	                                      "WHERE uuid::text = $1") > 0;
	owner_end(&scope);
	return is_known;
}

/* True for a directory of this server whose job nobody can know any more. */
static bool
is_orphan(const char *name)
{
	uint64 server;
	Oid database;
	int length = 0;

	if (sscanf(name, UINT64_FORMAT "-%u-%n", &server, &database, &length) < 2 ||
	    length == 0 || strlen(name + length) != UUID_LENGTH)
		return false;
	if (server != GetSystemIdentifier())
		return false;
	if (database != MyDatabaseId)
		return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
	return !is_known_job(name + length);
}

void
job_sweep_directories(void)
{
	char *jobs = directory_jobs();
	DIR *directory = opendir(jobs);
	struct dirent *entry;
	List *orphans = NIL;
	ListCell *cell;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
	{
		if (entry->d_name[0] != '.')
			orphans = lappend(orphans, pstrdup(entry->d_name));
	}
	closedir(directory);
	foreach (cell, orphans)
	{
		if (is_orphan(lfirst(cell)))
			directory_remove(psprintf("%s/%s", jobs, (char *) lfirst(cell)));
	}
}
