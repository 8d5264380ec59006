/*
 * channel.c
 *		Messages between rank 0 and another rank of the same job, over a socket
 *		that the other inherited.
 */
#include "device/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define CHECK_INTERVAL_MS 100

typedef struct Header
{
	uint32_t kind;
	uint32_t unused;
	uint64_t size;
} Header;

static bool
fail_closed(Channel *channel, Failure *failure)
{
	channel->is_closed = true;
	return fail(failure, FAILURE_DEVICE, "another rank of the job has ended");
}

/* Waits until the socket can be read or written. */
static bool
wait_for(Channel *channel, short events, Failure *failure)
{
	struct pollfd event = {.fd = channel->socket, .events = events};

	while (poll(&event, 1, CHECK_INTERVAL_MS) <= 0)
		if (channel->check != NULL &&
		    !channel->check(channel->argument, failure))
			return false;
	return true;
}

static bool
put(Channel *channel, const void *data, size_t size, Failure *failure)
{
	const char *at = data;

	while (size > 0)
	{
		ssize_t sent =
			send(channel->socket, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return fail_closed(channel, failure);
		if (sent < 0)
		{
			if (!wait_for(channel, POLLOUT, failure))
				return false;
			continue;
		}
		at += sent;
		size -= (size_t) sent;
	}
	return true;
}

static bool
take(Channel *channel, void *data, size_t size, Failure *failure)
{
	char *at = data;

	while (size > 0)
	{
		ssize_t got = recv(channel->socket, at, size, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return fail_closed(channel, failure);
		if (got < 0)
		{
			if (!wait_for(channel, POLLIN, failure))
				return false;
			continue;
		}
		at += got;
		size -= (size_t) got;
	}
	return true;
}

bool
channel_send(Channel *channel, uint32_t kind, const void *data, size_t size,
             Failure *failure)
{
	Header header = {.kind = kind, .size = size};

	return put(channel, &header, sizeof(header), failure) &&
	       put(channel, data, size, failure);
}

/* A header, unless it is that of a failure. */
static bool
take_header(Channel *channel, Header *header, Failure *failure)
{
	if (!take(channel, header, sizeof(Header), failure))
		return false;
	if (header->kind != CHANNEL_FAILURE)
		return true;
	if (header->size != sizeof(Failure))
		return fail(failure, FAILURE_INTERNAL,
		            "ranks misunderstand each other");
	(void) take(channel, failure, sizeof(Failure), failure);
	return false;
}

bool
channel_receive(Channel *channel, uint32_t kind, void *data, size_t size,
                Failure *failure)
{
	Header header;

	if (!take_header(channel, &header, failure))
		return false;
	if (header.kind != kind || header.size != size)
		return fail(failure, FAILURE_INTERNAL,
		            "a rank sent %llu bytes of kind %u in place of %zu of kind "
		            "%u",
		            (unsigned long long) header.size, header.kind, size, kind);
	return take(channel, data, size, failure);
}

bool
channel_receive_any(Channel *channel, Arena *arena, uint32_t *kind, void **data,
                    size_t *size, Failure *failure)
{
	Header header;

	if (!take_header(channel, &header, failure))
		return false;
	*data = arena_try(arena, header.size + 1, 1, failure);
	*kind = header.kind;
	*size = header.size;
	return *data != NULL && take(channel, *data, header.size, failure);
}

bool
channel_is_well(Channel *channel, Failure *failure)
{
	Header header;
	ssize_t got =
		recv(channel->socket, &header, sizeof(header), MSG_DONTWAIT | MSG_PEEK);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0)
		return fail_closed(channel, failure);
	/* What is due later may come early. */
	if (got < (ssize_t) sizeof(header) || header.kind != CHANNEL_FAILURE)
		return true;
	return take_header(channel, &header, failure);
}
