/*
 * failure.h
 *		How an error travels through the engine.
 *
 * A function that can fail returns bool and takes a Failure last.  The place
 * that knows the fact describes it once with fail(); a level that knows more
 * adds a line of context with fail_while().  Nothing is rewritten on the way,
 * and serve/ sends the whole to SQL.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

typedef enum FailureCode
{
	FAILURE_INTERNAL,      /* our mistake */
	FAILURE_BAD_INPUT,     /* a value from the user is out of range */
	FAILURE_BAD_FILE,      /* a file's content cannot be believed */
	FAILURE_NOT_FOUND,     /* a file or directory is not there */
	FAILURE_IO,            /* reading or writing failed */
	FAILURE_DISK_FULL,     /* no space left */
	FAILURE_OUT_OF_MEMORY, /* over alol.memory_limit, or the system's */
	FAILURE_NO_ROOM_NOW,   /* memory that other jobs have and will give back */
	FAILURE_UNSUPPORTED,   /* well-formed, but beyond what the engine knows */
	FAILURE_TOO_LONG,      /* a text beyond the model's context */
	FAILURE_CANCELLED,     /* the other side asked to stop */
	FAILURE_PROTOCOL,      /* a frame that breaks the wire's rules */
	FAILURE_DEVICE         /* an accelerator or math library reported it */
} FailureCode;

#define FAILURE_TEXT 1024

typedef struct Failure
{
	FailureCode code;
	/* Of memory: bytes that this process would then have, of the host's or the
	 * device's; 0: not known. */
	unsigned long long needed;
	bool is_of_host;
	char message[FAILURE_TEXT];
	char detail[FAILURE_TEXT];  /* a sentence, or empty */
	char hint[FAILURE_TEXT];    /* a sentence, or empty */
	char context[FAILURE_TEXT]; /* lines, innermost first, or empty */
} Failure;

/* Describes a failure; always returns false, so callers can return it. */
extern bool fail(Failure *failure, FailureCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Says how many bytes this process has, and how many more it could not get. */
extern bool fail_needing(Failure *failure, unsigned long long has,
                         unsigned long long more, bool is_of_host);

/* Adds a DETAIL or HINT sentence to what fail() described; returns false. */
extern bool fail_detail(Failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
extern bool fail_hint(Failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Adds one line of context ("loading model ..."); returns false. */
extern bool fail_while(Failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* fail() for a failed system call: adds strerror(errno), picks the code. */
extern bool fail_errno(Failure *failure, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The five-character SQLSTATE of a code, in static storage. */
extern const char *failure_sqlstate(FailureCode code);
