/*
 * engine_slot.c
 *		The slots that bound the engines of sessions in the whole server.
 *
 * A waiting session holds a shared lock on the file "waiting", which tells
 * those with an idle engine to give it up at the end of their transaction.
 */
#include "alol.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"

#include "engine/engine_slot.h"
#include "engine/engine_wait.h"

static int
open_lock_file(const char *directory, const char *name)
{
	char *path = psprintf("%s/%s", directory, name);
	int descriptor =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC, pg_file_create_mode);

	if (descriptor < 0)
		ereport(ERROR, (errcode_for_file_access(),
		                errmsg("could not open file \"%s\": %m", path)));
	pfree(path);
	return descriptor;
}

/* Where sessions wait; kept, as a commit callback must not palloc. */
static char waiting_path[MAXPGPATH];

/* A free slot's descriptor, or -1. */
static int
try_slots(const char *directory)
{
	for (int slot = 0; slot < alol_max_session_engines; slot++)
	{
		int descriptor = open_lock_file(directory, psprintf("%d", slot));

		if (flock(descriptor, LOCK_EX | LOCK_NB) == 0)
			return descriptor;
		close(descriptor);
	}
	return -1;
}

int
engine_slot_take(void)
{
	char *directory = directory_slots();
	int slot = try_slots(directory);
	int waiting;

	strlcpy(waiting_path, psprintf("%s/waiting", directory), MAXPGPATH);
	if (slot >= 0)
		return slot;
	waiting = open_lock_file(directory, "waiting");
	PG_TRY();
	{
		while (flock(waiting, LOCK_SH) != 0 && errno == EINTR)
			CHECK_FOR_INTERRUPTS();
		while ((slot = try_slots(directory)) < 0)
			wait_awhile(100);
	}
	PG_FINALLY();
	{
		close(waiting);
	}
	PG_END_TRY();
	return slot;
}

bool
engine_slot_is_wanted(void)
{
	int waiting = open(waiting_path, O_RDWR | O_CLOEXEC);
	bool is_wanted;

	if (waiting < 0)
		return false;
	is_wanted = flock(waiting, LOCK_EX | LOCK_NB) != 0;
	close(waiting);
	return is_wanted;
}
