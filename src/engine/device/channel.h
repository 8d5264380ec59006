/*
 * channel.h
 *		Messages between rank 0 and another rank of the same job, over a socket
 *		that the other inherited.
 *
 * Both are one program, so what is sent is memory as it lies.  A rank that
 * fails sends its failure in place of what is due, and ends.
 */
#pragma once

#include "base/arena.h"

#define CHANNEL_FAILURE 0 /* a Failure */
#define CHANNEL_DATA 1    /* of a collective */
#define CHANNEL_FIRST 2   /* of kinds that others use */

typedef struct Channel
{
	int socket;
	bool is_closed; /* the other end is gone */

	/* Asked ten times a second while a channel waits, which ends when it says
	 * false; NULL: nothing to ask. */
	bool (*check)(void *argument, Failure *failure);
	void *argument;
} Channel;

/* Back when all of it is sent. */
extern bool channel_send(Channel *channel, uint32_t kind, const void *data,
                         size_t size, Failure *failure);

/* Waits for a message of this kind and size.  What the other end sent as its
 * failure is this function's. */
extern bool channel_receive(Channel *channel, uint32_t kind, void *data,
                            size_t size, Failure *failure);

/* Waits for a message of any kind but a failure; its data lie in arena. */
extern bool channel_receive_any(Channel *channel, Arena *arena, uint32_t *kind,
                                void **data, size_t *size, Failure *failure);

/* False with a failure if one has come, or the other end is gone; does not
 * wait.  For a moment in which nothing else can be due. */
extern bool channel_is_well(Channel *channel, Failure *failure);
