/*
 * engine_wait.h
 *		Waiting as a good backend does: interruptible, and noticing at once
 *		when the postmaster dies and within half a second when the client does.
 */
#pragma once

#include "storage/latch.h"

/* How long a wait may last before the client is looked after. */
#define WAIT_SLICE_MS 500

/* Serves interrupts, and checks the client when that is due; may raise. */
extern void wait_check(void);

/* Waits for the latch or ms milliseconds, then wait_check(). */
extern void wait_awhile(int ms);

/* A set of the latch, the postmaster and this socket (at position
 * WAIT_SOCKET), to be freed with FreeWaitEventSet(). */
#define WAIT_SOCKET 2
extern WaitEventSet *wait_set_create(int socket);

/* Waits in the set for the socket to be readable (and writable, if asked), at
 * most WAIT_SLICE_MS, then wait_check(). */
extern void wait_for_socket(WaitEventSet *set, bool to_write);
