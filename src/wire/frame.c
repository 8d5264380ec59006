/*
 * frame.c
 *		The bytes between the extension and its engine.
 */
#include "wire/frame.h"

#include <string.h>

void
wire_reserve(WireBuffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity;

	if (buffer->capacity - buffer->size >= more)
		return;
	if (capacity < 256)
		capacity = 256;
	while (capacity - buffer->size < more)
		capacity *= 2;
	buffer->data = buffer->resize(buffer->data, capacity);
	buffer->capacity = capacity;
}

void
wire_put_bytes(WireBuffer *buffer, const void *data, size_t size)
{
	if (size == 0)
		return;
	wire_reserve(buffer, size);
	memcpy(buffer->data + buffer->size, data, size);
	buffer->size += size;
}

static void
store(uint8_t *at, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t) (value >> (8 * i));
}

static uint64_t
fetch(const uint8_t *at, int bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) at[i] << (8 * i);
	return value;
}

static void
put(WireBuffer *buffer, uint64_t value, int bytes)
{
	wire_reserve(buffer, (size_t) bytes);
	store(buffer->data + buffer->size, value, bytes);
	buffer->size += (size_t) bytes;
}

void
wire_put_u8(WireBuffer *buffer, uint8_t value)
{
	put(buffer, value, 1);
}

void
wire_put_u32(WireBuffer *buffer, uint32_t value)
{
	put(buffer, value, 4);
}

void
wire_put_i64(WireBuffer *buffer, int64_t value)
{
	put(buffer, (uint64_t) value, 8);
}

void
wire_put_f64(WireBuffer *buffer, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put(buffer, bits, 8);
}

void
wire_put_text(WireBuffer *buffer, const char *text, size_t length)
{
	wire_put_u32(buffer, (uint32_t) length);
	wire_put_bytes(buffer, text, length);
}

size_t
wire_frame_begin(WireBuffer *buffer, uint16_t type, uint32_t request)
{
	size_t begin = buffer->size;

	wire_put_u32(buffer, 0);
	put(buffer, type, 2);
	put(buffer, 0, 2);
	wire_put_u32(buffer, request);
	return begin;
}

void
wire_frame_end(WireBuffer *buffer, size_t begin)
{
	store(buffer->data + begin, buffer->size - begin - WIRE_HEADER_SIZE, 4);
}

static uint64_t
get(WireReader *reader, int bytes)
{
	uint64_t value;

	if (reader->broken || reader->size - reader->at < (size_t) bytes)
	{
		reader->broken = true;
		return 0;
	}
	value = fetch(reader->data + reader->at, bytes);
	reader->at += (size_t) bytes;
	return value;
}

uint8_t
wire_get_u8(WireReader *reader)
{
	return (uint8_t) get(reader, 1);
}

uint32_t
wire_get_u32(WireReader *reader)
{
	return (uint32_t) get(reader, 4);
}

int64_t
wire_get_i64(WireReader *reader)
{
	return (int64_t) get(reader, 8);
}

double
wire_get_f64(WireReader *reader)
{
	uint64_t bits = get(reader, 8);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

const char *
wire_get_text(WireReader *reader, size_t *length)
{
	uint32_t size = wire_get_u32(reader);
	const char *text;

	*length = 0;
	if (reader->broken || reader->size - reader->at < size)
	{
		reader->broken = true;
		return "";
	}
	text = (const char *) reader->data + reader->at;
	reader->at += size;
	*length = size;
	return size == 0 ? "" : text;
}

uint32_t
wire_get_count(WireReader *reader, size_t item_size)
{
	uint32_t count = wire_get_u32(reader);

	if (reader->broken || count > (reader->size - reader->at) / item_size)
	{
		reader->broken = true;
		return 0;
	}
	return count;
}

uint8_t *
wire_inbox_space(WireInbox *inbox, size_t size)
{
	WireBuffer *bytes = &inbox->bytes;

	if (inbox->at > 0)
	{
		memmove(bytes->data, bytes->data + inbox->at, bytes->size - inbox->at);
		bytes->size -= inbox->at;
		inbox->at = 0;
	}
	wire_reserve(bytes, size);
	return bytes->data + bytes->size;
}

void
wire_inbox_filled(WireInbox *inbox, size_t size)
{
	inbox->bytes.size += size;
}

WireNext
wire_inbox_next(WireInbox *inbox, WireHeader *header, WireReader *payload)
{
	size_t left = inbox->bytes.size - inbox->at;
	const uint8_t *at;

	if (left < WIRE_HEADER_SIZE)
		return WIRE_NEXT_NONE;
	at = inbox->bytes.data + inbox->at;
	header->length = (uint32_t) fetch(at, 4);
	header->type = (uint16_t) fetch(at + 4, 2);
	header->flags = (uint16_t) fetch(at + 6, 2);
	header->request = (uint32_t) fetch(at + 8, 4);
	if (header->length > WIRE_PAYLOAD_MAX || header->flags != 0)
		return WIRE_NEXT_BROKEN;
	if (left - WIRE_HEADER_SIZE < header->length)
		return WIRE_NEXT_NONE;
	payload->data = at + WIRE_HEADER_SIZE;
	payload->size = header->length;
	payload->at = 0;
	payload->broken = false;
	inbox->at += WIRE_HEADER_SIZE + header->length;
	return WIRE_NEXT_FRAME;
}
