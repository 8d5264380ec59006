/*
 * dialect.h
 *		Regular expressions written for Oniguruma, in the words of PCRE2.
 *
 * Tokenizers are written for the first (Unicode 16), the second runs them
 * (Unicode 14, with a compiler).  What the two read differently is rewritten;
 * what cannot be is refused.
 */
#pragma once

#include "text/buffer.h"

/* Appends the expression. */
extern bool dialect_translate(TextBuffer *out, const char *pattern,
                              Failure *failure);

/*
 * A text as PCRE2 is to see it: characters younger than its Unicode, if there
 * are any, stand for an older one of their kind with as many bytes.  text
 * itself or a copy in arena; NULL on failure.
 */
extern const char *dialect_text(Arena *arena, const char *text, size_t length,
                                Failure *failure);
