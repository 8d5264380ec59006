/*
 * bytes.c
 *		GPT-2's alphabet of bytes.
 */
#include "text/bytes.h"

#include "text/unicode.h"

#include <string.h>

#define CHARACTERS 324 /* 256 + the 68 bytes that are not printable */

static uint16_t characters[256];     /* of each byte */
static int16_t bytes_of[CHARACTERS]; /* byte of each character, or -1 */
static uint8_t spelling[256][2];
static uint8_t spelling_length[256];

static bool
is_printable(int byte)
{
	return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) ||
	       byte >= 0xae;
}

/* Fills the tables before main(): they are constants with a short recipe. */
__attribute__((constructor)) static void
fill_tables(void)
{
	uint16_t next = 256;

	memset(bytes_of, -1, sizeof(bytes_of));
	for (int byte = 0; byte < 256; byte++)
	{
		char utf8[4];

		characters[byte] = is_printable(byte) ? (uint16_t) byte : next++;
		bytes_of[characters[byte]] = (int16_t) byte;
		spelling_length[byte] = (uint8_t) unicode_put(utf8, characters[byte]);
		memcpy(spelling[byte], utf8, 2);
	}
}

size_t
bytes_spell(char *out, const char *text, size_t length)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++)
	{
		uint8_t byte = (uint8_t) text[i];

		out[used] = (char) spelling[byte][0];
		if (spelling_length[byte] == 2)
			out[used + 1] = (char) spelling[byte][1];
		used += spelling_length[byte];
	}
	return used;
}

size_t
bytes_read(char *out, const char *token, size_t length)
{
	size_t used = 0;

	for (size_t i = 0; i < length;)
	{
		uint32_t code = unicode_next(token, &i);

		if (code >= CHARACTERS || bytes_of[code] < 0)
		{
			memcpy(out, token, length);
			return length;
		}
		out[used++] = (char) bytes_of[code];
	}
	return used;
}
