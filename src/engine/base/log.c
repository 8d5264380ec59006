/*
 * log.c
 *		Lines for the server's log.
 */
#include "base/log.h"

#include "base/failure.h"

#include <stddef.h>
#include <stdio.h>

static void (*installed)(void *argument, const char *line) = NULL;
static void *installed_argument = NULL;

void
log_install(void (*write)(void *argument, const char *line), void *argument)
{
	installed = write;
	installed_argument = argument;
}

void
log_line(const char *format, ...)
{
	char line[FAILURE_TEXT];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (installed != NULL)
		installed(installed_argument, line);
}
