/*
 * buffer.c
 *		Text and lists that grow inside an arena.
 */
#include "text/buffer.h"

#include "text/unicode.h"

#include <string.h>

void
buffer_start(TextBuffer *buffer, Arena *arena, Failure *failure)
{
	memset(buffer, 0, sizeof(TextBuffer));
	buffer->arena = arena;
	buffer->failure = failure;
}

bool
buffer_reserve(TextBuffer *buffer, size_t more)
{
	size_t wanted;
	char *data;

	if (buffer->failed)
		return false;
	if (more <= buffer->capacity - buffer->length)
		return true;

	/* Twice the need, so that appending byte by byte stays linear. */
	wanted = (buffer->length + more) * 2;
	data =
		arena_try(buffer->arena, wanted < 64 ? 64 : wanted, 1, buffer->failure);
	if (data == NULL)
	{
		buffer->failed = true;
		return false;
	}
	if (buffer->length > 0)
		memcpy(data, buffer->data, buffer->length);
	buffer->data = data;
	buffer->capacity = wanted < 64 ? 64 : wanted;
	return true;
}

void
buffer_append(TextBuffer *buffer, const char *text, size_t length)
{
	if (length == 0 || !buffer_reserve(buffer, length))
		return;
	memcpy(buffer->data + buffer->length, text, length);
	buffer->length += length;
}

void
buffer_append_code(TextBuffer *buffer, uint32_t code)
{
	char bytes[4];

	buffer_append(buffer, bytes, unicode_put(bytes, code));
}

bool
list_reserve(Arena *arena, void **items, size_t count, size_t *capacity,
             size_t size, Failure *failure)
{
	size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
	void *larger;

	if (count < *capacity)
		return true;
	larger = arena_try(arena, wanted, size, failure);
	if (larger == NULL)
		return false;
	if (count > 0)
		memcpy(larger, *items, count * size);
	*items = larger;
	*capacity = wanted;
	return true;
}
