/*
 * text.c
 *		Text between the database's encoding and the engine's UTF-8, and in
 *		messages.
 */
#include "alol.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* U+FFFD, what takes the place of bytes that are no character. */
static const char REPLACEMENT[] = "\xEF\xBF\xBD";

/* Bytes of a text that messages show. */
#define CLIPPED 500

/* What every encoding agrees on needs no conversion, so no transaction. */
static bool
is_ascii(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '\0' || ((unsigned char) text[i] & 0x80) != 0)
			return false;
	}
	return true;
}

char *
text_to_utf8(const char *text, size_t length, size_t *utf8_length)
{
	char *utf8;

	*utf8_length = length;
	if (is_ascii(text, length))
		return unconstify(char *, text);
	utf8 = pg_server_to_any(text, (int) length, PG_UTF8);
	/* Unconverted it is the very pointer, which need not end in zero. */
	if (utf8 != text)
		*utf8_length = strlen(utf8);
	return utf8;
}

/* Length of the character at the start of utf8, or 0 if it is none. */
static int
character_length(const unsigned char *utf8, size_t left)
{
	int length = pg_utf_mblen(utf8);

	if (*utf8 == '\0' || (size_t) length > left ||
	    !pg_utf8_islegal(utf8, length))
		return 0;
	return length;
}

/*
 * Bytes of a broken character that one U+FFFD stands for: the longest start
 * of a valid sequence, as Unicode recommends and Python and Rust do.
 */
static int
broken_length(const unsigned char *utf8, size_t left)
{
	int whole = pg_utf_mblen(utf8);
	int length = 1;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;

	if (*utf8 < 0xC2 || *utf8 > 0xF4)
		return 1;
	if (*utf8 == 0xE0)
		low = 0xA0;
	else if (*utf8 == 0xED)
		high = 0x9F;
	else if (*utf8 == 0xF0)
		low = 0x90;
	else if (*utf8 == 0xF4)
		high = 0x8F;
	while (length < whole && (size_t) length < left && utf8[length] >= low &&
	       utf8[length] <= high)
	{
		length++;
		low = 0x80;
		high = 0xBF;
	}
	return length;
}

/* Whole UTF-8 with no zero bytes, palloc'd. */
static void
append_clean(StringInfo clean, const char *utf8, size_t length)
{
	const unsigned char *at = (const unsigned char *) utf8;
	size_t left = length;

	while (left > 0)
	{
		int size = character_length(at, left);

		if (size > 0)
			appendBinaryStringInfo(clean, (const char *) at, size);
		else
		{
			appendStringInfoString(clean, REPLACEMENT);
			size = broken_length(at, left);
		}
		at += size;
		left -= (size_t) size;
	}
}

text *
text_from_utf8(const char *utf8, size_t length)
{
	StringInfoData clean;
	char *converted;
	text *result;

	if (is_ascii(utf8, length))
		return cstring_to_text_with_len(utf8, (int) length);
	initStringInfo(&clean);
	append_clean(&clean, utf8, length);
	converted = pg_any_to_server(clean.data, clean.len, PG_UTF8);
	result = cstring_to_text(converted);
	pfree(clean.data);
	return result;
}

char *
text_clip(char *text)
{
	int length = (int) strlen(text);

	if (length <= CLIPPED)
		return text;
	strcpy(text + pg_mbcliplen(text, length, CLIPPED - 3), "...");
	return text;
}
