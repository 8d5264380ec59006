/*
 * unicode.h
 *		UTF-8 and the classes of characters that tokenizers ask for.
 */
#pragma once

#include "text/buffer.h"

#define UNICODE_REPLACEMENT 0xfffdu

/* The code point at *at of valid UTF-8, and *at moved behind it. */
extern uint32_t unicode_next(const char *text, size_t *at);

/* Writes code as UTF-8; returns its 1 to 4 bytes. */
extern size_t unicode_put(char bytes[4], uint32_t code);

/* Where the character that ends before end begins; valid UTF-8, end > 0. */
extern size_t unicode_previous(const char *text, size_t end);

extern bool unicode_is_valid(const char *text, size_t length);

/*
 * Appends text with every maximal broken sequence replaced by one U+FFFD, the
 * practice that Unicode recommends (and Rust's from_utf8_lossy follows).
 */
extern void unicode_repair(TextBuffer *out, const char *text, size_t length);

/* The property White_Space. */
extern bool unicode_is_space(uint32_t code);

/* \w: letters, marks, decimal and letter numbers, connectors, joiners. */
extern bool unicode_is_word(uint32_t code);

/* Any of the number categories. */
extern bool unicode_is_numeric(uint32_t code);

/* ASCII punctuation, or one of the punctuation categories. */
extern bool unicode_is_punctuation(uint32_t code);

/* Nonspacing marks (Mn), as BERT knows them. */
extern bool unicode_is_accent(uint32_t code);

/* Marks of any kind (M). */
extern bool unicode_is_mark(uint32_t code);

/* Controls, formats and private characters (Cc, Cf, Co), white space too. */
extern bool unicode_is_control(uint32_t code);

/* Appends the lower case of a character. */
extern void unicode_append_lower(TextBuffer *out, uint32_t code);
