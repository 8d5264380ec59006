/*
 * text_scores.c
 *		Scores of a text that need no model: n-grams, diversity, repetition.
 *
 * As in the paper: words are split at white space and lower-cased, an n-gram
 * is n words joined by one space, Distinct-n is distinct n-grams / n-grams.
 */
#include "alol.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "scores/words.h"

/*
 * A set of n-grams, by 128 bits of hash each: among a billion of them the
 * chance that any two fall together is below 1e-20.
 */
typedef struct NgramKey
{
	uint64 low;
	uint64 high;
} NgramKey;

typedef struct NgramEntry
{
	NgramKey key;
	char status; /* simplehash's */
} NgramEntry;

#define SH_PREFIX ngrams
#define SH_ELEMENT_TYPE NgramEntry
#define SH_KEY_TYPE NgramKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) ((uint32) (key).low)
#define SH_EQUAL(table, a, b) ((a).low == (b).low && (a).high == (b).high)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define SET_START 256

/* What the aggregate knows after some rows. */
typedef struct CorpusState
{
	ngrams_hash *set;
	int n;
	int64 total;
} CorpusState;

static int
check_n(int n)
{
	if (n < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("n must be at least 1, not %d", n)));
	return n;
}

/* Adds a text's n-grams to a set; how many there were, repeated or not. */
static int
add_ngrams(ngrams_hash *set, const Words *words, int n)
{
	int count = words_ngrams(words, n);

	for (int i = 0; i < count; i++)
	{
		int64 length;
		const char *ngram = words_ngram(words, i, n, &length);
		NgramKey key;
		bool found;

		if (length > INT32_MAX)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			                errmsg("n-gram of %lld bytes is too long",
			                       (long long) length)));
		key.low =
			hash_bytes_extended((const unsigned char *) ngram, (int) length, 0);
		key.high = hash_bytes_extended((const unsigned char *) ngram,
		                               (int) length, UINT64CONST(0x616c6f6c));
		ngrams_insert(set, key, &found);
		CHECK_FOR_INTERRUPTS();
	}
	return count;
}

/* Counts the n-grams of one text; returns how many are distinct. */
static int64
count_distinct(const text *value, int n, int64 *total)
{
	Words *words = words_split(value);
	ngrams_hash *set = ngrams_create(CurrentMemoryContext, SET_START, NULL);
	int64 distinct;

	*total = add_ngrams(set, words, n);
	distinct = set->members;
	ngrams_destroy(set);
	words_free(words);
	return distinct;
}

/* --------------------------------------------------------------- one text */

ALOL_FUNCTION(alol_word_count);
Datum
alol_word_count(PG_FUNCTION_ARGS)
{
	Words *words = words_split(PG_GETARG_TEXT_PP(0));
	int count = words->count;

	words_free(words);
	PG_RETURN_INT32(count);
}

ALOL_FUNCTION(alol_ngrams);
Datum
alol_ngrams(PG_FUNCTION_ARGS)
{
	Words *words = words_split(PG_GETARG_TEXT_PP(0));
	int n = check_n(PG_GETARG_INT32(1));
	int count = words_ngrams(words, n);
	int64 size = 0;
	Datum *values;

	/* An array is one value of at most 1 GB; say so before building it. */
	for (int i = 0; i < count; i++)
		size += words->begin[i + n] - words->begin[i] + VARHDRSZ;
	if (size > (int64) MaxAllocSize / 2)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("%d n-grams of %d words take %lld bytes, the "
		                       "limit is %lld",
		                       count, n, (long long) size,
		                       (long long) MaxAllocSize / 2)));
	values = palloc(sizeof(Datum) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		int64 length;
		const char *ngram = words_ngram(words, i, n, &length);

		values[i] = PointerGetDatum(text_from_utf8(ngram, (size_t) length));
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_ARRAYTYPE_P(
		construct_array(values, count, TEXTOID, -1, false, TYPALIGN_INT));
}

ALOL_FUNCTION(alol_distinct);
Datum
alol_distinct(PG_FUNCTION_ARGS)
{
	int64 total;
	int64 distinct = count_distinct(PG_GETARG_TEXT_PP(0),
	                                check_n(PG_GETARG_INT32(1)), &total);

	if (total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8((double) distinct / (double) total);
}

ALOL_FUNCTION(alol_repetition);
Datum
alol_repetition(PG_FUNCTION_ARGS)
{
	int64 total;
	int64 distinct = count_distinct(PG_GETARG_TEXT_PP(0),
	                                check_n(PG_GETARG_INT32(1)), &total);

	if (total == 0)
		PG_RETURN_FLOAT8(0.0);
	/* One division, so that 1 of 3 repeated is exactly 1/3. */
	PG_RETURN_FLOAT8((double) (total - distinct) / (double) total);
}

/* --------------------------------------------------------- all rows together */

/* State of alol_corpus_distinct(), NULL before the first text. */
ALOL_FUNCTION(alol_corpus_distinct_add);
Datum
alol_corpus_distinct_add(PG_FUNCTION_ARGS)
{
	CorpusState *state =
		PG_ARGISNULL(0) ? NULL : (CorpusState *) PG_GETARG_POINTER(0);
	MemoryContext context;
	Words *words;
	int n;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "alol_corpus_distinct_add called outside of its aggregate");
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	n = check_n(PG_GETARG_INT32(2));
	if (state == NULL)
	{
		state = MemoryContextAllocZero(context, sizeof(CorpusState));
		state->set = ngrams_create(context, SET_START, NULL);
		state->n = n;
	}
	if (n != state->n)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("n must be the same in all rows, not %d and %d",
		                       state->n, n)));
	words = words_split(PG_GETARG_TEXT_PP(1));
	state->total += add_ngrams(state->set, words, n);
	words_free(words);
	PG_RETURN_POINTER(state);
}

ALOL_FUNCTION(alol_corpus_distinct_end);
Datum
alol_corpus_distinct_end(PG_FUNCTION_ARGS)
{
	CorpusState *state =
		PG_ARGISNULL(0) ? NULL : (CorpusState *) PG_GETARG_POINTER(0);

	if (state == NULL || state->total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8((double) state->set->members / (double) state->total);
}
