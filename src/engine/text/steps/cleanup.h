/*
 * cleanup.h
 *		English as it is written, from tokens with spaces between them.
 */
#pragma once

#include "text/steps/decoder.h"

/* Appends text with every what in it replaced, from left to right. */
extern void append_replaced(TextBuffer *out, TokenText text, const char *what,
                            const char *by);

/* The text without spaces before punctuation and parts of words; in arena, or
 * the same. */
extern TokenText clean_up(Arena *arena, TokenText text, Failure *failure);
