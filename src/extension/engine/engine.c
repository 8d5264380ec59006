/*
 * engine.c
 *		The life of an engine: start, greeting, end; and the session's own.
 *
 * A session keeps one engine from its first call on.  The engine ends by
 * itself when it has been idle for alol.engine_idle_timeout, and is ended by
 * us at the end of a transaction when another session waits for a slot.
 */
#include "alol.h"

#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "engine/engine_internal.h"
#include "engine/engine_memory.h"
#include "engine/engine_slot.h"
#include "engine/engine_wait.h"
#include "base/json.h"

/* Patience of engine_stop(). */
#define STOP_MS 1000

static Engine *session_engine = NULL;
static Engine *lent_engine = NULL;

void
engine_close(Engine *engine, int wait_ms)
{
	if (engine->waits != NULL)
		FreeWaitEventSet(engine->waits);
	engine->waits = NULL;
	process_end(&engine->process, wait_ms);
}

/* The memory of an engine goes, so its process goes too. */
static void
context_is_reset(void *argument)
{
	Engine *engine = argument;

	if (lent_engine == engine)
		lent_engine = NULL;
	engine_close(engine, 0);
}

/* ------------------------------------------------------------- greeting */

/* What an engine is started for. */
typedef struct Purpose
{
	const char *device; /* NULL: alol.device */
	bool is_job;
	bool trains;           /* by as many ranks as there are devices */
	bool looks_at_devices; /* at all, whatever it computes on */
} Purpose;

static char *
greeting(const Engine *engine, const Purpose *purpose)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_int(&json, "version", WIRE_VERSION);
	json_add_text(&json, "extension", ALOL_VERSION);
	json_add_int(&json, "parent", MyProcPid);
	json_add_int(&json, "threads", alol_threads);
	json_add_int(&json, "memory_limit", engine_memory_limit());
	json_add_text(&json, "device",
	              purpose->device == NULL ? alol_device : purpose->device);
	if (purpose->is_job)
	{
		json_add_text(&json, "claims", directory_devices());
		json_add_int(&json, "memory_most", engine_memory_most());
	}
	json_add_bool(&json, "ranks", purpose->trains);
	json_add_bool(&json, "devices", purpose->looks_at_devices);
	json_add_int(&json, "idle_timeout", engine->idle_timeout_s);
	appendStringInfoChar(&json, '}');
	return json.data;
}

static void
greet(Engine *engine, const Purpose *purpose)
{
	EngineFrame reply;
	int64 version;
	MemoryContext saved;

	engine_ask(engine, WIRE_HELLO, engine_payload(greeting(engine, purpose)),
	           &reply);
	version = json_int(reply.head, "version", 0);
	if (version != WIRE_VERSION)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("engine speaks version " INT64_FORMAT
		                " of the protocol, the extension version %d",
		                version, WIRE_VERSION),
		         errhint("Install the engine and the extension of the same "
		                 "release, and reconnect.")));
	saved = MemoryContextSwitchTo(engine->context);
	engine->capabilities = (Jsonb *) DatumGetPointer(
		PG_DETOAST_DATUM_COPY(JsonbPGetDatum(reply.head)));
	MemoryContextSwitchTo(saved);
}

/* --------------------------------------------------------- start and end */

/* Starts and greets an engine that is owned by a context of its own. */
static Engine *
open_engine(MemoryContext owner, int slot, int idle_timeout_s,
            const Purpose *purpose)
{
	MemoryContext context =
		AllocSetContextCreate(owner, "alol engine", ALLOCSET_DEFAULT_SIZES);
	Engine *engine = MemoryContextAllocZero(context, sizeof(Engine));
	MemoryContextCallback *callback =
		MemoryContextAllocZero(context, sizeof(MemoryContextCallback));

	engine->context = context;
	engine->idle_timeout_s = idle_timeout_s;
	engine->inbox.bytes = engine_buffer(context);
	engine->outgoing = engine_buffer(context);
	callback->func = context_is_reset;
	callback->arg = engine;
	MemoryContextRegisterResetCallback(context, callback);
	PG_TRY();
	{
		process_start(&engine->process, slot);
		engine->waits = wait_set_create(engine->process.socket);
		greet(engine, purpose);
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return engine;
}

const char *
engine_device(const char *device)
{
	return device == NULL || strcmp(device, "auto") == 0 ? alol_device : device;
}

Engine *
engine_start(MemoryContext owner, const char *device, bool trains)
{
	Purpose purpose = {
		.device = engine_device(device), .is_job = true, .trains = trains};

	return open_engine(owner, -1, 0, &purpose);
}

Engine *
engine_start_to_look(MemoryContext owner)
{
	Purpose purpose = {.device = "cpu", .looks_at_devices = true};

	return open_engine(owner, -1, 0, &purpose);
}

void
engine_stop(Engine *engine)
{
	engine_close(engine, STOP_MS);
}

bool
engine_died(Engine *engine)
{
	for (int waited_ms = 0; waited_ms < STOP_MS; waited_ms += 5)
	{
		if (process_is_gone(&engine->process))
			break;
		pg_usleep(5000);
	}
	return engine->process.died;
}

Jsonb *
engine_capabilities(Engine *engine)
{
	return engine->capabilities;
}

/* ------------------------------------------------- the session's engine */

/*
 * At the end of a transaction: an engine that others wait for is given up, as
 * is one that an error left in the middle of a request.  Must not raise.
 */
static void
transaction_ends(XactEvent event, void *argument)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
	    event != XACT_EVENT_PREPARE)
		return;
	if (session_engine == NULL || session_engine->process.pid == 0)
		return;
	if (session_engine->pending != NULL || engine_slot_is_wanted())
		engine_close(session_engine, 0);
}

/* True when the session's engine may be used (again). */
static bool
is_usable(Engine *engine)
{
	int margin_ms;

	if (engine == NULL)
		return false;
	/* In the midst of a request its death is that request's error. */
	if (engine->pending != NULL)
		return true;
	if (engine->process.pid == 0 || process_is_gone(&engine->process))
		return false;
	/* One that is about to end for idleness would end under our request. */
	margin_ms = Min(1000, engine->idle_timeout_s * 500);
	return !TimestampDifferenceExceeds(engine->last_use, GetCurrentTimestamp(),
	                                   engine->idle_timeout_s * 1000 -
	                                       margin_ms);
}

static void
forget_session_engine(void)
{
	Engine *engine = session_engine;

	session_engine = NULL;
	if (engine != NULL)
		MemoryContextDelete(engine->context);
}

static void
start_session_engine(void)
{
	static bool is_watching = false;
	Purpose purpose = {0};
	int slot;

	if (!is_watching)
		RegisterXactCallback(transaction_ends, NULL);
	is_watching = true;
	slot = engine_slot_take();
	PG_TRY();
	{
		session_engine = open_engine(TopMemoryContext, slot,
		                             alol_engine_idle_timeout_s, &purpose);
	}
	PG_FINALLY();
	{
		close(slot); /* the engine has it now */
	}
	PG_END_TRY();
}

Engine *
engine_session(void)
{
	if (lent_engine != NULL)
		return lent_engine;
	if (!is_usable(session_engine))
	{
		forget_session_engine();
		start_session_engine();
	}
	return session_engine;
}

void
engine_lend(Engine *engine)
{
	lent_engine = engine;
}
