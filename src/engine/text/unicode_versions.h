/*
 * unicode_versions.h
 *		Where the parts of `tokenizers` and utf8proc (Unicode 15) know different
 *		versions of Unicode.
 *
 * The library asks four sources for the class of a character, the oldest of
 * them of the year 2015; a token may hang on it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Sets of characters, by what the library makes of them. */
typedef enum UnicodeException
{
	LATE_CONTROLS,    /* Cf since, which cleaning a text for BERT leaves */
	LATE_ACCENTS,     /* Mn since, which BERT's strip_accents leaves */
	LATE_MARKS,       /* M since, which StripAccents leaves */
	LATE_PUNCTUATION, /* P since, which is no punctuation to it */
	NEW_WORDS,        /* \w, and unknown to utf8proc */
	NEW_NUMBERS,      /* N, and unknown to utf8proc */
	UNDECOMPOSED,     /* decomposed by utf8proc alone */
	UNICODE_EXCEPTIONS
} UnicodeException;

extern bool unicode_is_exception(UnicodeException set, uint32_t code);

/* The lower case of a character that utf8proc knows none of, or the same. */
extern uint32_t unicode_new_lower(uint32_t code);

/*
 * An older character of the same kind (letter, mark, number ...) and with as
 * many bytes, for one that Oniguruma (Unicode 16) knows and PCRE2 (14) does
 * not; others are their own.
 */
extern uint32_t unicode_stand_in(uint32_t code);
