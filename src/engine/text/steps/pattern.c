/*
 * pattern.c
 *		Plain strings and regular expressions to search texts with.
 */
#include "text/steps/pattern.h"

#include "text/steps/dialect.h"

#include <pcre2.h>
#include <string.h>
#include <time.h>

#define LARGEST_PATTERN ((size_t) 65536)

/* Matching one text takes no longer, whatever the pattern. */
#define MOST_SECONDS 30
#define MATCHES_A_LOOK 64 /* between looks at the clock */

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
	if (!dialect_translate(&translated, expression, failure))
		return false;
	pattern->code = pcre2_compile(
		(PCRE2_SPTR) (translated.length == 0 ? "" : translated.data),
		translated.length,
		PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
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
	if (json_string_length(string) == 0) /* is everywhere */
		return pattern_open_regex(arena, "", result, failure);
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

	while (at < length)
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

/* The next character's start, or length + 1 from the end on. */
static size_t
next_character(const char *text, size_t length, size_t at)
{
	do
		at++;
	while (at < length && ((uint8_t) text[at] & 0xc0) == 0x80);
	return at;
}

/*
 * Matches one after the other.  One of no characters counts, but not right
 * behind another match: then the search goes on behind the next character.
 */
static bool
find_matches(const Pattern *pattern, pcre2_match_data *data, Arena *arena,
             const char *text, size_t length, RangeList *list, Failure *failure)
{
	const PCRE2_SIZE *where = pcre2_get_ovector_pointer(data);
	time_t start = time(NULL);
	size_t last = SIZE_MAX; /* where the last match ended */

	for (size_t at = 0, looks = 1; at <= length; looks++)
	{
		int found = match_at(pattern, data, text, length, at);

		if (found == PCRE2_ERROR_NOMATCH)
			break;
		if (found < 0)
			return fail(failure, FAILURE_UNSUPPORTED,
			            "matching the tokenizer's pattern at byte %zu of %zu "
			            "failed (error %d)",
			            at, length, found);
		if (looks % MATCHES_A_LOOK == 0 && time(NULL) - start > MOST_SECONDS)
			return fail(failure, FAILURE_UNSUPPORTED,
			            "matching the tokenizer's pattern in a text of %zu "
			            "bytes takes more than %d seconds",
			            length, MOST_SECONDS);

		/* \K may let a match begin before its place, or end before it. */
		if (where[1] < where[0] || where[0] < at ||
		    (where[1] == where[0] && where[1] == last))
		{
			at = next_character(text, length, at);
			continue;
		}
		if (!add_range(list, arena, where[0], where[1], failure))
			return false;
		at = last = where[1];
	}
	return true;
}

static bool
find_regex(const Pattern *pattern, Arena *arena, const char *text,
           size_t length, RangeList *list, Failure *failure)
{
	const char *seen = dialect_text(arena, text, length, failure);
	pcre2_match_data *data;
	bool done;

	if (seen == NULL)
		return false;
	data = pcre2_match_data_create_from_pattern(pattern->code, NULL);
	if (data == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "cannot match a pattern");
	done = find_matches(pattern, data, arena, seen, length, list, failure);
	pcre2_match_data_free(data);
	return done;
}

bool
pattern_find_all(const Pattern *pattern, Arena *arena, const char *text,
                 size_t length, RangeList *list, Failure *failure)
{
	list->count = 0;
	if (length == 0)
		return true;
	return pattern->literal != NULL
	           ? find_literal(pattern, arena, text, length, list, failure)
	           : find_regex(pattern, arena, text, length, list, failure);
}
