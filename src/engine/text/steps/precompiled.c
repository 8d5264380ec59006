/*
 * precompiled.c
 *		SentencePiece's character map, as `tokenizers` applies it.
 *
 * Characters that are seen as one (an accent on its letter) are looked up
 * together where they are short, else one by one; and it is the shortest entry
 * that they begin with that replaces all of them.  Models were made with
 * exactly this, so it must stay.
 */
#include "text/steps/precompiled.h"

#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

#define SHORT_CLUSTER 6 /* bytes: from here on characters go one by one */

struct Precompiled
{
	const uint8_t *units; /* [count] of 4 bytes */
	size_t count;
	const char *texts; /* [size] replacements */
	size_t size;
	bool is_plain[128]; /* ASCII that nothing replaces, and that a mark alone
	                     * can be seen as one with */
};

/* Six bits, or -1. */
static int
base64_digit(char letter)
{
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

/* The bytes of a base64 text, padded to a multiple of four. */
static bool
decode_base64(Arena *arena, const char *text, size_t length, uint8_t **bytes,
              size_t *size, Failure *failure)
{
	size_t letters = length;
	uint32_t bits = 0;
	size_t used = 0;

	*bytes = arena_try(arena, length / 4 * 3 + 3, 1, failure);
	if (*bytes == NULL)
		return false;
	while (letters > 0 && length - letters < 2 && text[letters - 1] == '=')
		letters--;
	for (size_t i = 0; i < letters; i++)
	{
		int digit = base64_digit(text[i]);

		if (digit < 0 || length % 4 != 0)
			return fail(failure, FAILURE_BAD_FILE,
			            "\"precompiled_charsmap\" is not base64");
		bits = bits << 6 | (uint32_t) digit;
		if (i % 4 > 0)
			(*bytes)[used++] = (uint8_t) (bits >> (6 - 2 * (i % 4)));
	}
	*size = used;
	return true;
}

static uint32_t
read_unit(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 |
	       (uint32_t) bytes[2] << 16 | (uint32_t) bytes[3] << 24;
}

/* A unit's offset is relative, in steps of 1 or 256. */
static uint32_t
unit_offset(uint32_t unit)
{
	return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The offset of the replacement for the shortest entry that text begins with,
 * or -1.  A unit beyond the trie ends the search. */
static int64_t
find_entry(const Precompiled *map, const char *text, size_t length)
{
	uint32_t at = unit_offset(read_unit(map->units));

	for (size_t i = 0; i < length && text[i] != '\0'; i++)
	{
		uint8_t byte = (uint8_t) text[i];
		uint32_t unit;

		at ^= byte;
		if (at >= map->count)
			return -1;
		unit = read_unit(map->units + at * (size_t) 4);
		if ((unit & (1u << 31 | 0xff)) != byte)
			return -1;
		at ^= unit_offset(unit);
		if ((unit >> 8 & 1) == 0)
			continue;
		if (at >= map->count)
			return -1;
		return read_unit(map->units + at * (size_t) 4) & INT32_MAX;
	}
	return -1;
}

/* The replacement of a text, or NULL.  An offset beyond the replacements, or
 * within a character, is as good as none. */
static const char *
find_replacement(const Precompiled *map, const char *text, size_t length)
{
	int64_t offset = find_entry(map, text, length);

	return offset < 0 || (size_t) offset > map->size ||
	               ((uint8_t) map->texts[offset] & 0xc0) == 0x80
	           ? NULL
	           : map->texts + offset;
}

/* Where the characters seen as one end that begin at start. */
static size_t
cluster_end(const char *text, size_t length, size_t start)
{
	utf8proc_int32_t state = 0;
	size_t end = start;
	uint32_t code = unicode_next(text, &end);

	while (end < length)
	{
		size_t next = end;
		uint32_t following = unicode_next(text, &next);

		if (utf8proc_grapheme_break_stateful(
				(utf8proc_int32_t) code, (utf8proc_int32_t) following, &state))
			break;
		code = following;
		end = next;
	}
	return end;
}

/* Appends the replacement of [start, end), or false if there is none. */
static bool
replace(const Precompiled *map, TextBuffer *out, const char *text, size_t start,
        size_t end)
{
	const char *found = find_replacement(map, text + start, end - start);

	if (found != NULL)
		buffer_append(out, found, strlen(found));
	return found != NULL;
}

void
precompiled_run(const Precompiled *map, TextBuffer *out, const char *text,
                size_t length)
{
	size_t end;

	for (size_t start = 0; start < length; start = end)
	{
		end = start;
		while (end < length && (uint8_t) text[end] < 0x80 &&
		       map->is_plain[(uint8_t) text[end]])
			end++;
		if (end < length && end > start && (uint8_t) text[end] >= 0x80)
			end--; /* perhaps the letter of an accent */
		if (end > start)
		{
			buffer_append(out, text + start, end - start);
			continue;
		}
		end = cluster_end(text, length, start);
		if (end - start < SHORT_CLUSTER && replace(map, out, text, start, end))
			continue;
		for (size_t i = start, next; i < end; i = next)
		{
			next = i;
			unicode_next(text, &next);
			if (!replace(map, out, text, i, next))
				buffer_append(out, text + i, next - i);
		}
	}
}

bool
precompiled_open(Arena *arena, const json_t *charsmap, Precompiled **result,
                 Failure *failure)
{
	Precompiled *map = arena_alloc(arena, sizeof(Precompiled));
	uint8_t *bytes;
	size_t size = 0;
	uint32_t trie;

	if (!json_is_string(charsmap))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"precompiled_charsmap\" must be a string, not %s",
		            json_type_name(charsmap));
	if (!decode_base64(arena, json_string_value(charsmap),
	                   json_string_length(charsmap), &bytes, &size, failure))
		return false;
	trie = size < 4 ? 0 : read_unit(bytes);
	if (size < 4 || trie > size - 4 || trie < 4 || trie % 4 != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"precompiled_charsmap\" has %zu bytes and says that its "
		            "trie has %u",
		            size, trie);
	map->units = bytes + 4;
	map->count = trie / 4;
	map->texts = (const char *) bytes + 4 + trie;
	map->size = size - 4 - trie;

	/* The block's last byte is zero, so that every replacement ends. */
	if (!unicode_is_valid(map->texts, map->size))
		return fail(failure, FAILURE_BAD_FILE,
		            "the replacements of \"precompiled_charsmap\" are not "
		            "valid UTF-8");
	for (int code = 0; code < 128; code++)
	{
		char letter = (char) code;

		map->is_plain[code] =
			letter != '\r' && find_replacement(map, &letter, 1) == NULL;
	}
	*result = map;
	return true;
}
