/*
 * source_check.h
 *		What sources and rewards must not contain, found in parsed queries.
 */
#pragma once

#include "nodes/parsenodes.h"
#include "utils/queryenvironment.h"

/* Parse analysis on every version; environment may be NULL. */
extern Query *source_analyze(RawStmt *statement, const char *text,
                             QueryEnvironment *environment);

/* Temporary tables, views, sequences, functions or types are used. */
extern bool source_uses_temporary(Node *node);

/* A query in it has FOR UPDATE or the like. */
extern bool source_locks_rows(Node *node);

/*
 * For parsing text that a user gave as an argument: an ErrorContextCallback's
 * argument.  Error positions become those in that text, not in the statement
 * that called us.
 */
typedef struct SourceText
{
	const char *statement; /* what the parser was given */
	const char *what;      /* a line of context */
} SourceText;

extern void source_error_callback(void *argument);
