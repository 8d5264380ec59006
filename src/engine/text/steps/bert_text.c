/*
 * bert_text.c
 *		BERT's normalization: ASCII by a table, the rest step by step.
 */
#include "text/steps/bert_text.h"

#include "text/steps/forms.h"
#include "text/unicode.h"

#include <ctype.h>

#define DROPPED 0xff /* in the table of ASCII */

struct BertText
{
	bool cleans;        /* no controls, one kind of space */
	bool parts_chinese; /* a space before and after each character */
	bool strips_accents;
	bool lowers;
	uint8_t ascii[128]; /* what becomes of each character, or DROPPED */
};

static bool
is_line_space(uint32_t code)
{
	return code == '\t' || code == '\n' || code == '\r';
}

static bool
is_cleaned_away(uint32_t code)
{
	return code == 0 || code == UNICODE_REPLACEMENT ||
	       (unicode_is_control(code) && !is_line_space(code));
}

/* Blocks of Chinese characters; where one of them begins late (U+2B920 for
 * U+2B820), it is so in the library. */
static bool
is_chinese(uint32_t code)
{
	return (code >= 0x4e00 && code <= 0x9fff) ||
	       (code >= 0x3400 && code <= 0x4dbf) ||
	       (code >= 0x20000 && code <= 0x2a6df) ||
	       (code >= 0x2a700 && code <= 0x2b73f) ||
	       (code >= 0x2b740 && code <= 0x2b81f) ||
	       (code >= 0x2b920 && code <= 0x2ceaf) ||
	       (code >= 0xf900 && code <= 0xfaff) ||
	       (code >= 0x2f800 && code <= 0x2fa1f);
}

/* First pass over what is not ASCII. */
static void
clean(const BertText *bert, TextBuffer *out, const char *text, size_t length)
{
	for (size_t i = 0; i < length;)
	{
		size_t start = i;
		uint32_t code = unicode_next(text, &i);
		bool parts = bert->parts_chinese && is_chinese(code);

		if (bert->cleans && is_cleaned_away(code))
			continue;
		if (parts || (bert->cleans && unicode_is_space(code)))
			buffer_append(out, " ", 1);
		if (!(bert->cleans && unicode_is_space(code)))
			buffer_append(out, text + start, i - start);
		if (parts)
			buffer_append(out, " ", 1);
	}
}

/* Last pass. */
static void
strip_and_lower(const BertText *bert, TextBuffer *out, const TextBuffer *in)
{
	for (size_t i = 0; i < in->length;)
	{
		size_t start = i;
		uint32_t code = unicode_next(in->data, &i);

		if (bert->strips_accents && unicode_is_accent(code))
			continue;
		if (bert->lowers)
			unicode_append_lower(out, code);
		else
			buffer_append(out, in->data + start, i - start);
	}
}

/* Appends ASCII up to the first other character; returns its length. */
static size_t
append_ascii(const BertText *bert, TextBuffer *out, const char *text,
             size_t length)
{
	size_t i = 0;

	if (!buffer_reserve(out, length))
		return length;
	for (; i < length && (uint8_t) text[i] < 0x80; i++)
	{
		uint8_t letter = bert->ascii[(uint8_t) text[i]];

		out->data[out->length] = (char) letter;
		out->length += letter != DROPPED;
	}
	return i;
}

bool
bert_text_append(const BertText *bert, TextBuffer *out, const char *text,
                 size_t length, Failure *failure)
{
	TextBuffer cleaned;
	TextBuffer decomposed;
	size_t end;

	buffer_start(&cleaned, out->arena, failure);
	buffer_start(&decomposed, out->arena, failure);
	for (size_t start = 0; start < length; start = end)
	{
		start += append_ascii(bert, out, text + start, length - start);
		end = start;
		while (end < length && (uint8_t) text[end] >= 0x80)
			end++;
		cleaned.length = 0;
		decomposed.length = 0;
		clean(bert, &cleaned, text + start, end - start);
		if (bert->strips_accents &&
		    !form_append(&decomposed, FORM_NFD, cleaned.data, cleaned.length,
		                 failure))
			return false;
		strip_and_lower(bert, out,
		                bert->strips_accents ? &decomposed : &cleaned);
	}
	return !cleaned.failed && !decomposed.failed && !out->failed;
}

static void
fill_ascii(BertText *bert)
{
	for (int code = 0; code < 128; code++)
	{
		uint8_t letter = (uint8_t) code;

		if (bert->cleans && is_line_space(letter))
			letter = ' ';
		if (bert->lowers)
			letter = (uint8_t) tolower(letter);
		bert->ascii[code] =
			bert->cleans && is_cleaned_away((uint32_t) code) ? DROPPED : letter;
	}
}

bool
bert_text_open(Arena *arena, const json_t *json, BertText **result,
               Failure *failure)
{
	BertText *bert = arena_alloc(arena, sizeof(BertText));

	*result = bert;
	if (!json_get_bool(json, "clean_text", true, &bert->cleans, failure) ||
	    !json_get_bool(json, "handle_chinese_chars", true, &bert->parts_chinese,
	                   failure) ||
	    !json_get_bool(json, "lowercase", true, &bert->lowers, failure) ||
	    !json_get_bool(json, "strip_accents", bert->lowers,
	                   &bert->strips_accents, failure))
		return false;
	fill_ascii(bert);
	return true;
}
