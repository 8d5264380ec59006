/*
 * engine_internal.h
 *		What engine.c and engine_call.c share of an engine.
 */
#pragma once

#include "storage/latch.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#include "engine/engine.h"
#include "engine/engine_process.h"

/* A request that has no result yet. */
typedef struct EnginePending
{
	uint32 id;
	EngineEvent on_event;
	void *argument;
	bool streams;                /* WIRE_DATA_END is still to be sent */
	struct EnginePending *outer; /* the request in whose event this was made */
} EnginePending;

struct Engine
{
	MemoryContext context; /* owns all of it */
	EngineProcess process;
	WaitEventSet *waits; /* NULL once the process is gone */
	WireInbox inbox;
	WireBuffer outgoing; /* sent up to outgoing_at */
	size_t outgoing_at;
	EnginePending *pending; /* the innermost, or NULL */
	uint32 last_id;
	Jsonb *capabilities;
	TimestampTz last_use;
	int idle_timeout_s; /* as told to it; 0: never */
};

/* Ends the process within wait_ms and frees what waits for it. */
extern void engine_close(Engine *engine, int wait_ms);

/* An empty buffer whose bytes live in context. */
extern WireBuffer engine_buffer(MemoryContext context);
