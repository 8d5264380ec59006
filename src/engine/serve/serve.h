/*
 * serve.h
 *		The engine's conversation: requests in, one handler each, replies out.
 *
 * Order of life: serve_run() reads frames, gives each request to its handler
 * of the table in requests.c, and sends the WIRE_ERROR of those that fail.  A
 * handler reads request->head and request->items, sends events and then one
 * WIRE_RESULT by reply_begin() and reply_end().  Long work asks poll_check(),
 * which looks for WIRE_CANCEL.  While a handler waits for an answer, further
 * requests are served inside it.
 */
#pragma once

#include "base/arena.h"
#include "serve/choose.h"
#include "serve/connection.h"

#include <jansson.h>

typedef struct ModelCache ModelCache;
typedef struct Job Job;
typedef struct Ranks Ranks;
typedef struct Request Request;

typedef struct Serve
{
	Connection connection;
	Device *device;       /* NULL before WIRE_HELLO */
	DeviceList devices;   /* other than the CPU, as that found them */
	DeviceChoice choice;  /* what it computes on */
	uint64_t memory_most; /* see WIRE_HELLO; of this rank */
	Ranks *ranks;         /* ranks.h; NULL: this process is alone */
	ModelCache *models;   /* models.h */
	Job *job;             /* job.h; NULL: none is open */
	Request *current;     /* the innermost request that is being served */
	int depth;
	int idle_timeout_s;     /* 0: wait for ever */
	char log[FAILURE_TEXT]; /* a line for the server's log that goes out
	                         * before the next frame; "": none */
} Serve;

struct Request
{
	Serve *serve;
	Request *outer; /* the one that waits for an answer while we are served */
	uint32_t id;
	WireType type;
	bool cancelled;
	Arena *arena;        /* freed when the request is done */
	json_t *head;        /* a JSON object */
	WireReader items;    /* what follows it */
	size_t frame;        /* where the reply being built begins in the outbox */
	int64_t progress_ms; /* when the last WIRE_PROGRESS went out, */
	char phase[32];      /* and of what */
};

typedef bool (*RequestHandler)(Request *request, Failure *failure);

/* Serves the socket until the other side closes it; never returns. */
extern void serve_run(int socket) __attribute__((noreturn));

/*
 * Starts a frame of this request with a JSON object in front (NULL: an empty
 * one); takes over the reference to head.  The items are put into what it
 * returns.  Exactly one WIRE_RESULT is the last frame.
 */
extern WireBuffer *reply_begin(Request *request, WireType type, json_t *head);

/* Sends it; fails, and sends nothing, if it is beyond WIRE_PAYLOAD_MAX. */
extern bool reply_end(Request *request, Failure *failure);

/* Takes back what reply_begin() started. */
extern void reply_drop(Request *request);

/* A frame without items. */
extern bool reply_send(Request *request, WireType type, json_t *head,
                       Failure *failure);

/* WIRE_PROGRESS, at most ten a second of a phase; those in between are dropped.
 * loss NaN and a speed of 0 are left out. */
extern void reply_progress(Request *request, const char *phase, int64_t done,
                           int64_t total, double tokens_per_second,
                           double loss);

/*
 * Waits for the next WIRE_ANSWER, WIRE_DATA or WIRE_DATA_END of this request
 * and serves other requests meanwhile.  Free the frame with frame_free().
 * NULL: cancelled.
 */
extern Frame *serve_await(Request *request, Failure *failure);

/* Reads the head of a frame as a JSON object that lives in arena. */
extern bool frame_head(Arena *arena, WireReader *payload, json_t **head,
                       Failure *failure);

/* The failure for items that end early or go on too long. */
extern bool fail_items(Request *request, Failure *failure);

/* A monotonic clock. */
extern int64_t clock_ms(void);
