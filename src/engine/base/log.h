/*
 * log.h
 *		A line for the server's log: what went another way than planned, though
 *		nothing failed.
 */
#pragma once

/* Installs what log_line() calls (serve/ sends it to the extension); NULL:
 * lines are dropped. */
extern void log_install(void (*write)(void *argument, const char *line),
                        void *argument);

extern void log_line(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
