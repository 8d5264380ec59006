/*
 * words.c
 *		Texts as the text scores see them: lower-cased words.
 *
 * White space is what Python's str.split() takes for it, as the paper's own
 * n-grams were split so: Unicode's White_Space and U+001C to U+001F.  Each
 * character becomes its simple lower-case form.
 */
#include "alol.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "scores/unicode_table.h"
#include "scores/words.h"

/* No character's lower case is more than 3/2 as long as it was. */
#define GROWTH 2

/* Bytes between two looks at a pending cancel. */
#define INTERRUPT_EVERY (1 << 20)

static bool
is_space(uint32 code)
{
	if (code < 0x80)
		return code == ' ' || (code >= 0x9 && code <= 0xd) ||
		       (code >= 0x1c && code <= 0x1f);
	return code == 0x85 || code == 0xa0 || code == 0x1680 ||
	       (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
	       code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static uint32
lower_case(uint32 code)
{
	int low = 0;
	int high = unicode_lower_count - 1;

	if (code < 0x80)
		return code >= 'A' && code <= 'Z' ? code + 32 : code;
	while (low <= high)
	{
		int middle = (low + high) / 2;
		const UnicodeLower *range = &unicode_lower[middle];

		if (code < range->first)
			high = middle - 1;
		else if (code > range->last)
			low = middle + 1;
		else if ((code - range->first) % (uint32) range->step == 0)
			return (uint32) ((int32) code + range->delta);
		else
			return code;
	}
	return code;
}

static bool
is_word(uint32 code)
{
	int low = 0;
	int high = unicode_word_count - 1;

	while (low <= high)
	{
		int middle = (low + high) / 2;

		if (code < unicode_word[middle].first)
			high = middle - 1;
		else if (code > unicode_word[middle].last)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

/* A text's characters, one after the other. */
typedef struct Characters
{
	const unsigned char *at;
	const unsigned char *end;
} Characters;

static Characters
characters_of(const text *value)
{
	size_t length;
	char *utf8 =
		text_to_utf8(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), &length);

	return (Characters){
		.at = (unsigned char *) utf8,
		.end = (unsigned char *) utf8 + length,
	};
}

/* text_to_utf8() gives whole characters, but do not read past the end. */
static bool
next_character(Characters *characters, uint32 *code)
{
	int length;

	if (characters->at >= characters->end)
		return false;
	length = pg_utf_mblen(characters->at);
	if (length > characters->end - characters->at)
		length = 1;
	*code = length == 1 ? *characters->at : utf8_to_unicode(characters->at);
	characters->at += length;
	return true;
}

/* Appends a character to a buffer with room for it; the bytes it took. */
static int
put_character(char *out, uint32 code)
{
	if (code < 0x80)
	{
		*out = (char) code;
		return 1;
	}
	(void) unicode_to_utf8(code, (unsigned char *) out);
	return pg_utf_mblen((unsigned char *) out);
}

/* ------------------------------------------------------------------ words */

static void
begin_word(Words *words, int *capacity, int64 position)
{
	/* One more for the end. */
	if (words->count + 1 >= *capacity)
	{
		if (*capacity > INT32_MAX / 2)
			ereport(ERROR,
			        (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			         errmsg("text has more than %d words", words->count)));
		*capacity *= 2;
		words->begin =
			repalloc_huge(words->begin, sizeof(int64) * (size_t) *capacity);
	}
	words->begin[words->count++] = position;
}

Words *
words_split(const text *value)
{
	Words *words = palloc0(sizeof(Words));
	Characters characters = characters_of(value);
	size_t room = (size_t) (characters.end - characters.at) * GROWTH + 8;
	int capacity = 64;
	bool in_word = false;
	int64 length = 0;
	uint32 seen = 0;
	uint32 code;

	words->text = MemoryContextAllocHuge(CurrentMemoryContext, room);
	words->begin = palloc(sizeof(int64) * (size_t) capacity);
	while (next_character(&characters, &code))
	{
		if (++seen % INTERRUPT_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
		if (is_space(code))
		{
			in_word = false;
			continue;
		}
		if (!in_word)
		{
			if (words->count > 0)
				words->text[length++] = ' ';
			begin_word(words, &capacity, length);
		}
		in_word = true;
		length += put_character(words->text + length, lower_case(code));
	}
	words->begin[words->count] = length + 1;
	return words;
}

void
words_free(Words *words)
{
	pfree(words->text);
	pfree(words->begin);
	pfree(words);
}

int
words_ngrams(const Words *words, int n)
{
	return words->count < n ? 0 : words->count - n + 1;
}

const char *
words_ngram(const Words *words, int i, int n, int64 *length)
{
	/* A word ends one space before the next begins. */
	*length = words->begin[i + n] - 1 - words->begin[i];
	return words->text + words->begin[i];
}

/* ------------------------------------------------------------------ terms */

void
words_visit_terms(const text *value, TermVisitor visit, void *context)
{
	Characters characters = characters_of(value);
	size_t room = (size_t) (characters.end - characters.at) * GROWTH + 8;
	char *term = MemoryContextAllocHuge(CurrentMemoryContext, room);
	int64 length = 0;
	int count = 0; /* characters of the term so far */
	uint32 code;

	for (;;)
	{
		bool more = next_character(&characters, &code);

		if (more)
			code = lower_case(code);
		if (more && is_word(code))
		{
			length += put_character(term + length, code);
			count++;
			continue;
		}
		if (count >= 2)
			visit(term, length, context);
		if (!more)
			break;
		length = 0;
		count = 0;
		CHECK_FOR_INTERRUPTS();
	}
	pfree(term);
}
