/*
 * engine_wait.c
 *		Waiting as a good backend does.
 *
 * client_connection_check_interval is off by default, so without a look of
 * our own the query of a killed client would run on.
 */
#include "alol.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#include "engine/engine_wait.h"

/* Declared in libpq/libpq.h, which needs the headers of GSSAPI. */
extern bool pq_check_connection(void);

static void
check_client(void)
{
	static TimestampTz last_check = 0;
	TimestampTz now;

	if (MyProcPort == NULL)
		return;
	now = GetCurrentTimestamp();
	if (!TimestampDifferenceExceeds(last_check, now, WAIT_SLICE_MS))
		return;
	last_check = now;
	if (!pq_check_connection())
	{
		/* As the server's own check does: ends the session. */
		ClientConnectionLost = true;
		InterruptPending = true;
	}
}

void
wait_check(void)
{
	check_client();
	CHECK_FOR_INTERRUPTS();
}

void
wait_awhile(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
	                 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	wait_check();
}

WaitEventSet *
wait_set_create(int socket)
{
	WaitEventSet *set;

#if PG_VERSION_NUM >= 170000
	set = CreateWaitEventSet(NULL, 3);
#else
	set = CreateWaitEventSet(TopMemoryContext, 3);
#endif
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, socket, NULL, NULL);
	return set;
}

void
wait_for_socket(WaitEventSet *set, bool to_write)
{
	WaitEvent event;

	ModifyWaitEvent(set, WAIT_SOCKET,
	                to_write ? WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE
	                         : WL_SOCKET_READABLE,
	                NULL);
	if (WaitEventSetWait(set, WAIT_SLICE_MS, &event, 1, PG_WAIT_EXTENSION) >
	        0 &&
	    (event.events & WL_LATCH_SET) != 0)
		ResetLatch(MyLatch);
	wait_check();
}
