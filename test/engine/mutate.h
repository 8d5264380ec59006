/*
 * mutate.h
 *		Random damage to the bytes of a file, reproducible by fuzz_state.
 */
#pragma once

#include <stdint.h>
#include <string.h>

static uint64_t fuzz_state;

static inline size_t
fuzz_random(size_t below)
{
	fuzz_state = fuzz_state * 6364136223846793005u + 1442695040888963407u;
	return below == 0 ? 0 : (size_t) (fuzz_state >> 33) % below;
}

/* Puts a text in the place of length bytes at a random place. */
static inline size_t
fuzz_replace(uint8_t *data, size_t size, size_t room, const char *text,
             size_t length)
{
	size_t at = fuzz_random(size + 1);
	size_t added = strlen(text);

	if (length > size - at)
		length = size - at;
	if (size - length + added > room)
		return size;
	memmove(data + at + added, data + at + length, size - at - length);
	memcpy(data + at, text, added);
	return size - length + added;
}

/* A few changes; returns the new size, at most room. */
static inline size_t
fuzz_mutate(uint8_t *data, size_t size, size_t room)
{
	static const char *const words[] = {
		"null", "-1",   "0",  "1",  "4294967296", "9223372036854775807",
		"1e99", "\"\"", "[]", "{}", "true",       "\"\\u0000\"",
		",",    ":",    "]",  "}",  "\"",         "\xff"};
	size_t changes = 1 + fuzz_random(4);

	for (size_t i = 0; i < changes && size > 0; i++)
		switch (fuzz_random(5))
		{
			case 0:
				data[fuzz_random(size)] ^= (uint8_t) (1u << fuzz_random(8));
				break;
			case 1:
				data[fuzz_random(size)] = (uint8_t) ('0' + fuzz_random(10));
				break;
			case 2:
				size = fuzz_replace(
					data, size, room,
					words[fuzz_random(sizeof(words) / sizeof(words[0]))],
					fuzz_random(12));
				break;
			case 3:
				size = fuzz_replace(data, size, room, "", fuzz_random(40));
				break;
			default:
				if (fuzz_random(8) == 0)
					size = fuzz_random(size);
		}
	return size;
}
