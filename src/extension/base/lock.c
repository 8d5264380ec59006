/*
 * lock.c
 *		Liveness is a lock, not a pid: slots and jobs as advisory locks.
 *
 * Fields of the tag: InvalidOid; class or database; slot or job; kind.  A job
 * is its low 32 bits here: ids that differ by 2^32 would share a lock, which
 * only makes one of them wait.
 */
#include "alol.h"

#include "storage/lock.h"

#include "base/lock.h"

#define KIND_SLOT 77
#define KIND_JOB 78

static LOCKTAG
slot_tag(LockClass class, int slot)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, (uint32) class, (uint32) slot,
	                     KIND_SLOT);
	return tag;
}

static LOCKTAG
job_tag(Oid database, int64 job)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, database, (uint32) job, KIND_JOB);
	return tag;
}

static bool
held_by_me(const LOCKTAG *tag)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, ExclusiveLock, false);
#else
	return LockHeldByMe(tag, ExclusiveLock);
#endif
}

static bool
hold(const LOCKTAG *tag)
{
	if (held_by_me(tag))
		return true;
	return LockAcquire(tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
let_go(const LOCKTAG *tag)
{
	if (held_by_me(tag))
		LockRelease(tag, ExclusiveLock, true);
}

int
slot_acquire(LockClass class, int count)
{
	for (int slot = 0; slot < count; slot++)
	{
		LOCKTAG tag = slot_tag(class, slot);

		if (!held_by_me(&tag) && hold(&tag))
			return slot;
	}
	return -1;
}

bool
slot_hold(LockClass class, int slot)
{
	LOCKTAG tag = slot_tag(class, slot);

	return hold(&tag);
}

void
slot_release(LockClass class, int slot)
{
	LOCKTAG tag = slot_tag(class, slot);

	let_go(&tag);
}

bool
job_lock_acquire(Oid database, int64 job)
{
	LOCKTAG tag = job_tag(database, job);

	return hold(&tag);
}

void
job_lock_release(Oid database, int64 job)
{
	LOCKTAG tag = job_tag(database, job);

	let_go(&tag);
}

int
job_lock_holder(Oid database, int64 job)
{
	LOCKTAG tag = job_tag(database, job);
	LockData *locks = GetLockStatusData();
	int pid = 0;

	for (int i = 0; i < locks->nelements && pid == 0; i++)
	{
		LockInstanceData *lock = &locks->locks[i];

		if (memcmp(&lock->locktag, &tag, sizeof(tag)) == 0 &&
		    (lock->holdMask & LOCKBIT_ON(ExclusiveLock)) != 0)
			pid = lock->pid;
	}
	pfree(locks->locks);
	pfree(locks);
	return pid;
}
