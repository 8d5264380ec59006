/*
 * pattern.h
 *		Patterns of normalizers, pre-tokenizers and decoders: a plain string or
 *		a regular expression.
 *
 * Expressions are written for Oniguruma and run on PCRE2 (JIT): dialect.h.
 */
#pragma once

#include "formats/json.h"

typedef struct Pattern Pattern;

typedef struct Range
{
	size_t start;
	size_t end;
} Range;

typedef struct RangeList
{
	Range *ranges;
	size_t count;
	size_t capacity;
} RangeList;

/* From {"String": ...} or {"Regex": ...} (or a bare string, as in old files).
 * Lives in arena. */
extern bool pattern_open(Arena *arena, const json_t *json, Pattern **pattern,
                         Failure *failure);

/* From an expression of our own. */
extern bool pattern_open_regex(Arena *arena, const char *expression,
                               Pattern **pattern, Failure *failure);

/* All matches in valid UTF-8, from left to right, without overlaps; some may
 * have no characters.  Replaces what is in the list. */
extern bool pattern_find_all(const Pattern *pattern, Arena *arena,
                             const char *text, size_t length, RangeList *list,
                             Failure *failure);
