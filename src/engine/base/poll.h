/*
 * poll.h
 *		Long work asks here, between pieces, whether it should stop.
 */
#pragma once

#include "base/failure.h"

/* Installs what poll_check() asks (serve/ looks for WIRE_CANCEL and a closed
 * socket); NULL: nothing to ask. */
extern void poll_install(bool (*check)(void *argument, Failure *failure),
                         void *argument);

/* False, with FAILURE_CANCELLED, when the work should stop. */
extern bool poll_check(Failure *failure);
