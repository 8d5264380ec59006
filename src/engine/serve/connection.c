/*
 * connection.c
 *		The engine's end of the socket: whole frames in, bytes out.
 */
#include "serve/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define READ_SIZE ((size_t) 65536)

/* More than one frame of the largest size waiting is no conversation. */
#define QUEUE_MAX ((size_t) 2 * WIRE_PAYLOAD_MAX)

static void *
resize_or_exit(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (memory == NULL)
	{
		fprintf(stderr, "out of memory: a frame needs %zu bytes\n", size);
		exit(1);
	}
	return memory;
}

void
connection_open(Connection *connection, int socket)
{
	memset(connection, 0, sizeof(Connection));
	connection->socket = socket;
	connection->inbox.bytes.resize = resize_or_exit;
	connection->outbox.resize = resize_or_exit;
	connection->last = &connection->first;
}

/* Moves whole frames from the inbox to the queue. */
static void
queue_frames(Connection *connection)
{
	WireHeader header;
	WireReader payload;
	WireNext next;

	while ((next = wire_inbox_next(&connection->inbox, &header, &payload)) ==
	       WIRE_NEXT_FRAME)
	{
		Frame *frame = resize_or_exit(NULL, sizeof(Frame) + payload.size);

		frame->next = NULL;
		frame->header = header;
		frame->payload = payload;
		frame->payload.data = (uint8_t *) (frame + 1);
		if (payload.size > 0)
			memcpy(frame + 1, payload.data, payload.size);
		*connection->last = frame;
		connection->last = &frame->next;
		connection->queued += payload.size;
	}
	if (next == WIRE_NEXT_BROKEN || connection->queued > QUEUE_MAX)
		connection->broken = true;
}

static bool
receive(Connection *connection)
{
	uint8_t *space = wire_inbox_space(&connection->inbox, READ_SIZE);
	ssize_t got = recv(connection->socket, space, READ_SIZE, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0)
	{
		connection->closed = true;
		return true;
	}
	wire_inbox_filled(&connection->inbox, (size_t) got);
	queue_frames(connection);
	return true;
}

static bool
transmit(Connection *connection)
{
	WireBuffer *outbox = &connection->outbox;
	ssize_t put;

	if (connection->sent == outbox->size)
		return false;
	put = send(connection->socket, outbox->data + connection->sent,
	           outbox->size - connection->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (put < 0)
	{
		connection->closed = true;
		return true;
	}
	connection->sent += (size_t) put;
	if (connection->sent == outbox->size)
		connection->sent = outbox->size = 0;
	return true;
}

bool
connection_pump(Connection *connection, int wait_ms)
{
	bool moved = false;
	struct pollfd event = {.fd = connection->socket, .events = POLLIN};

	if (connection->closed || connection->broken)
		return true;
	while (!connection->closed && transmit(connection))
		moved = true;
	while (!connection->closed && !connection->broken && receive(connection))
		moved = true;
	if (moved || wait_ms == 0)
		return moved;
	if (connection->sent < connection->outbox.size)
		event.events |= POLLOUT;
	/* An interrupted wait looks like one in which something moved. */
	if (poll(&event, 1, wait_ms) == 0)
		return false;
	if ((event.revents & POLLOUT) != 0)
		transmit(connection);
	if ((event.revents & ~POLLOUT) != 0 && !connection->closed)
		receive(connection);
	return true;
}

void
connection_flush(Connection *connection)
{
	while (connection->outbox.size > 0 && !connection->closed &&
	       !connection->broken)
		connection_pump(connection, -1);
}

Frame *
connection_take(Connection *connection, Frame **place)
{
	Frame *frame = *place;

	*place = frame->next;
	if (frame->next == NULL)
		connection->last = place;
	connection->queued -= frame->payload.size;
	return frame;
}

void
frame_free(Frame *frame)
{
	free(frame);
}
