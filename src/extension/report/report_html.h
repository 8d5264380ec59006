/*
 * report_html.h
 *		Strangers' texts in a page: escaped, and readable in any encoding.
 */
#pragma once

#include "lib/stringinfo.h"

/*
 * Appends text in the database's encoding so that it is text and nothing
 * else, between tags and in quoted attributes alike.  Control characters
 * become U+FFFD.  Where the database is not in UTF8 all beyond ASCII becomes
 * character references, so that the page, which says it is in UTF-8, is.
 */
extern void html_text(StringInfo out, const char *text);

/* The same, cut in the middle to about so many characters, and saying so. */
extern void html_clipped(StringInfo out, const char *text, int characters);

/* A character of ours beyond ASCII, by its code point. */
extern void html_character(StringInfo out, unsigned int code);
