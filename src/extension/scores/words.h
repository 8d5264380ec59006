/*
 * words.h
 *		Texts as the text scores see them: lower-cased words.
 */
#pragma once

/*
 * The words of a text, split at white space, lower-cased, and joined by one
 * space: so n words in a row are one slice of it.  UTF-8, palloc'd.
 */
typedef struct Words
{
	char *text;
	int count;
	int64 *begin; /* [count + 1]; the last is one past the end, plus one */
} Words;

extern Words *words_split(const text *value);
extern void words_free(Words *words);

/* Number of n-grams: runs of n words; n is at least 1. */
extern int words_ngrams(const Words *words, int n);

/* The n-gram that begins at word i: where it is and its length in bytes. */
extern const char *words_ngram(const Words *words, int i, int n, int64 *length);

/*
 * Calls visit with each term of a text: the lower-cased runs of two or more
 * word characters (letters, digits, underscore), in UTF-8, without a zero
 * byte at the end.
 */
typedef void (*TermVisitor)(const char *term, int64 length, void *context);

extern void words_visit_terms(const text *value, TermVisitor visit,
                              void *context);
