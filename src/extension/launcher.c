/*
 * launcher.c
 *		The process that starts interrupted jobs after a server restart.
 */
#include "alol.h"

#include "launcher.h"

void
launcher_register(void)
{
}
