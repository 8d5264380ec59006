/*
 * failure.c
 *		Building failures, and the table from codes to SQLSTATEs.
 */
#include "base/failure.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char *const sqlstates[] = {
	[FAILURE_INTERNAL] = "XX000",
	[FAILURE_BAD_INPUT] = "22023",
	[FAILURE_BAD_FILE] = "22P04",
	[FAILURE_NOT_FOUND] = "58P01",
	[FAILURE_IO] = "58030",
	[FAILURE_DISK_FULL] = "53100",
	[FAILURE_OUT_OF_MEMORY] = "53200",
	[FAILURE_NO_ROOM_NOW] = "53A01",
	[FAILURE_UNSUPPORTED] = "0A000",
	[FAILURE_TOO_LONG] = "22001",
	[FAILURE_CANCELLED] = "57014",
	[FAILURE_PROTOCOL] = "08P01",
	[FAILURE_DEVICE] = "58000",
};

const char *
failure_sqlstate(FailureCode code)
{
	return sqlstates[code];
}

static void
start(Failure *failure, FailureCode code)
{
	failure->code = code;
	failure->needed = 0;
	failure->is_of_host = false;
	failure->detail[0] = '\0';
	failure->hint[0] = '\0';
	failure->context[0] = '\0';
}

bool
fail(Failure *failure, FailureCode code, const char *format, ...)
{
	va_list arguments;

	start(failure, code);
	va_start(arguments, format);
	vsnprintf(failure->message, FAILURE_TEXT, format, arguments);
	va_end(arguments);
	return false;
}

bool
fail_needing(Failure *failure, unsigned long long has, unsigned long long more,
             bool is_of_host)
{
	if (__builtin_add_overflow(has, more, &failure->needed))
		failure->needed = ULLONG_MAX;
	failure->is_of_host = is_of_host;
	return false;
}

bool
fail_detail(Failure *failure, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(failure->detail, FAILURE_TEXT, format, arguments);
	va_end(arguments);
	return false;
}

bool
fail_hint(Failure *failure, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(failure->hint, FAILURE_TEXT, format, arguments);
	va_end(arguments);
	return false;
}

bool
fail_while(Failure *failure, const char *format, ...)
{
	size_t used = strlen(failure->context);
	va_list arguments;

	if (used > 0 && used + 1 < FAILURE_TEXT)
	{
		failure->context[used++] = '\n';
		failure->context[used] = '\0';
	}
	va_start(arguments, format);
	vsnprintf(failure->context + used, FAILURE_TEXT - used, format, arguments);
	va_end(arguments);
	return false;
}

static FailureCode
code_of_errno(int error)
{
	switch (error)
	{
		case ENOENT:
		case ENOTDIR:
			return FAILURE_NOT_FOUND;
		case ENOSPC:
		case EDQUOT:
			return FAILURE_DISK_FULL;
		case ENOMEM:
			return FAILURE_OUT_OF_MEMORY;
		default:
			return FAILURE_IO;
	}
}

bool
fail_errno(Failure *failure, const char *format, ...)
{
	int error = errno;
	size_t used;
	va_list arguments;

	start(failure, code_of_errno(error));
	va_start(arguments, format);
	vsnprintf(failure->message, FAILURE_TEXT, format, arguments);
	va_end(arguments);
	used = strlen(failure->message);
	snprintf(failure->message + used, FAILURE_TEXT - used, ": %s",
	         strerror(error));
	return false;
}
