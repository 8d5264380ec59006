/*
 * engine_error.h
 *		How what goes wrong in an engine becomes an SQL error.
 */
#pragma once

#include "engine/engine_process.h"

/* Raises what a WIRE_ERROR's head says. */
pg_attribute_noreturn() extern void engine_raise(Jsonb *head);

/* Raises that the process is gone: how it ended, its last words in DETAIL. */
pg_attribute_noreturn() extern void engine_raise_death(
	const EngineProcess *process);
