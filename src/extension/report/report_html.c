/*
 * report_html.c
 *		Strangers' texts in a page: escaped, and readable in any encoding.
 */
#include "alol.h"

#include "mb/pg_wchar.h"

#include "report/report_html.h"

void
html_character(StringInfo out, unsigned int code)
{
	appendStringInfo(out, "&#%u;", code);
}

/* One character of length bytes, in UTF-8. */
static void
put_character(StringInfo out, const unsigned char *at, int length)
{
	if (length == 1 &&
	    ((*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7F))
		html_character(out, 0xFFFD);
	else if (length > 1 && GetDatabaseEncoding() != PG_UTF8)
		html_character(out, utf8_to_unicode(at));
	/* U+0080 to U+009F are control characters, too. */
	else if (length == 2 && at[0] == 0xC2 && at[1] < 0xA0)
		html_character(out, 0xFFFD);
	else if (*at == '&')
		appendStringInfoString(out, "&amp;");
	else if (*at == '<')
		appendStringInfoString(out, "&lt;");
	else if (*at == '>')
		appendStringInfoString(out, "&gt;");
	else if (*at == '"')
		appendStringInfoString(out, "&quot;");
	else if (*at == '\'')
		appendStringInfoString(out, "&#39;");
	else
		appendBinaryStringInfo(out, (const char *) at, length);
}

static void
put_utf8(StringInfo out, const char *utf8, size_t size)
{
	const unsigned char *at = (const unsigned char *) utf8;
	const unsigned char *end = at + size;

	while (at < end)
	{
		int length = Min(pg_utf_mblen(at), (int) (end - at));

		put_character(out, at, length);
		at += length;
	}
}

void
html_text(StringInfo out, const char *text)
{
	size_t size;
	char *utf8 = text_to_utf8(text, strlen(text), &size);

	put_utf8(out, utf8, size);
}

/* Bytes of the first so many characters of UTF-8 text. */
static size_t
bytes_of(const char *utf8, size_t size, int64 characters)
{
	size_t at = 0;

	while (at < size && characters-- > 0)
		at += pg_utf_mblen((const unsigned char *) utf8 + at);
	return Min(at, size);
}

void
html_clipped(StringInfo out, const char *text, int characters)
{
	size_t size;
	char *utf8 = text_to_utf8(text, strlen(text), &size);
	int64 count = 0;
	int64 left_out;
	size_t begin;
	size_t end;

	for (size_t i = 0; i < size; i++)
		count += ((unsigned char) utf8[i] & 0xC0) != 0x80;
	if (count <= characters + characters / 4)
	{
		put_utf8(out, utf8, size);
		return;
	}
	left_out = count - characters;
	begin = bytes_of(utf8, size, characters / 2);
	end = bytes_of(utf8, size, characters / 2 + left_out);
	put_utf8(out, utf8, begin);
	appendStringInfo(out,
	                 " <span class=\"cut\">[" INT64_FORMAT
	                 " characters left out]</span> ",
	                 left_out);
	put_utf8(out, utf8 + end, size - end);
}
