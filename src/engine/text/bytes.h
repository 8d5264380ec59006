/*
 * bytes.h
 *		How byte-level tokenizers spell bytes as printable characters.
 *
 * As in GPT-2: printable bytes of Latin-1 stand for themselves, the other 68,
 * in order, are U+0100 and on.  A space is spelled U+0120.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes the UTF-8 spelling of length bytes, at most twice as long; returns
 * its length. */
extern size_t bytes_spell(char *out, const char *text, size_t length);

/*
 * The bytes that a token spells, at most length of them; returns how many.  A
 * token with a character outside the alphabet stands for its own bytes.
 */
extern size_t bytes_read(char *out, const char *token, size_t length);
