/*
 * launcher.h
 *		The process that starts interrupted jobs after a server restart; only
 *		with shared_preload_libraries = 'alol'.
 */
#pragma once

/* Registers it; called while the postmaster loads the library. */
extern void launcher_register(void);

/* Starts a worker that looks after the jobs of a database, and does not wait
 * for it; false when no worker slot is free.  Needs no preload. */
extern bool launcher_start(Oid database);
