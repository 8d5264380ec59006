/*
 * connection.h
 *		The engine's end of the socket: whole frames in, bytes out.
 *
 * Both directions move in one place, connection_pump(), so that neither side
 * can wait for the other to read: while we write we go on reading.  Frames
 * that have come wait in a queue, in order.
 */
#pragma once

#include "wire/message.h"

/* A frame that has come; the reader's bytes lie behind it. */
typedef struct Frame
{
	struct Frame *next;
	WireHeader header;
	WireReader payload;
} Frame;

typedef struct Connection
{
	int socket;
	WireInbox inbox;
	WireBuffer outbox;
	size_t sent; /* bytes of the outbox that are gone */
	Frame *first;
	Frame **last;
	size_t queued; /* bytes in the queue */
	bool closed;   /* the other side is gone */
	bool broken;   /* it sent what cannot be a frame */
} Connection;

extern void connection_open(Connection *connection, int socket);

/*
 * Sends and receives what is possible.  wait_ms: how long to wait if nothing
 * is, -1 for ever, 0 not at all.  Returns false when nothing moved.
 */
extern bool connection_pump(Connection *connection, int wait_ms);

/* Sends all of the outbox (or learns that the other side is gone). */
extern void connection_flush(Connection *connection);

/* Removes and returns *place, a link of the queue; free it with frame_free().
 * The queue's first link is &connection->first. */
extern Frame *connection_take(Connection *connection, Frame **place);

extern void frame_free(Frame *frame);
