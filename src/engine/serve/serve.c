/*
 * serve.c
 *		The engine's conversation: requests in, one handler each, replies out.
 *
 * A closed socket means that nobody waits for anything: the process ends, in
 * the middle of work too.  A frame that breaks the wire's rules is answered
 * and ends the process, since nothing after it can be believed.
 */
#include "serve/serve.h"

#include "base/log.h"
#include "base/poll.h"
#include "formats/json.h"
#include "serve/models.h"
#include "serve/requests.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Requests inside requests, at most. */
#define DEPTH_MAX 16

/* How often long work may look at the socket. */
#define POLL_INTERVAL_MS 4

/* Who asks a thousand times does so without a pause as long as this. */
#define RESTLESS_MS 100

#define PROGRESS_INTERVAL_MS 100

/* A reply waits for the reader when more than this is not yet sent. */
#define BACKLOG_MAX ((size_t) 16 << 20)

int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A message may quote bytes of a broken file; JSON takes only UTF-8. */
static json_t *
json_text(const char *text)
{
	json_t *value = json_string(text);
	char ascii[FAILURE_TEXT];
	size_t length = 0;

	if (value != NULL)
		return value;
	for (; text[length] != '\0' && length < sizeof(ascii) - 1; length++)
		ascii[length] = (unsigned char) text[length] < 128 ? text[length] : '?';
	ascii[length] = '\0';
	return json_string(ascii);
}

/* log_install()'s: of several between two frames the first one. */
static void
keep_log(void *argument, const char *line)
{
	Serve *serve = argument;

	if (serve->log[0] == '\0')
		snprintf(serve->log, sizeof(serve->log), "%s", line);
}

/* Puts a frame with a JSON object (NULL: an empty one) into the outbox, up to
 * its items; takes over the reference to head. */
static size_t
put_head(Request *request, WireType type, json_t *head)
{
	WireBuffer *outbox = &request->serve->connection.outbox;
	char *text = head == NULL ? NULL : json_dumps(head, JSON_COMPACT);
	size_t frame = wire_frame_begin(outbox, (uint16_t) type, request->id);

	json_decref(head);
	if (text == NULL)
		wire_put_text(outbox, "{}", 2);
	else
		wire_put_text(outbox, text, strlen(text));
	free(text);
	return frame;
}

static void
put_log(Request *request)
{
	Serve *serve = request->serve;

	if (serve->log[0] == '\0')
		return;
	wire_frame_end(&serve->connection.outbox,
	               put_head(request, WIRE_NOTICE,
	                        json_pack("{s:s, s:o}", "severity", "log",
	                                  "message", json_text(serve->log))));
	serve->log[0] = '\0';
}

WireBuffer *
reply_begin(Request *request, WireType type, json_t *head)
{
	put_log(request);
	request->frame = put_head(request, type, head);
	return &request->serve->connection.outbox;
}

bool
reply_end(Request *request, Failure *failure)
{
	Connection *connection = &request->serve->connection;
	WireBuffer *outbox = &connection->outbox;
	size_t size = outbox->size - request->frame - WIRE_HEADER_SIZE;

	if (size > WIRE_PAYLOAD_MAX)
	{
		outbox->size = request->frame;
		return fail(failure, FAILURE_BAD_INPUT,
		            "an answer of %zu MiB is larger than %u MiB", size >> 20,
		            WIRE_PAYLOAD_MAX >> 20);
	}
	wire_frame_end(outbox, request->frame);
	connection_pump(connection, 0);
	while (outbox->size - connection->sent > BACKLOG_MAX &&
	       !connection->closed && !connection->broken)
		connection_pump(connection, -1);
	return true;
}

void
reply_drop(Request *request)
{
	request->serve->connection.outbox.size = request->frame;
}

bool
reply_send(Request *request, WireType type, json_t *head, Failure *failure)
{
	reply_begin(request, type, head);
	return reply_end(request, failure);
}

void
reply_progress(Request *request, const char *phase, int64_t done, int64_t total,
               double tokens_per_second, double loss)
{
	int64_t now = clock_ms();
	Failure ignored;
	json_t *head;

	if (now - request->progress_ms < PROGRESS_INTERVAL_MS &&
	    strcmp(request->phase, phase) == 0)
		return;
	request->progress_ms = now;
	snprintf(request->phase, sizeof(request->phase), "%s", phase);
	head = json_pack("{s:s, s:I, s:I, s:I}", "phase", phase, "done",
	                 (json_int_t) done, "total", (json_int_t) total, "memory",
	                 (json_int_t) memory_used());
	if (tokens_per_second > 0 && isfinite(tokens_per_second))
		json_object_set_new(head, "tokens_per_second",
		                    json_real(tokens_per_second));
	if (isfinite(loss))
		json_object_set_new(head, "loss", json_real(loss));
	reply_send(request, WIRE_PROGRESS, head, &ignored);
}

static void
reply_error(Request *request, const Failure *failure)
{
	Failure ignored;
	json_t *head = json_pack(
		"{s:s, s:o, s:o, s:o, s:o}", "sqlstate",
		failure_sqlstate(failure->code), "message", json_text(failure->message),
		"detail", json_text(failure->detail), "hint", json_text(failure->hint),
		"context", json_text(failure->context));

	reply_send(request, WIRE_ERROR, head, &ignored);
}

bool
frame_head(Arena *arena, WireReader *payload, json_t **head, Failure *failure)
{
	size_t length;
	const char *text = wire_get_text(payload, &length);

	if (payload->broken)
		return fail(failure, FAILURE_PROTOCOL, "a frame has no head");
	if (!json_open_text(arena, text, length, "the head of a frame", head,
	                    failure))
		return false;
	if (!json_is_object(*head))
		return fail(failure, FAILURE_PROTOCOL,
		            "the head of a frame is not an object");
	return true;
}

bool
fail_items(Request *request, Failure *failure)
{
	return fail(failure, FAILURE_PROTOCOL,
	            "the items of a \"%s\" request do not fit its %zu bytes",
	            wire_type_name((uint16_t) request->type), request->items.size);
}

/* Tells the other side, as far as it still listens, and ends: at once, as the
 * driver of a lost device may not get to its own end. */
static void
die(Serve *serve, Request *request, const Failure *failure)
{
	reply_error(request, failure);
	connection_flush(&serve->connection);
	fprintf(stderr, "%s\n", failure->message);
	fflush(NULL);
	_exit(1);
}

static void
die_unless_open(Serve *serve)
{
	if (serve->connection.broken)
	{
		fprintf(stderr, "received bytes that are no frame\n");
		exit(1);
	}
	if (serve->connection.closed)
		exit(0);
}

/* Does a frame before this one start the request that it means? */
static bool
is_still_queued(const Serve *serve, const Frame *cancel)
{
	for (const Frame *frame = serve->connection.first; frame != cancel;
	     frame = frame->next)
		if (frame->header.request == cancel->header.request)
			return true;
	return false;
}

/*
 * Takes the WIRE_CANCEL frames out of the queue.  One for a request that is
 * done already means nothing any more; one for a request that still waits
 * waits with it.
 */
static void
collect_cancels(Serve *serve)
{
	Frame **place = &serve->connection.first;

	while (*place != NULL)
	{
		const Frame *frame = *place;
		bool is_known = false;

		for (Request *request = serve->current;
		     request != NULL && frame->header.type == WIRE_CANCEL;
		     request = request->outer)
			if (request->id == frame->header.request)
				is_known = request->cancelled = true;
		if (frame->header.type != WIRE_CANCEL ||
		    (!is_known && is_still_queued(serve, frame)))
			place = &(*place)->next;
		else
			frame_free(connection_take(&serve->connection, place));
	}
}

/* Is the request that is being served, or one around it, to stop? */
static bool
any_cancelled(const Serve *serve)
{
	for (const Request *request = serve->current; request != NULL;
	     request = request->outer)
		if (request->cancelled)
			return true;
	return false;
}

/* What poll_check() asks. */
static bool
check_cancelled(void *argument, Failure *failure)
{
	static int64_t last_ms = 0;
	Serve *serve = argument;
	int64_t now = clock_ms();

	if (now - last_ms >= POLL_INTERVAL_MS)
	{
		last_ms = now;
		connection_pump(&serve->connection, 0);
		die_unless_open(serve);
	}
	collect_cancels(serve);
	return !any_cancelled(serve) ||
	       fail(failure, FAILURE_CANCELLED, "cancelled by request");
}

static bool
run_handler(Request *request, Frame *frame, Failure *failure)
{
	Serve *serve = request->serve;
	RequestHandler handler = request_handler(request->type);

	if (serve->depth > DEPTH_MAX)
		return fail(failure, FAILURE_PROTOCOL,
		            "requests are nested more than %d deep", DEPTH_MAX);
	if (serve->device == NULL && request->type != WIRE_HELLO)
		return fail(failure, FAILURE_PROTOCOL,
		            "the first request must be \"hello\", not \"%s\"",
		            wire_type_name((uint16_t) request->type));
	if (handler == NULL)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "request type %d is not known", (int) request->type);
	request->items = frame->payload;
	return frame_head(request->arena, &request->items, &request->head,
	                  failure) &&
	       handler(request, failure);
}

/* Serves one request; frame is freed. */
static void
serve_request(Serve *serve, Frame *frame)
{
	Failure failure = {0};
	Request request = {0};

	request.serve = serve;
	request.outer = serve->current;
	request.id = frame->header.request;
	request.type = (WireType) frame->header.type;
	request.arena = arena_create();
	serve->current = &request;
	serve->depth++;
	if (!run_handler(&request, frame, &failure))
	{
		/* Who trains has what was planned. */
		if (request.outer == NULL && request.type != WIRE_JOB_TRAIN)
			device_judge(&serve->devices, &serve->choice, serve->memory_most,
			             &failure);
		/* A device that failed once answers nothing more. */
		if (failure.code == FAILURE_PROTOCOL || failure.code == FAILURE_DEVICE)
			die(serve, &request, &failure);
		reply_error(&request, &failure);
	}
	serve->depth--;
	serve->current = request.outer;
	arena_destroy(request.arena);
	frame_free(frame);
}

/* Frames in the middle of a request; left over when it ended early. */
static bool
is_continuation(const Frame *frame)
{
	return frame->header.type == WIRE_ANSWER ||
	       frame->header.type == WIRE_DATA ||
	       frame->header.type == WIRE_DATA_END;
}

/* The next frame, or NULL when none came for wait_ms. */
static Frame *
next_frame(Serve *serve, int wait_ms)
{
	for (;;)
	{
		bool moved;

		collect_cancels(serve);
		if (serve->connection.first != NULL)
			return connection_take(&serve->connection,
			                       &serve->connection.first);
		moved = connection_pump(&serve->connection, wait_ms);
		die_unless_open(serve);
		if (!moved || any_cancelled(serve))
			return NULL;
	}
}

Frame *
serve_await(Request *request, Failure *failure)
{
	Serve *serve = request->serve;

	while (poll_check(failure))
	{
		Frame *frame = next_frame(serve, 1000);

		if (frame == NULL)
			continue;
		if (!is_continuation(frame))
			serve_request(serve, frame);
		else if (frame->header.request == request->id)
		{
			/* The request has its memory for itself again. */
			models_rest(serve);
			return frame;
		}
		else
			frame_free(frame);
	}
	return NULL;
}

/* The next frame, or NULL when the engine has been idle for too long. */
static Frame *
wait_for_work(Serve *serve)
{
	int wait_ms = serve->idle_timeout_s > 0 ? serve->idle_timeout_s * 1000 : -1;
	Frame *frame = next_frame(serve, RESTLESS_MS);

	if (frame != NULL)
		return frame;
	models_rest(serve);
	return next_frame(serve, wait_ms);
}

void
serve_run(int socket)
{
	static Serve serve;

	connection_open(&serve.connection, socket);
	poll_install(check_cancelled, &serve);
	log_install(keep_log, &serve);
	for (;;)
	{
		Frame *frame = wait_for_work(&serve);

		if (frame == NULL)
			exit(0);
		if (is_continuation(frame))
			frame_free(frame);
		else
			serve_request(&serve, frame);
	}
}
