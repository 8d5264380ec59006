/*
 * unicode.c
 *		UTF-8 and classes of characters.
 */
#include "text/unicode.h"

#include "text/unicode_versions.h"

#include <utf8proc.h>

uint32_t
unicode_next(const char *text, size_t *at)
{
	const uint8_t *bytes = (const uint8_t *) text + *at;

	if (bytes[0] < 0x80)
	{
		*at += 1;
		return bytes[0];
	}
	if (bytes[0] < 0xe0)
	{
		*at += 2;
		return (uint32_t) (bytes[0] & 0x1f) << 6 | (bytes[1] & 0x3f);
	}
	if (bytes[0] < 0xf0)
	{
		*at += 3;
		return (uint32_t) (bytes[0] & 0x0f) << 12 |
		       (uint32_t) (bytes[1] & 0x3f) << 6 | (bytes[2] & 0x3f);
	}
	*at += 4;
	return (uint32_t) (bytes[0] & 0x07) << 18 |
	       (uint32_t) (bytes[1] & 0x3f) << 12 |
	       (uint32_t) (bytes[2] & 0x3f) << 6 | (bytes[3] & 0x3f);
}

size_t
unicode_put(char bytes[4], uint32_t code)
{
	if (code < 0x80)
	{
		bytes[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		bytes[0] = (char) (0xc0 | code >> 6);
		bytes[1] = (char) (0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000)
	{
		bytes[0] = (char) (0xe0 | code >> 12);
		bytes[1] = (char) (0x80 | (code >> 6 & 0x3f));
		bytes[2] = (char) (0x80 | (code & 0x3f));
		return 3;
	}
	bytes[0] = (char) (0xf0 | code >> 18);
	bytes[1] = (char) (0x80 | (code >> 12 & 0x3f));
	bytes[2] = (char) (0x80 | (code >> 6 & 0x3f));
	bytes[3] = (char) (0x80 | (code & 0x3f));
	return 4;
}

size_t
unicode_previous(const char *text, size_t end)
{
	do
		end--;
	while (end > 0 && ((uint8_t) text[end] & 0xc0) == 0x80);
	return end;
}

/*
 * Length of the character at the start of bytes, or minus the length of the
 * broken sequence there (the longest start of a character, at least 1).
 */
static int
sequence_length(const uint8_t *bytes, size_t left)
{
	uint8_t lead = bytes[0];
	uint8_t low = 0x80;
	uint8_t high = 0xbf;
	int wanted;

	if (lead < 0x80)
		return 1;
	if (lead < 0xc2 || lead > 0xf4)
		return -1;
	wanted = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

	/* Overlong forms, surrogates and code points beyond U+10FFFF. */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	for (int i = 1; i < wanted; i++)
	{
		if ((size_t) i >= left || bytes[i] < low || bytes[i] > high)
			return -i;
		low = 0x80;
		high = 0xbf;
	}
	return wanted;
}

bool
unicode_is_valid(const char *text, size_t length)
{
	const uint8_t *bytes = (const uint8_t *) text;

	for (size_t i = 0; i < length;)
	{
		int size = bytes[i] < 0x80 ? 1 : sequence_length(bytes + i, length - i);

		if (size < 0)
			return false;
		i += (size_t) size;
	}
	return true;
}

void
unicode_repair(TextBuffer *out, const char *text, size_t length)
{
	const uint8_t *bytes = (const uint8_t *) text;
	size_t start = 0; /* of what is good and not yet appended */

	for (size_t i = 0; i < length;)
	{
		int size = bytes[i] < 0x80 ? 1 : sequence_length(bytes + i, length - i);

		if (size > 0)
		{
			i += (size_t) size;
			continue;
		}
		buffer_append(out, text + start, i - start);
		buffer_append_code(out, UNICODE_REPLACEMENT);
		i += (size_t) -size;
		start = i;
	}
	if (start < length)
		buffer_append(out, text + start, length - start);
}

bool
unicode_is_space(uint32_t code)
{
	if (code < 0x80)
		return code == ' ' || (code >= 9 && code <= 13);
	return code == 0x85 || code == 0xa0 || code == 0x1680 ||
	       (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
	       code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static utf8proc_category_t
category(uint32_t code)
{
	return utf8proc_category((utf8proc_int32_t) code);
}

/* Circled and squared letters: symbols by category, but alphabetic. */
static bool
is_enclosed_letter(uint32_t code)
{
	return (code >= 0x24b6 && code <= 0x24e9) ||
	       (code >= 0x1f130 && code <= 0x1f149) ||
	       (code >= 0x1f150 && code <= 0x1f169) ||
	       (code >= 0x1f170 && code <= 0x1f189);
}

bool
unicode_is_word(uint32_t code)
{
	switch (category(code))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
		case UTF8PROC_CATEGORY_LM:
		case UTF8PROC_CATEGORY_LO:
		case UTF8PROC_CATEGORY_MN:
		case UTF8PROC_CATEGORY_MC:
		case UTF8PROC_CATEGORY_ME:
		case UTF8PROC_CATEGORY_ND:
		case UTF8PROC_CATEGORY_NL:
		case UTF8PROC_CATEGORY_PC:
			return true;
		case UTF8PROC_CATEGORY_CN:
			return unicode_is_exception(NEW_WORDS, code);
		default:
			return code == 0x200c || code == 0x200d || is_enclosed_letter(code);
	}
}

bool
unicode_is_numeric(uint32_t code)
{
	utf8proc_category_t found = category(code);

	return found == UTF8PROC_CATEGORY_ND || found == UTF8PROC_CATEGORY_NL ||
	       found == UTF8PROC_CATEGORY_NO ||
	       (found == UTF8PROC_CATEGORY_CN &&
	        unicode_is_exception(NEW_NUMBERS, code));
}

bool
unicode_is_punctuation(uint32_t code)
{
	if (code < 0x80)
		return (code > 0x20 && code < '0') || (code > '9' && code < 'A') ||
		       (code > 'Z' && code < 'a') || (code > 'z' && code < 0x7f);
	switch (category(code))
	{
		case UTF8PROC_CATEGORY_PC:
		case UTF8PROC_CATEGORY_PD:
		case UTF8PROC_CATEGORY_PS:
		case UTF8PROC_CATEGORY_PE:
		case UTF8PROC_CATEGORY_PI:
		case UTF8PROC_CATEGORY_PF:
		case UTF8PROC_CATEGORY_PO:
			return !unicode_is_exception(LATE_PUNCTUATION, code);
		default: /* these two were punctuation once */
			return code == 0x166d || code == 0x111c9;
	}
}

bool
unicode_is_accent(uint32_t code)
{
	if (code < 0x300)
		return false;
	if (category(code) == UTF8PROC_CATEGORY_MN)
		return !unicode_is_exception(LATE_ACCENTS, code);
	return code == 0x1734; /* once */
}

bool
unicode_is_mark(uint32_t code)
{
	if (code < 0x300)
		return false;
	switch (category(code))
	{
		case UTF8PROC_CATEGORY_MN:
		case UTF8PROC_CATEGORY_MC:
		case UTF8PROC_CATEGORY_ME:
			return !unicode_is_exception(LATE_MARKS, code);
		default: /* these two were marks once */
			return code == 0x1cf2 || code == 0x1cf3;
	}
}

bool
unicode_is_control(uint32_t code)
{
	switch (category(code))
	{
		case UTF8PROC_CATEGORY_CC:
		case UTF8PROC_CATEGORY_CO:
			return true;
		case UTF8PROC_CATEGORY_CF:
			return !unicode_is_exception(LATE_CONTROLS, code);
		default:
			return false;
	}
}

void
unicode_append_lower(TextBuffer *out, uint32_t code)
{
	uint32_t lower;

	/* The one letter whose lower case is two characters. */
	if (code == 0x130)
	{
		buffer_append(out, "i\xcc\x87", 3);
		return;
	}
	lower = (uint32_t) utf8proc_tolower((utf8proc_int32_t) code);
	buffer_append_code(out, lower == code ? unicode_new_lower(code) : lower);
}
