/*
 * pattern.c
 *		Plain strings and regular expressions to search texts with.
 */
#include "text/pattern.h"

#include "text/buffer.h"

#include <pcre2.h>
#include <string.h>

#define LARGEST_PATTERN ((size_t) 65536)

/* White_Space; PCRE2's own \s has U+180E too. */
#define SPACES                                                                 \
	"\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"           \
	"\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* Alphabetic, marks, decimal numbers, connectors and joiners. */
#define WORDS                                                                  \
	"\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}"   \
	"\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

struct Pattern
{
	char *literal; /* a plain string, or NULL */
	size_t literal_length;
	pcre2_code *code;
};

static void
release(void *code)
{
	pcre2_code_free(code);
}

/* An escape of two characters; in_class: between brackets. */
static void
translate_escape(TextBuffer *out, char letter, bool in_class)
{
	char escape[2] = {'\\', letter};
	const char *members = letter == 's' || letter == 'S'   ? SPACES
	                      : letter == 'w' || letter == 'W' ? WORDS
	                                                       : NULL;
	bool negated = letter == 'S' || letter == 'W';

	/* A negated class within brackets cannot be spelled out. */
	if (members == NULL || (in_class && negated))
	{
		buffer_append(out, escape, 2);
		return;
	}
	if (!in_class)
		buffer_append(out, negated ? "[^" : "[", negated ? 2 : 1);
	buffer_append(out, members, strlen(members));
	if (!in_class)
		buffer_append(out, "]", 1);
}

/* Rewrites what the two libraries read differently. */
static bool
translate(TextBuffer *out, const char *pattern, Failure *failure)
{
	bool in_class = false;

	for (size_t i = 0; pattern[i] != '\0'; i++)
	{
		char letter = pattern[i];

		if (letter == '\\' && pattern[i + 1] != '\0')
		{
			translate_escape(out, pattern[++i], in_class);
			continue;
		}
		if (in_class && ((letter == '[' && pattern[i + 1] != ':') ||
		                 (letter == '&' && pattern[i + 1] == '&')))
			return fail(failure, FAILURE_UNSUPPORTED,
			            "pattern \"%s\" has a class within a class", pattern);
		if (in_class && letter == '[') /* [:alpha:] up to its own bracket */
		{
			const char *end = strstr(pattern + i, ":]");

			if (end != NULL)
			{
				buffer_append(out, pattern + i,
				              (size_t) (end + 2 - pattern) - i);
				i = (size_t) (end + 1 - pattern);
				continue;
			}
		}
		buffer_append(out, &letter, 1);
		if (!in_class && letter == '[')
		{
			/* A bracket right after the opening is an ordinary character. */
			if (pattern[i + 1] == '^')
				buffer_append(out, &pattern[++i], 1);
			if (pattern[i + 1] == ']')
				buffer_append(out, &pattern[++i], 1);
			in_class = true;
		}
		else if (in_class && letter == ']')
			in_class = false;
	}
	return !out->failed;
}

bool
pattern_open_regex(Arena *arena, const char *expression, Pattern **result,
                   Failure *failure)
{
	Pattern *pattern = arena_alloc(arena, sizeof(Pattern));
	TextBuffer translated;
	PCRE2_UCHAR message[256];
	PCRE2_SIZE where;
	int error;

	if (strlen(expression) > LARGEST_PATTERN)
		return fail(failure, FAILURE_BAD_FILE,
		            "a pattern has %zu bytes, more than the %zu allowed",
		            strlen(expression), LARGEST_PATTERN);
	buffer_start(&translated, arena, failure);
	if (!translate(&translated, expression, failure))
		return false;
	pattern->code = pcre2_compile(
		(PCRE2_SPTR) (translated.length == 0 ? "" : translated.data),
		translated.length, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
		&error, &where, NULL);
	if (pattern->code == NULL)
	{
		pcre2_get_error_message(error, message, sizeof(message));
		return fail(failure, FAILURE_BAD_FILE,
		            "pattern \"%s\" is not a regular expression: %s",
		            expression, (const char *) message);
	}
	arena_on_destroy(arena, release, pattern->code);
	pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
	*result = pattern;
	return true;
}

bool
pattern_open(Arena *arena, const json_t *json, Pattern **result,
             Failure *failure)
{
	const json_t *string =
		json_is_string(json) ? json : json_object_get(json, "String");
	const json_t *regex = json_object_get(json, "Regex");
	Pattern *pattern;

	if (json_is_string(regex))
	{
		if (strlen(json_string_value(regex)) != json_string_length(regex))
			return fail(failure, FAILURE_BAD_FILE,
			            "a pattern must not contain a zero character");
		return pattern_open_regex(arena, json_string_value(regex), result,
		                          failure);
	}
	if (!json_is_string(string))
		return fail(failure, FAILURE_BAD_FILE,
		            "a pattern must be a String or a Regex");
	pattern = arena_alloc(arena, sizeof(Pattern));
	pattern->literal_length = json_string_length(string);
	pattern->literal = arena_strndup(arena, json_string_value(string),
	                                 pattern->literal_length);
	*result = pattern;
	return true;
}

static bool
add_range(RangeList *list, Arena *arena, size_t start, size_t end,
          Failure *failure)
{
	if (!list_reserve(arena, (void **) &list->ranges, list->count,
	                  &list->capacity, sizeof(Range), failure))
		return false;
	list->ranges[list->count++] = (Range){start, end};
	return true;
}

static bool
find_literal(const Pattern *pattern, Arena *arena, const char *text,
             size_t length, RangeList *list, Failure *failure)
{
	size_t at = 0;

	while (pattern->literal_length > 0 && at < length)
	{
		const char *found = memmem(text + at, length - at, pattern->literal,
		                           pattern->literal_length);
		size_t start;

		if (found == NULL)
			break;
		start = (size_t) (found - text);
		at = start + pattern->literal_length;
		if (!add_range(list, arena, start, at, failure))
			return false;
	}
	return true;
}

/* Matches from offset on; the result of pcre2_match(). */
static int
match_at(const Pattern *pattern, pcre2_match_data *data, const char *text,
         size_t length, size_t offset)
{
	int found = pcre2_match(pattern->code, (PCRE2_SPTR) text, length, offset,
	                        PCRE2_NO_UTF_CHECK, data, NULL);

	/* The compiled code has a small stack; the interpreter uses the heap. */
	if (found == PCRE2_ERROR_JIT_STACKLIMIT)
		found = pcre2_match(pattern->code, (PCRE2_SPTR) text, length, offset,
		                    PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, NULL);
	return found;
}

static bool
find_regex(const Pattern *pattern, Arena *arena, const char *text,
           size_t length, RangeList *list, Failure *failure)
{
	pcre2_match_data *data =
		pcre2_match_data_create_from_pattern(pattern->code, NULL);
	const PCRE2_SIZE *where;
	size_t at = 0;
	bool done = true;

	if (data == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "cannot match a pattern");
	where = pcre2_get_ovector_pointer(data);
	while (done && at < length)
	{
		int found = match_at(pattern, data, text, length, at);

		if (found == PCRE2_ERROR_NOMATCH)
			break;
		if (found < 0)
			done = fail(failure, FAILURE_UNSUPPORTED,
			            "matching the tokenizer's pattern at byte %zu of %zu "
			            "failed (error %d)",
			            at, length, found);
		else if (where[1] > where[0] && where[0] >= at)
		{
			done = add_range(list, arena, where[0], where[1], failure);
			at = where[1];
		}
		else /* nothing matched there: go on behind the next character */
		{
			at = where[0] > at ? where[0] : at;
			do
				at++;
			while (at < length && ((uint8_t) text[at] & 0xc0) == 0x80);
		}
	}
	pcre2_match_data_free(data);
	return done;
}

bool
pattern_find_all(const Pattern *pattern, Arena *arena, const char *text,
                 size_t length, RangeList *list, Failure *failure)
{
	list->count = 0;
	return pattern->literal != NULL
	           ? find_literal(pattern, arena, text, length, list, failure)
	           : find_regex(pattern, arena, text, length, list, failure);
}
