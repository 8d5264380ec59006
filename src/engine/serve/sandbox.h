/*
 * sandbox.h
 *		What the engine gives up before it reads anybody's file.
 *
 * It has the server's uid, so that a hole in a parser could reach whatever the
 * server can: connect as superuser by `peer`, run programs, look into other
 * processes.  Afterwards the kernel refuses these, with EPERM.
 */
#pragma once

#include <stdbool.h>

/* For the whole process and for good.  False where the kernel has no seccomp;
 * the engine then goes on without. */
extern bool sandbox_enter(void);
