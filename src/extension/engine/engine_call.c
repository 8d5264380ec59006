/*
 * engine_call.c
 *		The conversation: requests out, events and results in.
 *
 * The socket never blocks: while we send we also read, so that both sides
 * cannot wait for each other.  Requests nest: the innermost gets its frames,
 * an event for an outer one goes to that one's handler.  After an error the
 * engine is told to stop what it does for us and given a second to confirm,
 * since the next request must not be answered with the last one's result.
 */
#include "alol.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "engine/engine_error.h"
#include "engine/engine_internal.h"
#include "engine/engine_wait.h"
#include "base/json.h"

#define READ_SIZE 65536
#define KEEP_SIZE ((size_t) 1024 * 1024) /* of idle buffers */
#define DRAIN_MS 1000

/* -------------------------------------------------------------- buffers */

/* WireBuffer's resize: like realloc, in the current context when new. */
static void *
resize(void *old, size_t size)
{
	if (old == NULL)
		return MemoryContextAllocHuge(CurrentMemoryContext, size);
	return repalloc_huge(old, size);
}

WireBuffer
engine_buffer(MemoryContext context)
{
	WireBuffer buffer = {.resize = resize};

	buffer.capacity = 256;
	buffer.data = MemoryContextAllocHuge(context, buffer.capacity);
	return buffer;
}

/* Gives back what one large frame took. */
static void
shrink(Engine *engine, WireBuffer *buffer)
{
	if (buffer->capacity <= KEEP_SIZE)
		return;
	pfree(buffer->data);
	*buffer = engine_buffer(engine->context);
}

WireBuffer
engine_payload(const char *head_json)
{
	WireBuffer payload = engine_buffer(CurrentMemoryContext);
	size_t length;
	char *utf8 = text_to_utf8(head_json, strlen(head_json), &length);

	wire_put_text(&payload, utf8, length);
	return payload;
}

static void
check_size(const WireBuffer *payload)
{
	if (payload->size > WIRE_PAYLOAD_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("message to the engine has %zu bytes, at most "
		                       "%u are possible",
		                       payload->size, WIRE_PAYLOAD_MAX)));
}

/* Appends a frame to what is to be sent. */
static void
put_frame(Engine *engine, WireType type, uint32 id, const WireBuffer *payload)
{
	WireBuffer *outgoing = &engine->outgoing;
	size_t begin;

	if (engine->outgoing_at == outgoing->size)
		engine->outgoing_at = outgoing->size = 0;
	wire_reserve(outgoing, payload->size + WIRE_HEADER_SIZE);
	begin = wire_frame_begin(outgoing, (uint16_t) type, id);
	wire_put_bytes(outgoing, payload->data, payload->size);
	wire_frame_end(outgoing, begin);
}

/* --------------------------------------------------------- the socket */

/* Waits a moment for the process behind a closed socket, and notes its end. */
static void
note_death(Engine *engine)
{
	for (int waited_ms = 0; waited_ms < 1000; waited_ms += 2)
	{
		if (process_is_gone(&engine->process))
			break;
		pg_usleep(2000);
	}
	engine_close(engine, 0);
}

/* Sends what the socket takes; false when the other end is gone. */
static bool
send_some(Engine *engine)
{
	WireBuffer *outgoing = &engine->outgoing;

	while (engine->outgoing_at < outgoing->size)
	{
		ssize_t count =
			send(engine->process.socket, outgoing->data + engine->outgoing_at,
		         outgoing->size - engine->outgoing_at, MSG_NOSIGNAL);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		engine->outgoing_at += (size_t) count;
	}
	engine->outgoing_at = outgoing->size = 0;
	shrink(engine, outgoing);
	return true;
}

/* Reads what is there; false when the other end is gone. */
static bool
read_some(Engine *engine)
{
	process_words(&engine->process);
	for (;;)
	{
		uint8_t *space = wire_inbox_space(&engine->inbox, READ_SIZE);
		ssize_t count =
			recv(engine->process.socket, space,
		         engine->inbox.bytes.capacity - engine->inbox.bytes.size, 0);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		if (count == 0)
			return false;
		wire_inbox_filled(&engine->inbox, (size_t) count);
	}
}

static bool
is_sending(const Engine *engine)
{
	return engine->outgoing_at < engine->outgoing.size;
}

/* Waits until all is sent, reading meanwhile; false when the other end is
 * gone (its last frames may be in the inbox). */
static bool
send_all(Engine *engine)
{
	for (;;)
	{
		if (engine->process.pid == 0 || !send_some(engine))
			return false;
		if (!is_sending(engine))
			return true;
		wait_for_socket(engine->waits, true);
		if (!read_some(engine))
			return false;
	}
}

/*
 * The next frame, waiting for it.  Its payload lies in the inbox until the
 * next call.  Raises when the engine is gone or talks nonsense.
 */
static void
next_frame(Engine *engine, WireHeader *header, WireReader *payload)
{
	for (;;)
	{
		WireNext next = wire_inbox_next(&engine->inbox, header, payload);
		bool is_open;

		if (next == WIRE_NEXT_FRAME)
			return;
		if (next == WIRE_NEXT_BROKEN)
		{
			engine_close(engine, 0);
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
			                errmsg("the engine sent a frame that cannot be "
			                       "understood")));
		}
		if (engine->process.pid == 0)
			engine_raise_death(&engine->process);
		if (engine->inbox.at == engine->inbox.bytes.size)
		{
			engine->inbox.at = engine->inbox.bytes.size = 0;
			shrink(engine, &engine->inbox.bytes);
		}
		wait_for_socket(engine->waits, is_sending(engine));
		is_open = send_some(engine);
		/* Read also after a failed send: its last frames may be there. */
		if (!read_some(engine) || !is_open)
			note_death(engine);
	}
}

/* ------------------------------------------------------------- requests */

static bool
is_pending(const Engine *engine, uint32 id)
{
	for (EnginePending *at = engine->pending; at != NULL; at = at->outer)
	{
		if (at->id == id)
			return true;
	}
	return false;
}

/* Forgets the request and all that were made inside it. */
static void
forget(Engine *engine, uint32 id)
{
	bool is_done = !is_pending(engine, id);

	while (!is_done)
	{
		EnginePending *innermost = engine->pending;

		is_done = innermost->id == id;
		engine->pending = innermost->outer;
		pfree(innermost);
	}
	engine->last_use = GetCurrentTimestamp();
}

/* Copies head and items into the current memory context. */
static void
decode(WireHeader *header, WireReader *payload, EngineFrame *frame)
{
	uint8_t *copy =
		MemoryContextAllocHuge(CurrentMemoryContext, payload->size + 1);
	WireReader reader = *payload;
	const char *head;
	size_t length;
	char *json;

	memcpy(copy, payload->data, payload->size);
	reader.data = copy;
	head = wire_get_text(&reader, &length);
	if (reader.broken)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine sent a broken %s frame",
		                       wire_type_name(header->type))));
	json = pnstrdup(head, length);
	/* Outside a transaction no conversion is possible in some encodings. */
	if (IsTransactionState() || GetDatabaseEncoding() == PG_UTF8)
		json = pg_any_to_server(json, (int) length, PG_UTF8);
	else
	{
		for (char *at = json; *at != '\0'; at++)
			*at = (*at & 0x80) != 0 ? '?' : *at;
	}
	frame->type = (WireType) header->type;
	frame->request = header->request;
	frame->head =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	frame->items = reader;
}

/* A line for the server's log, of whatever request. */
static bool
is_log(const EngineFrame *event)
{
	char *severity =
		event->type == WIRE_NOTICE ? json_text(event->head, "severity") : NULL;

	return severity != NULL && strcmp(severity, "log") == 0;
}

/* Gives an event to the handler of its request. */
static void
deliver(Engine *engine, EnginePending *pending, WireHeader *header,
        WireReader *payload)
{
	MemoryContext context;
	MemoryContext saved;
	EngineFrame event;

	if (pending->on_event == NULL && header->type != WIRE_NOTICE)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "alol event",
	                                ALLOCSET_DEFAULT_SIZES);
	saved = MemoryContextSwitchTo(context);
	decode(header, payload, &event);
	if (is_log(&event))
		ereport(LOG, (errmsg_internal("alol-engine: %s",
		                              json_text(event.head, "message"))));
	else if (pending->on_event != NULL)
		pending->on_event(engine, &event, pending->argument);
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
}

/* Takes frames until the request id has its result, or raises its error. */
static void
receive_result(Engine *engine, uint32 id, EngineFrame *result)
{
	for (;;)
	{
		WireHeader header;
		WireReader payload;
		EnginePending *pending;

		next_frame(engine, &header, &payload);
		pending = engine->pending;
		while (pending != NULL && pending->id != header.request)
			pending = pending->outer;
		if (pending == NULL)
			continue; /* of a request that was given up */
		if (header.type != WIRE_RESULT && header.type != WIRE_ERROR)
		{
			deliver(engine, pending, &header, &payload);
			continue;
		}
		decode(&header, &payload, result);
		forget(engine, header.request);
		if (header.type == WIRE_ERROR)
			engine_raise(result->head);
		if (header.request == id)
			return;
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
		                errmsg("the engine ended a request whose nested "
		                       "request still runs")));
	}
}

/* Reads until the request is over; false when that takes too long. */
static bool
drain(Engine *engine, uint32 id)
{
	TimestampTz start = GetCurrentTimestamp();
	WireHeader header;
	WireReader payload;
	WireNext next;

	for (;;)
	{
		struct pollfd polled = {.fd = engine->process.socket};

		while ((next = wire_inbox_next(&engine->inbox, &header, &payload)) ==
		       WIRE_NEXT_FRAME)
		{
			if (header.request == id &&
			    (header.type == WIRE_RESULT || header.type == WIRE_ERROR))
				return true;
		}
		if (next == WIRE_NEXT_BROKEN ||
		    TimestampDifferenceExceeds(start, GetCurrentTimestamp(), DRAIN_MS))
			return false;
		polled.events = is_sending(engine) ? POLLIN | POLLOUT : POLLIN;
		(void) poll(&polled, 1, 50);
		if (!send_some(engine) || !read_some(engine))
			return false;
	}
}

/* Gives up a request that has no result yet; never raises on its own. */
static void
abandon(Engine *engine, uint32 id)
{
	WireBuffer payload;

	if (!is_pending(engine, id))
		return;
	forget(engine, id);
	if (engine->process.pid == 0)
		return;
	payload = engine_payload("{}");
	put_frame(engine, WIRE_CANCEL, id, &payload);
	pfree(payload.data);
	if (!drain(engine, id))
		engine_close(engine, 0);
}

/* ------------------------------------------------------ what others call */

void
engine_call_begin(Engine *engine, EngineCall *call)
{
	EnginePending *pending;

	if (engine->process.pid == 0)
		engine_raise_death(&engine->process);
	check_size(&call->payload);
	pending = MemoryContextAlloc(engine->context, sizeof(*pending));
	engine->last_id =
		engine->last_id == PG_UINT32_MAX ? 1 : engine->last_id + 1;
	pending->id = engine->last_id;
	pending->on_event = call->on_event;
	pending->argument = call->argument;
	pending->streams = call->streams;
	pending->outer = engine->pending;
	engine->pending = pending;
	PG_TRY();
	{
		put_frame(engine, call->type, pending->id, &call->payload);
		(void) send_all(engine); /* a death shows when the result is due */
	}
	PG_CATCH();
	{
		abandon(engine, pending->id);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
engine_send_data(Engine *engine, WireBuffer *payload)
{
	if (engine->pending == NULL || !engine->pending->streams)
		elog(ERROR, "no request takes data");
	check_size(payload);
	put_frame(engine, WIRE_DATA, engine->pending->id, payload);
	if (!send_all(engine))
	{
		note_death(engine);
		engine_raise_death(&engine->process);
	}
}

static void
end_data(Engine *engine, uint32 id)
{
	WireBuffer payload = engine_payload("{}");

	put_frame(engine, WIRE_DATA_END, id, &payload);
	(void) send_all(engine);
	pfree(payload.data);
}

void
engine_call_end(Engine *engine, EngineFrame *result)
{
	uint32 id = engine->pending->id;

	PG_TRY();
	{
		if (engine->pending->streams)
			end_data(engine, id);
		receive_result(engine, id, result);
	}
	PG_CATCH();
	{
		abandon(engine, id);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
engine_answer(Engine *engine, EngineFrame *ask, WireBuffer *payload)
{
	if (ask->type != WIRE_ASK && ask->type != WIRE_CHECKPOINT)
		elog(ERROR, "only a question can be answered");
	check_size(payload);
	put_frame(engine, WIRE_ANSWER, ask->request, payload);
	(void) send_all(engine);
}

void
engine_abandon(Engine *engine)
{
	if (engine->pending != NULL)
		abandon(engine, engine->pending->id);
}

void
engine_call(Engine *engine, EngineCall *call, EngineFrame *result)
{
	engine_call_begin(engine, call);
	engine_call_end(engine, result);
}

void
engine_ask(Engine *engine, WireType type, WireBuffer payload,
           EngineFrame *result)
{
	EngineCall call = {.type = type, .payload = payload};

	engine_call(engine, &call, result);
}
