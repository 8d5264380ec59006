/*
 * collective_socket.c
 *		Ranks that have a socket to rank 0, through which all goes.
 *
 * A piece at a time: the others send theirs, rank 0 adds them to its own in
 * the order of ranks and sends the sum to all.  No rank is ahead by more than
 * a piece, so that nobody waits for room in a socket that nobody reads.
 */
#include "device/channel.h"
#include "device/collective.h"

#include <stdlib.h>

/* Floats of a piece. */
#define PIECE ((int64_t) 65536)

typedef struct SocketCollective
{
	Collective collective; /* first */
	Channel *channel;      /* see collective_open_sockets() */
	float *own;            /* [PIECE] */
	float *other;          /* [PIECE] */
} SocketCollective;

static bool
receive(Channel *channel, void *data, size_t bytes, Failure *failure)
{
	return channel_receive(channel, CHANNEL_DATA, data, bytes, failure);
}

static bool
send_on(Channel *channel, const void *data, size_t bytes, Failure *failure)
{
	return channel_send(channel, CHANNEL_DATA, data, bytes, failure);
}

static bool
send_to_all(SocketCollective *self, const void *data, size_t bytes,
            Failure *failure)
{
	for (int rank = 1; rank < self->collective.ranks; rank++)
		if (!send_on(&self->channel[rank], data, bytes, failure))
			return false;
	return true;
}

/* own[count] becomes the sum. */
static bool
reduce_piece(SocketCollective *self, int64_t count, Failure *failure)
{
	size_t bytes = (size_t) count * sizeof(float);

	if (self->collective.rank > 0)
		return send_on(self->channel, self->own, bytes, failure) &&
		       receive(self->channel, self->own, bytes, failure);
	for (int rank = 1; rank < self->collective.ranks; rank++)
	{
		if (!receive(&self->channel[rank], self->other, bytes, failure))
			return false;
		for (int64_t i = 0; i < count; i++)
			self->own[i] += self->other[i];
	}
	return send_to_all(self, self->own, bytes, failure);
}

static bool
socket_all_reduce(Collective *collective, float *data, int64_t count,
                  Failure *failure)
{
	SocketCollective *self = (SocketCollective *) collective;
	Device *device = collective->device;

	for (int64_t done = 0; done < count; done += PIECE)
	{
		int64_t piece = count - done < PIECE ? count - done : PIECE;
		size_t bytes = (size_t) piece * sizeof(float);

		device->download(device, self->own, data + done, bytes);
		/* A lost device must not have its leavings added by others. */
		if (!device->sync(device, failure) ||
		    !reduce_piece(self, piece, failure))
			return false;
		device->upload(device, data + done, self->own, bytes);
	}
	return device->sync(device, failure);
}

static bool
socket_broadcast(Collective *collective, void *data, size_t bytes,
                 Failure *failure)
{
	SocketCollective *self = (SocketCollective *) collective;
	Device *device = collective->device;
	const size_t most = (size_t) PIECE * sizeof(float);

	for (size_t done = 0; done < bytes; done += most)
	{
		size_t piece = bytes - done < most ? bytes - done : most;
		char *at = (char *) data + done;

		if (collective->rank > 0)
		{
			if (!receive(self->channel, self->own, piece, failure))
				return false;
			device->upload(device, at, self->own, piece);
			continue;
		}
		device->download(device, self->own, at, piece);
		if (!device->sync(device, failure) ||
		    !send_to_all(self, self->own, piece, failure))
			return false;
	}
	return device->sync(device, failure);
}

static bool
socket_barrier(Collective *collective, Failure *failure)
{
	SocketCollective *self = (SocketCollective *) collective;

	if (!collective->device->sync(collective->device, failure))
		return false;
	if (collective->rank > 0)
		return send_on(self->channel, NULL, 0, failure) &&
		       receive(self->channel, NULL, 0, failure);
	for (int rank = 1; rank < collective->ranks; rank++)
		if (!receive(&self->channel[rank], NULL, 0, failure))
			return false;
	return send_to_all(self, NULL, 0, failure);
}

static void
socket_close(Collective *collective)
{
	SocketCollective *self = (SocketCollective *) collective;

	free(self->own);
	free(self->other);
	free(self);
}

bool
collective_open_sockets(Device *device, int rank, int ranks, Channel *channel,
                        Collective **collective, Failure *failure)
{
	SocketCollective *self = calloc(1, sizeof(SocketCollective));
	float *own = malloc((size_t) PIECE * sizeof(float));
	float *other = malloc((size_t) PIECE * sizeof(float));

	if (self == NULL || own == NULL || other == NULL)
	{
		free(self);
		free(own);
		free(other);
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for a collective");
	}
	self->collective = (Collective){.name = "sockets",
	                                .rank = rank,
	                                .ranks = ranks,
	                                .device = device,
	                                .all_reduce = socket_all_reduce,
	                                .broadcast = socket_broadcast,
	                                .barrier = socket_barrier,
	                                .close = socket_close};
	self->channel = channel;
	self->own = own;
	self->other = other;
	*collective = &self->collective;
	return true;
}
