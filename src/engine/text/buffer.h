/*
 * buffer.h
 *		Text and lists that grow inside an arena.
 *
 * A buffer remembers its first failure and ignores what is appended after it,
 * so that callers check once, at the end (as with FileWriter).
 */
#pragma once

#include "base/arena.h"

typedef struct TextBuffer
{
	Arena *arena;
	char *data; /* NULL while nothing was appended */
	size_t length;
	size_t capacity;
	Failure *failure;
	bool failed;
} TextBuffer;

extern void buffer_start(TextBuffer *buffer, Arena *arena, Failure *failure);
extern bool buffer_reserve(TextBuffer *buffer, size_t more);
extern void buffer_append(TextBuffer *buffer, const char *text, size_t length);

/* The code point as UTF-8. */
extern void buffer_append_code(TextBuffer *buffer, uint32_t code);

/*
 * Makes room for one more item of size bytes after count of them; items and
 * capacity are replaced by a larger block where needed.
 */
extern bool list_reserve(Arena *arena, void **items, size_t count,
                         size_t *capacity, size_t size, Failure *failure);
