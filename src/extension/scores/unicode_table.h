/*
 * unicode_table.h
 *		What the text scores know of Unicode: lower case, word characters.
 *
 * Tables of our own, as IMMUTABLE functions must give the same in every
 * locale.  Ranges are in rising order.
 */
#pragma once

/* Every step-th character from first to last becomes itself + delta. */
typedef struct UnicodeLower
{
	uint32 first;
	uint32 last;
	int step;
	int32 delta;
} UnicodeLower;

typedef struct UnicodeRange
{
	uint32 first;
	uint32 last;
} UnicodeRange;

extern const UnicodeLower unicode_lower[];
extern const int unicode_lower_count;

/* Letters, digits and other numbers, and the underscore. */
extern const UnicodeRange unicode_word[];
extern const int unicode_word_count;
