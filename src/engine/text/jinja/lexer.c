/*
 * lexer.c
 *		The text of a template as tokens, white space taken away as
 *		trim_blocks, lstrip_blocks and the signs in tags want it.
 *
 * The rules are those of jinja2's lexer: a new line right behind a block or a
 * comment goes (trim_blocks), as do blanks between the beginning of a line and
 * a block or comment (lstrip_blocks); "-" beside a tag takes all white space
 * on its side, "+" keeps it.  A new line at the very end is not part of it.
 */
#include "text/jinja/lexer.h"

#include "text/jinja/text.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Lexer
{
	Run *run;
	const char *text; /* new lines are \n */
	size_t length;
	size_t at;
	int line;
	bool line_starts; /* what came before ended a line */
	Token *tokens;
	size_t count;
	size_t capacity;
	int brackets; /* open in the tag */
} Lexer;

static void
add(Lexer *lexer, TokenKind kind, Value value)
{
	lexer->tokens = run_grow(lexer->run, lexer->tokens, lexer->count,
	                         &lexer->capacity, sizeof(Token));
	lexer->tokens[lexer->count++] = (Token){kind, lexer->line, value};
}

/* Moves behind so many bytes. */
static void
advance(Lexer *lexer, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		lexer->line += lexer->text[lexer->at + i] == '\n';
	lexer->at += bytes;
	lexer->run->line = lexer->line;
}

static bool
follows(const Lexer *lexer, size_t at, const char *text)
{
	size_t length = strlen(text);

	return length <= lexer->length - at &&
	       memcmp(lexer->text + at, text, length) == 0;
}

/* Where the text comes next, or the end. */
static size_t
find(const Lexer *lexer, size_t at, const char *text)
{
	const char *found =
		memmem(lexer->text + at, lexer->length - at, text, strlen(text));

	return found == NULL ? lexer->length : (size_t) (found - lexer->text);
}

static size_t
skip_space(const Lexer *lexer, size_t at)
{
	while (at < lexer->length)
	{
		size_t next = at;

		if (!text_is_space(unicode_next(lexer->text, &next)))
			break;
		at = next;
	}
	return at;
}

/* Text up to the tag at `end`, without what the tag takes of it. */
static void
add_data(Lexer *lexer, size_t end, char sign, bool is_output)
{
	const char *text = lexer->text;
	size_t from = lexer->at, to = end;

	if (sign == '-')
	{
		while (to > from)
		{
			size_t before = unicode_previous(text, to), at = before;

			if (!text_is_space(unicode_next(text, &at)))
				break;
			to = before;
		}
	}
	else if (sign != '+' && !is_output)
	{
		size_t line = to;

		while (line > from && text[line - 1] != '\n')
			line--;
		if ((line > from || lexer->line_starts) &&
		    skip_space(lexer, line) >= to)
			to = line;
	}
	if (to > from)
		add(lexer, TOKEN_DATA,
		    value_string(lexer->run, text + from, to - from));
	advance(lexer, end - lexer->at);
}

/* Behind a tag that ends at `at`: what its sign takes of the text. */
static void
end_tag(Lexer *lexer, size_t at, char sign, bool trims)
{
	if (sign == '-')
		at = skip_space(lexer, at);
	else if (trims && sign != '+' && at < lexer->length &&
	         lexer->text[at] == '\n')
		at++;
	lexer->line_starts = lexer->text[at - 1] == '\n';
	advance(lexer, at - lexer->at);
}

static char
sign_at(const Lexer *lexer, size_t at)
{
	if (at < lexer->length &&
	    (lexer->text[at] == '-' || lexer->text[at] == '+'))
		return lexer->text[at];
	return '\0';
}

static void
skip_comment(Lexer *lexer)
{
	size_t from = lexer->at + 2;
	size_t end;
	char sign;

	from += sign_at(lexer, from) != '\0';
	end = from < lexer->length ? find(lexer, from, "#}") : lexer->length;
	if (end == lexer->length)
		run_fail(lexer->run, FAILURE_BAD_FILE, "a comment has no end");
	sign = end > from ? sign_at(lexer, end - 1) : '\0';
	end_tag(lexer, end + 2, sign, true);
}

/* ------------------------------------------------------------ raw blocks */

/* Behind a tag of one word at `at`, or 0; its signs. */
static size_t
word_tag(const Lexer *lexer, size_t at, const char *word, char *left,
         char *right)
{
	*left = '\0';
	if (!follows(lexer, at, "{%"))
		return 0;
	at += 2;
	*left = sign_at(lexer, at);
	at = skip_space(lexer, at + (*left != '\0'));
	if (!follows(lexer, at, word))
		return 0;
	at = skip_space(lexer, at + strlen(word));
	*right = sign_at(lexer, at);
	at += *right != '\0';
	return follows(lexer, at, "%}") ? at + 2 : 0;
}

static bool
read_raw(Lexer *lexer)
{
	char left, right;
	size_t end = word_tag(lexer, lexer->at, "raw", &left, &right);

	if (end == 0 || right == '+')
		return false;
	end_tag(lexer, end, right, false);
	for (size_t at = lexer->at; at < lexer->length; at++)
	{
		at = find(lexer, at, "{%");
		end = at < lexer->length ? word_tag(lexer, at, "endraw", &left, &right)
		                         : 0;
		if (end == 0)
			continue;
		add_data(lexer, at, left, false);
		end_tag(lexer, end, right, true);
		return true;
	}
	run_fail(lexer->run, FAILURE_BAD_FILE, "a raw block has no end");
}

/* --------------------------------------------------------- inside of tags */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A character given by digits of the base, at *at; up to `most` of them. */
static uint32_t
escaped_code(Lexer *lexer, size_t *at, int base, int least, int most)
{
	uint32_t code = 0;
	int digits = 0;

	while (digits < most && *at < lexer->length)
	{
		int digit = hex_digit(lexer->text[*at]);

		if (digit < 0 || digit >= base)
			break;
		code = code * (uint32_t) base + (uint32_t) digit;
		(*at)++;
		digits++;
	}
	if (digits < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		run_fail(lexer->run, FAILURE_BAD_FILE,
		         "a string holds an escape that is no character");
	return code;
}

/* Python's escape sequences; those it does not know stay as they are. */
static void
read_escape(Lexer *lexer, size_t *at)
{
	static const char letters[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
	Run *run = lexer->run;
	char c = lexer->text[(*at)++];
	char bytes[4];
	uint32_t code;

	for (size_t i = 0; i + 1 < sizeof(letters); i += 2)
		if (letters[i] == c)
		{
			run_write(run, &letters[i + 1], 1);
			return;
		}
	if (c == '\n')
		return;
	if (c == 'x')
		code = escaped_code(lexer, at, 16, 2, 2);
	else if (c == 'u')
		code = escaped_code(lexer, at, 16, 4, 4);
	else if (c == 'U')
		code = escaped_code(lexer, at, 16, 8, 8);
	else if (c >= '0' && c <= '7')
	{
		(*at)--;
		code = escaped_code(lexer, at, 8, 1, 3);
	}
	else if (c == 'N')
		run_fail(run, FAILURE_UNSUPPORTED,
		         "names of characters (\\N) are not supported");
	else
	{
		run_write(run, "\\", 1);
		run_write(run, &c, 1);
		return;
	}
	run_write(run, bytes, unicode_put(bytes, code));
}

static void
read_string(Lexer *lexer)
{
	char quote = lexer->text[lexer->at];
	size_t since = lexer->run->length;
	size_t at = lexer->at + 1;
	Value value;

	while (at < lexer->length && lexer->text[at] != quote)
	{
		size_t plain = at;

		while (at < lexer->length && lexer->text[at] != quote &&
		       lexer->text[at] != '\\')
			at++;
		run_write(lexer->run, lexer->text + plain, at - plain);
		if (at + 1 < lexer->length && lexer->text[at] == '\\')
		{
			at++;
			read_escape(lexer, &at);
		}
		else if (at < lexer->length && lexer->text[at] == '\\')
			break;
	}
	if (at >= lexer->length || lexer->text[at] != quote)
		run_fail(lexer->run, FAILURE_BAD_FILE, "a string has no end");
	value = run_take(lexer->run, since);
	add(lexer, TOKEN_STRING, value);
	advance(lexer, at + 1 - lexer->at);
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Behind digits, with single underscores between them. */
static size_t
skip_digits(const Lexer *lexer, size_t at)
{
	while (at < lexer->length &&
	       (is_digit(lexer->text[at]) ||
	        (lexer->text[at] == '_' && at + 1 < lexer->length &&
	         is_digit(lexer->text[at + 1]))))
		at++;
	return at;
}

/* Behind ".5", "e-3" or ".5e3" where they make a number a float. */
static size_t
skip_fraction(const Lexer *lexer, size_t at)
{
	size_t digits = at + 1, exponent;

	if (at + 1 < lexer->length && lexer->text[at] == '.' &&
	    is_digit(lexer->text[digits]))
		at = skip_digits(lexer, digits);
	if (at < lexer->length && (lexer->text[at] | 0x20) == 'e')
	{
		exponent = at + 1;
		exponent += sign_at(lexer, exponent) != '\0';
		if (exponent < lexer->length && is_digit(lexer->text[exponent]))
			at = skip_digits(lexer, exponent);
	}
	return at;
}

/* 0x1f, 0o17, 0b11: behind the digits, or 0. */
static size_t
skip_based(const Lexer *lexer, size_t at, int *base)
{
	size_t end;

	if (lexer->text[at] != '0' || at + 2 >= lexer->length)
		return 0;
	switch (lexer->text[at + 1] | 0x20)
	{
		case 'x':
			*base = 16;
			break;
		case 'o':
			*base = 8;
			break;
		case 'b':
			*base = 2;
			break;
		default:
			return 0;
	}
	for (end = at + 2; end < lexer->length; end++)
	{
		int digit = hex_digit(lexer->text[end]);

		if (lexer->text[end] != '_' && (digit < 0 || digit >= *base))
			break;
	}
	return end > at + 2 ? end : 0;
}

static void
read_number(Lexer *lexer)
{
	Run *run = lexer->run;
	int base = 10;
	bool after_dot = lexer->at > 0 && lexer->text[lexer->at - 1] == '.';
	size_t end = skip_based(lexer, lexer->at, &base);
	size_t whole = end != 0 ? end : skip_digits(lexer, lexer->at);
	char digits[400];
	size_t length = 0;
	int64_t integer;

	end = base != 10 || after_dot ? whole : skip_fraction(lexer, whole);
	for (size_t at = lexer->at + (base != 10 ? 2 : 0); at < end; at++)
		if (lexer->text[at] != '_')
		{
			if (length == sizeof(digits) - 1)
				run_fail(run, FAILURE_UNSUPPORTED, "a number is too long");
			digits[length++] = lexer->text[at];
		}
	digits[length] = '\0';
	if (end > whole)
		add(lexer, TOKEN_FLOAT, value_float(strtod(digits, NULL)));
	else
	{
		errno = 0;
		integer = strtoll(digits, NULL, base);
		if (errno != 0)
			run_fail(run, FAILURE_UNSUPPORTED,
			         "the number %s has more than 64 bits", digits);
		add(lexer, TOKEN_INT, value_int(integer));
	}
	advance(lexer, end - lexer->at);
}

static bool
is_name_byte(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || (unsigned char) c >= 0x80;
}

static void
read_name(Lexer *lexer)
{
	size_t end = lexer->at;

	while (end < lexer->length && is_name_byte(lexer->text[end]))
		end++;
	add(lexer, TOKEN_NAME,
	    value_string(lexer->run, lexer->text + lexer->at, end - lexer->at));
	advance(lexer, end - lexer->at);
}

static void
read_operator(Lexer *lexer)
{
	static const char *const operators[] = {
		"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
		"]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
	char c = lexer->text[lexer->at];

	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
	{
		if (!follows(lexer, lexer->at, operators[i]))
			continue;
		if (strchr("([{", c) != NULL)
			lexer->brackets++;
		else if (strchr(")]}", c) != NULL && lexer->brackets-- == 0)
			run_fail(lexer->run, FAILURE_BAD_FILE, "unexpected '%c'", c);
		add(lexer, TOKEN_OPERATOR, value_text(lexer->run, operators[i]));
		advance(lexer, strlen(operators[i]));
		return;
	}
	run_fail(lexer->run, FAILURE_BAD_FILE, "unexpected character '%.1s'",
	         (unsigned char) c < 0x80 ? lexer->text + lexer->at : "?");
}

/* From behind "{{" or "{%" to behind its end. */
static void
read_tag(Lexer *lexer, bool is_output)
{
	const char *close = is_output ? "}}" : "%}";

	lexer->brackets = 0;
	for (;;)
	{
		size_t end = lexer->at;
		char sign;

		advance(lexer, skip_space(lexer, lexer->at) - lexer->at);
		if (lexer->at == lexer->length)
			run_fail(lexer->run, FAILURE_BAD_FILE, "a tag has no \"%s\"",
			         close);
		sign = sign_at(lexer, lexer->at);
		if (is_output && sign == '+')
			sign = '\0';
		end = lexer->at + (sign != '\0');
		if (lexer->brackets == 0 && end < lexer->length &&
		    follows(lexer, end, close))
		{
			add(lexer, is_output ? TOKEN_OUTPUT_CLOSE : TOKEN_BLOCK_CLOSE,
			    NONE);
			end_tag(lexer, end + 2, sign, !is_output);
			return;
		}
		if (lexer->text[lexer->at] == '\'' || lexer->text[lexer->at] == '"')
			read_string(lexer);
		else if (is_digit(lexer->text[lexer->at]))
			read_number(lexer);
		else if (is_name_byte(lexer->text[lexer->at]))
			read_name(lexer);
		else
			read_operator(lexer);
	}
}

/* ------------------------------------------------------------- the whole */

/* \r\n and \r become \n, and the last one of them goes. */
static void
normalize(Lexer *lexer, const char *text, size_t length)
{
	char *copy = run_alloc(lexer->run, length, 1);
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')
			continue;
		copy[count++] = text[i] == '\r' ? '\n' : text[i];
	}
	if (count > 0 && copy[count - 1] == '\n')
		count--;
	lexer->text = copy;
	lexer->length = count;
}

/* The next "{{", "{%" or "{#". */
static size_t
find_tag(const Lexer *lexer)
{
	size_t at = lexer->at;

	for (;; at++)
	{
		at = find(lexer, at, "{");
		if (at == lexer->length || follows(lexer, at, "{{") ||
		    follows(lexer, at, "{%") || follows(lexer, at, "{#"))
			return at;
	}
}

const Token *
lexer_read(Run *run, const char *text, size_t length, size_t *count)
{
	Lexer lexer = {.run = run, .line = 1, .line_starts = true};

	normalize(&lexer, text, length);
	for (;;)
	{
		size_t tag = find_tag(&lexer);
		bool is_output;
		char sign;

		run_charge(run, tag - lexer.at);
		if (tag == lexer.length)
			break;
		is_output = lexer.text[tag + 1] == '{';
		sign = sign_at(&lexer, tag + 2);
		add_data(&lexer, tag, sign, is_output);
		if (lexer.text[tag + 1] == '#')
			skip_comment(&lexer);
		else if (is_output || !read_raw(&lexer))
		{
			add(&lexer, is_output ? TOKEN_OUTPUT : TOKEN_BLOCK, NONE);
			advance(&lexer, (size_t) 2 + (sign != '\0'));
			read_tag(&lexer, is_output);
		}
	}
	if (lexer.at < lexer.length)
		add(&lexer, TOKEN_DATA,
		    value_string(run, lexer.text + lexer.at, lexer.length - lexer.at));
	add(&lexer, TOKEN_END, NONE);
	*count = lexer.count;
	return lexer.tokens;
}

bool
token_is(const Token *token, TokenKind kind, const char *text)
{
	return token->kind == kind && value_is_text(token->value, text);
}
