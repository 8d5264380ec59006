/*
 * dialect.c
 *		Rewriting expressions, one element after the other.
 */
#include "text/steps/dialect.h"

#include "text/unicode.h"
#include "text/unicode_versions.h"

#include <ctype.h>
#include <string.h>

/* White_Space; PCRE2's own \s has U+180E too. */
#define SPACES                                                                 \
	"\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"           \
	"\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* Letters, marks, decimal numbers, connectors, letters in circles. */
#define WORDS                                                                  \
	"\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}"                     \
	"\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

/* Oniguruma has the other numbers of Latin-1 in \w, but not within brackets. */
#define LATIN_NUMBERS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

#define HEX_DIGITS "0-9A-Fa-f"

/* \b and \B, by these words. */
#define WORD "[" WORDS LATIN_NUMBERS "]"
#define BORDER "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))"
#define NO_BORDER "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))"

typedef struct Translation
{
	TextBuffer *out;
	const char *pattern;
	size_t at;
	int depth;          /* of classes: [a[b]] is 2 deep at b */
	size_t class_start; /* in out, of the class that is open */
	const char *lacks;  /* members that "\\W" or the like in it takes away */
	Failure *failure;
} Translation;

/* An escape that stands for a class; letter is upper case where negated. */
static const char *
class_members(char letter)
{
	switch (tolower(letter))
	{
		case 's':
			return SPACES;
		case 'w':
			return WORDS;
		case 'h':
			return HEX_DIGITS;
		default:
			return NULL;
	}
}

/* \p{Han}: characters of the script, where PCRE2 adds those used with it. */
static bool
is_script(const char *name)
{
	static const char *const scripts[] = {
		"{Arabic}",   "{Cyrillic}", "{Devanagari}", "{Greek}",
		"{Han}",      "{Hangul}",   "{Hebrew}",     "{Hiragana}",
		"{Katakana}", "{Latin}",    "{Thai}",
	};

	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		if (strncmp(name, scripts[i], strlen(scripts[i])) == 0)
			return true;
	return false;
}

/* The element after a backslash. */
static void
translate_escape(Translation *translation)
{
	TextBuffer *out = translation->out;
	const char *rest = translation->pattern + translation->at + 1;
	char letter = rest[0];
	const char *members = class_members(letter);
	bool negated = isupper((uint8_t) letter) != 0;
	bool in_class = translation->depth > 0;

	translation->at += 2;

	if (members != NULL && in_class && negated)
	{
		translation->lacks = members; /* see close_class() */
		return;
	}
	if (members != NULL)
	{
		if (!in_class)
			buffer_append(out, negated ? "[^" : "[", negated ? 2 : 1);
		buffer_append(out, members, strlen(members));
		if (!in_class && tolower(letter) == 'w')
			buffer_append(out, LATIN_NUMBERS, sizeof(LATIN_NUMBERS) - 1);
		if (!in_class)
			buffer_append(out, "]", 1);
		return;
	}
	if (!in_class && (letter == 'b' || letter == 'B'))
	{
		const char *border = letter == 'b' ? BORDER : NO_BORDER;

		buffer_append(out, border, strlen(border));
		return;
	}
	buffer_append(out, "\\", 1);
	if (letter == 'u' && isxdigit((uint8_t) rest[1]) &&
	    isxdigit((uint8_t) rest[2]) && isxdigit((uint8_t) rest[3]) &&
	    isxdigit((uint8_t) rest[4]))
	{
		buffer_append(out, "x{", 2);
		buffer_append(out, rest + 1, 4);
		buffer_append(out, "}", 1);
		translation->at += 4;
		return;
	}
	buffer_append(out, &letter, 1);
	if ((letter == 'p' || letter == 'P') && is_script(rest + 1))
	{
		buffer_append(out, "{sc:", 4);
		translation->at++;
	}
}

/* [:alpha:] and the like, within brackets; false where there is none. */
static bool
translate_posix(Translation *translation)
{
	static const char *const names[][2] = {
		{"[:punct:]", "\\p{P}\\p{S}"},
		{"[:space:]", SPACES},
		{"[:word:]", WORDS},
		{"[:alpha:]", "\\p{Alphabetic}"},
		{"[:^alpha:]", "\\P{Alphabetic}"},
		{"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
	};
	const char *members = NULL;
	const char *rest = translation->pattern + translation->at;
	const char *end = strncmp(rest, "[:", 2) == 0 ? strstr(rest, ":]") : NULL;

	if (end == NULL)
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(rest, names[i][0], strlen(names[i][0])) == 0)
			members = names[i][1];
	if (members != NULL)
		buffer_append(translation->out, members, strlen(members));
	else
		buffer_append(translation->out, rest, (size_t) (end + 2 - rest));
	translation->at += (size_t) (end + 2 - rest);
	return true;
}

/* A bracket that opens a class: within another one, unless negated, it adds
 * its members to those of the other. */
static bool
open_class(Translation *translation)
{
	const char *rest = translation->pattern + translation->at;
	TextBuffer *out = translation->out;

	if (translation->depth > 0)
	{
		if (rest[1] == '^' || rest[1] == ']')
			return fail(translation->failure, FAILURE_UNSUPPORTED,
			            "pattern \"%s\" has a negated class within a class",
			            translation->pattern);
		translation->depth++;
		translation->at++;
		return true;
	}
	translation->depth = 1;
	translation->class_start = out->length;
	buffer_append(out, "[", 1);
	translation->at++;

	/* A bracket right after the opening is an ordinary character. */
	if (rest[1] == '^')
	{
		buffer_append(out, "^", 1);
		translation->at++;
	}
	if (translation->pattern[translation->at] == ']')
	{
		buffer_append(out, "]", 1);
		translation->at++;
	}
	return true;
}

/*
 * The bracket that closes a class.  What [x\\W] has, or [^x\\W] has not, cannot
 * be spelled out within brackets: it is (?:[^w]|[x]), or (?:(?![x])[w]).
 */
static void
close_class(Translation *translation)
{
	TextBuffer *out = translation->out;
	size_t length = out->length - translation->class_start;
	const char *members = translation->lacks;
	const char *class;
	bool negated;

	translation->at++;
	if (--translation->depth > 0)
		return;
	if (members == NULL)
	{
		buffer_append(out, "]", 1);
		return;
	}
	class =
		arena_strndup(out->arena, out->data + translation->class_start, length);
	negated = length > 1 && class[1] == '^';
	class += negated ? 2 : 1;
	out->length = translation->class_start;
	translation->lacks = NULL;
	buffer_append(out, "(?:", 3);
	if (class[0] != '\0')
	{
		buffer_append(out, negated ? "(?![" : "[", negated ? 4 : 1);
		buffer_append(out, class, strlen(class));
		buffer_append(out, negated ? "])" : "]|", 2);
	}
	buffer_append(out, negated ? "[" : "[^", negated ? 1 : 2);
	buffer_append(out, members, strlen(members));
	buffer_append(out, "])", 2);
}

/* (?m) lets a dot match the end of a line, which PCRE2 calls (?s). */
static void
translate_options(Translation *translation)
{
	const char *rest = translation->pattern + translation->at;
	size_t length = 2 + strspn(rest + 2, "imx-");
	bool is_options = rest[length] == ')' || rest[length] == ':';

	for (size_t i = 0; i < length; i++)
		buffer_append(translation->out,
		              is_options && rest[i] == 'm' ? "s" : &rest[i], 1);
	translation->at += length;
}

static bool translate_element(Translation *translation);

/*
 * [a&&[^b]], the members of both: a look ahead at the right class, then the
 * left one.
 */
static bool
translate_intersection(Translation *translation)
{
	TextBuffer *out = translation->out;
	const char *pattern = translation->pattern;
	size_t length = out->length - translation->class_start;
	char *left =
		arena_strndup(out->arena, out->data + translation->class_start, length);
	bool is_class = pattern[translation->at + 2] == '[';

	if (translation->depth != 1 || left[1] == '^' || translation->lacks != NULL)
		return fail(translation->failure, FAILURE_UNSUPPORTED,
		            "pattern \"%s\" has an intersection in a negated or inner "
		            "class",
		            pattern);
	out->length = translation->class_start;
	buffer_append(out, "(?:(?=", 6);
	translation->at += 2;
	translation->depth = is_class ? 0 : 1;
	translation->class_start = out->length;
	if (!is_class)
		buffer_append(out, "[", 1);
	do
		if (!translate_element(translation))
			return false;
	while (translation->depth > 0 && pattern[translation->at] != '\0');
	if (is_class && pattern[translation->at++] != ']')
		return fail(translation->failure, FAILURE_UNSUPPORTED,
		            "pattern \"%s\" has more than two classes in an "
		            "intersection",
		            pattern);
	buffer_append(out, ")", 1);
	buffer_append(out, left, length);
	buffer_append(out, "])", 2);
	return true;
}

static bool
translate_element(Translation *translation)
{
	const char *rest = translation->pattern + translation->at;
	TextBuffer *out = translation->out;
	bool in_class = translation->depth > 0;

	if (rest[0] == '\\' && rest[1] != '\0')
		translate_escape(translation);
	else if (in_class && rest[0] == '&' && rest[1] == '&')
		return translate_intersection(translation);
	else if (rest[0] == '[')
		return (in_class && translate_posix(translation)) ||
		       open_class(translation);
	else if (in_class && rest[0] == ']')
		close_class(translation);
	else if (!in_class && rest[0] == '(' && rest[1] == '?')
		translate_options(translation);
	else
	{
		buffer_append(out, rest, 1);
		if (!in_class && rest[0] == '{' && rest[1] == ',')
			buffer_append(out, "0", 1);
		translation->at++;
	}
	return true;
}

bool
dialect_translate(TextBuffer *out, const char *pattern, Failure *failure)
{
	Translation translation = {
		.out = out, .pattern = pattern, .failure = failure};

	while (pattern[translation.at] != '\0')
		if (!translate_element(&translation))
			return false;
	return !out->failed;
}

/* Where the first character is that PCRE2 does not know, or length. */
static size_t
find_young(const char *text, size_t length)
{
	size_t i = 0;

	while (i < length)
	{
		size_t start = i;
		uint32_t code;

		if ((uint8_t) text[i] < 0xe0)
		{
			i++;
			continue;
		}
		code = unicode_next(text, &i);
		if (unicode_stand_in(code) != code)
			return start;
	}
	return length;
}

const char *
dialect_text(Arena *arena, const char *text, size_t length, Failure *failure)
{
	size_t young = find_young(text, length);
	char *copy;

	if (young == length)
		return text;
	copy = arena_try(arena, length, 1, failure);
	if (copy == NULL)
		return NULL;
	memcpy(copy, text, length);
	while (young < length)
	{
		size_t start = young;
		uint32_t code = unicode_next(text, &young);

		unicode_put(copy + start, unicode_stand_in(code));
		young += find_young(text + young, length - young);
	}
	return copy;
}
