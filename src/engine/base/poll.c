/*
 * poll.c
 *		Long work asks here, between pieces, whether it should stop.
 */
#include "base/poll.h"

#include <stddef.h>

static bool (*installed)(void *argument, Failure *failure) = NULL;
static void *installed_argument = NULL;

void
poll_install(bool (*check)(void *argument, Failure *failure), void *argument)
{
	installed = check;
	installed_argument = argument;
}

bool
poll_check(Failure *failure)
{
	return installed == NULL || installed(installed_argument, failure);
}
