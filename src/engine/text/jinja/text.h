/*
 * text.h
 *		Python's methods of strings, as filters and methods use them.
 */
#pragma once

#include "text/jinja/value.h"

/* str.isspace() of one character. */
extern bool text_is_space(uint32_t code);
/* The same of str.isalpha() and str.isalnum(). */
extern bool text_is_letter(uint32_t code);
extern bool text_is_alphanumeric(uint32_t code);

typedef enum TextSide
{
	TEXT_LEFT = 1,
	TEXT_RIGHT = 2,
	TEXT_BOTH = 3
} TextSide;

/* characters: a string of those that go, or anything else for white space. */
extern Value text_strip(Run *run, Value text, Value characters, TextSide side);

typedef enum TextCase
{
	TEXT_UPPER,
	TEXT_LOWER,
	TEXT_TITLE,
	TEXT_CAPITALIZE
} TextCase;

extern Value text_to_case(Run *run, Value text, TextCase to);

/* separator: a string, or anything else for runs of white space; at most
 * `most` times (-1: always), from the right if so. */
extern Value text_split(Run *run, Value text, Value separator, int64_t most,
                        bool from_right);
extern Value text_split_lines(Run *run, Value text, bool keeps_ends);

/* The first `most` (-1: all) places. */
extern Value text_replace(Run *run, Value text, const String *before,
                          const String *after, int64_t most);
extern Value text_join(Run *run, const String *separator, const List *items);
extern Value text_concatenate(Run *run, const String *a, const String *b);
extern Value text_repeat(Run *run, const String *text, int64_t times);

/* '%s %d' % values */
extern Value text_percent(Run *run, const String *format, Value values);
