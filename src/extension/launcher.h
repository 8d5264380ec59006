/*
 * launcher.h
 *		The process that starts interrupted jobs after a server restart; only
 *		with shared_preload_libraries = 'alol'.
 */
#pragma once

/* Registers it; called while the postmaster loads the library. */
extern void launcher_register(void);
