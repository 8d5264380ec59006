/*
 * engine.h
 *		An engine process as the extension sees it: start, call, stop.
 *
 * Order of life: engine_session() or engine_start(), then engine_call() any
 * number of times, nested from an event handler too, then engine_stop() or
 * the reset of the memory context that owns it.
 */
#pragma once

#include "utils/jsonb.h"

#include "wire/message.h"

typedef struct Engine Engine;

/* WIRE_NO_ROOM_NOW as what is raised. */
#define ERRCODE_NO_ROOM_NOW MAKE_SQLSTATE('5', '3', 'A', '0', '1')

/* One frame of an engine's answer. */
typedef struct EngineFrame
{
	WireType type;
	uint32 request;   /* the id of the request it belongs to */
	Jsonb *head;      /* the JSON object in front; palloc'd */
	WireReader items; /* what follows it; palloc'd as head is */
} EngineFrame;

/*
 * Receives the events of a call (WIRE_PROGRESS, ..., WIRE_ASK).  It may
 * raise, and may make nested calls on the same engine.  The event, and all
 * that is palloc'd in the handler, is freed when it returns.
 */
typedef void (*EngineEvent)(Engine *engine, EngineFrame *event, void *argument);

typedef struct EngineCall
{
	WireType type;
	WireBuffer payload;   /* from engine_payload(), then items by wire_put_ */
	EngineEvent on_event; /* NULL: events are dropped */
	void *argument;
	bool streams; /* engine_send_data() follows; engine_call_end() ends it */
} EngineCall;

/*
 * None of these needs a transaction (text beyond ASCII does, where the
 * database is not in UTF-8).
 */

/* This session's engine, started and greeted at first use; waits
 * (interruptibly) for one of alol.max_session_engines slots. */
extern Engine *engine_session(void);

/* From now on engine_session() is this engine (a job's answers the model
 * calls of the reward too); NULL: again one of its own. */
extern void engine_lend(Engine *engine);

/* What a job computes on whose option device (or NULL) this is: that, or
 * alol.device where it is "auto". */
extern const char *engine_device(const char *device);

/* A job's engine, which dies with owner (a memory context) and claims what it
 * computes on, engine_device(device).  One that trains has ranks where these are several devices, else it takes the first. */
extern Engine *engine_start(MemoryContext owner, const char *device,
                            bool trains);

/* One that only looks what devices there are, for WIRE_DEVICES. */
extern Engine *engine_start_to_look(MemoryContext owner);

/* A payload that starts with this JSON head, in the database's encoding
 * (build it with json.h).  palloc'd in the current memory context. */
extern WireBuffer engine_payload(const char *head_json);

/*
 * Sends a request and waits on latch, socket and postmaster for its result.
 * Raises what the engine reported; "engine exited on signal 9" with its last
 * words when it died (sqlstate 58000, see engine_died()); and on query cancel
 * sends WIRE_CANCEL and drains a second at most, else kills the engine.
 * head and items of the result live in the current memory context.
 */
extern void engine_call(Engine *engine, EngineCall *call, EngineFrame *result);

/* engine_call() with a head and items in payload and no events. */
extern void engine_ask(Engine *engine, WireType type, WireBuffer payload,
                       EngineFrame *result);

/* Answers the WIRE_ASK or WIRE_CHECKPOINT that an event handler was given. */
extern void engine_answer(Engine *engine, EngineFrame *ask,
                          WireBuffer *payload);

/*
 * engine_call() in two steps, with data frames in between.  Whoever may raise
 * in between calls engine_abandon() first (in a PG_CATCH).
 */
extern void engine_call_begin(Engine *engine, EngineCall *call);
extern void engine_send_data(Engine *engine, WireBuffer *payload);
extern void engine_call_end(Engine *engine, EngineFrame *result);

extern void engine_abandon(Engine *engine);

/* Ends the process: asks, waits a second at most, kills.  The Engine itself
 * stays until its memory context goes, for engine_died(). */
extern void engine_stop(Engine *engine);

/* True when the engine's process is gone, or goes within a second, after a
 * caught error: one that tells of a failed device ends behind its words. */
extern bool engine_died(Engine *engine);

/* What the engine said of itself at the handshake (WIRE_HELLO's result). */
extern Jsonb *engine_capabilities(Engine *engine);
