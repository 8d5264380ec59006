/*
 * frame.h
 *		The bytes between the extension and its engine.
 *
 * A frame is a header of 12 bytes (payload length, type, flags, request id;
 * little endian) and a payload.  Both sides build payloads with a WireBuffer
 * and take them apart with a WireReader, which never reads past the end.
 * This room knows neither PostgreSQL nor the engine.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 2
#define WIRE_HEADER_SIZE 12
#define WIRE_PAYLOAD_MAX ((uint32_t) 256 * 1024 * 1024)

typedef struct WireHeader
{
	uint32_t length;  /* of the payload, at most WIRE_PAYLOAD_MAX */
	uint16_t type;    /* WireType of message.h */
	uint16_t flags;   /* 0 */
	uint32_t request; /* which request this belongs to */
} WireHeader;

/*
 * A growing run of bytes.  resize works like realloc (NULL: a new one) and
 * must not return NULL: each side gives its own, which raises or exits.
 */
typedef struct WireBuffer
{
	uint8_t *data;
	size_t size;
	size_t capacity;
	void *(*resize)(void *old, size_t size);
} WireBuffer;

extern void wire_reserve(WireBuffer *buffer, size_t more);
extern void wire_put_u8(WireBuffer *buffer, uint8_t value);
extern void wire_put_u32(WireBuffer *buffer, uint32_t value);
extern void wire_put_i64(WireBuffer *buffer, int64_t value);
extern void wire_put_f64(WireBuffer *buffer, double value);
extern void wire_put_bytes(WireBuffer *buffer, const void *data, size_t size);

/* A length and the bytes; length is at most UINT32_MAX. */
extern void wire_put_text(WireBuffer *buffer, const char *text, size_t length);

/* Starts a frame in buffer and returns where; end fills in its length. */
extern size_t wire_frame_begin(WireBuffer *buffer, uint16_t type,
                               uint32_t request);
extern void wire_frame_end(WireBuffer *buffer, size_t begin);

/*
 * A cursor over a payload it does not own.  A read past the end sets broken
 * and gives zeros; check broken once, after the last read.
 */
typedef struct WireReader
{
	const uint8_t *data;
	size_t size;
	size_t at;
	bool broken;
} WireReader;

extern uint8_t wire_get_u8(WireReader *reader);
extern uint32_t wire_get_u32(WireReader *reader);
extern int64_t wire_get_i64(WireReader *reader);
extern double wire_get_f64(WireReader *reader);

/* A text: its length, and the bytes where they lie (no zero byte at the end;
 * "" when broken). */
extern const char *wire_get_text(WireReader *reader, size_t *length);

/*
 * A count of items of at least item_size bytes each; broken, and 0, when the
 * payload cannot hold so many, so that it may be used for an allocation.
 */
extern uint32_t wire_get_count(WireReader *reader, size_t item_size);

/* Whole frames out of a stream of bytes. */
typedef struct WireInbox
{
	WireBuffer bytes;
	size_t at; /* consumed */
} WireInbox;

typedef enum WireNext
{
	WIRE_NEXT_NONE, /* more bytes are needed */
	WIRE_NEXT_FRAME,
	WIRE_NEXT_BROKEN /* a header that cannot be believed */
} WireNext;

/* Room for size more bytes: read there, then say how many came. */
extern uint8_t *wire_inbox_space(WireInbox *inbox, size_t size);
extern void wire_inbox_filled(WireInbox *inbox, size_t size);

/*
 * The next whole frame.  payload reads inside the inbox: it is valid until
 * the next call of wire_inbox_space().
 */
extern WireNext wire_inbox_next(WireInbox *inbox, WireHeader *header,
                                WireReader *payload);
