/*
 * engine_memory.h
 *		How much memory an engine may use.
 */
#pragma once

/* alol.memory_limit, or half of the smaller of free memory and what the
 * control group leaves; bytes.  0 where nothing is known. */
extern int64 engine_memory_limit(void);

/* What that would be if nobody used any memory; 0 where the setting says it. */
extern int64 engine_memory_most(void);
