/*
 * tfidf.c
 *		Informativeness: alol_tfidf_fit() learns how common each term is,
 *		alol_tfidf() says how uncommon a text's terms are.
 *
 * With N documents, df of them with the term: idf = ln((1 + N) / (1 + df)) + 1.
 * A text's vector holds tf * idf of its known terms and is brought to length
 * 1; the score is the mean of its k entries, and k / 10 of that where k < 5.
 */
#include "alol.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "source/source.h"
#include "source/source_read.h"
#include "base/statement.h"
#include "scores/words.h"

#define TERMS_AT_ONCE 8192
#define NAME_BYTES_MAX 63

/* Longer terms count as their beginning: an index entry has its limits. */
#define TERM_BYTES_MAX 255

/* Fewer known terms than this say little of a text. */
#define FEW 5
#define FEW_DIVISOR 10.0

/* ------------------------------------------------------- counting terms */

typedef struct TermKey
{
	const char *term; /* UTF-8, no zero byte at the end */
	int length;
} TermKey;

typedef struct TermCount
{
	TermKey key;
	uint32 hash;
	char status;    /* simplehash's */
	int64 count;    /* documents that have it, or times in one text */
	int64 document; /* the last one that had it */
} TermCount;

static inline bool
same_term(TermKey a, TermKey b)
{
	return a.length == b.length && memcmp(a.term, b.term, a.length) == 0;
}

#define SH_PREFIX terms
#define SH_ELEMENT_TYPE TermCount
#define SH_KEY_TYPE TermKey
#define SH_KEY key
#define SH_HASH_KEY(table, key)                                                \
	hash_bytes((const unsigned char *) (key).term, (key).length)
#define SH_EQUAL(table, a, b) same_term(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct TermCounter
{
	MemoryContext context; /* of the set and its terms */
	terms_hash *set;
	int64 document; /* the current one, from 1 */
	bool once_per_document;
} TermCounter;

static void
count_term(const char *term, int64 length, void *argument)
{
	TermCounter *counter = argument;
	TermKey key = {.term = term, .length = (int) Min(length, TERM_BYTES_MAX)};
	TermCount *entry;
	bool found;

	if (length > TERM_BYTES_MAX)
		key.length = pg_encoding_mbcliplen(PG_UTF8, term, TERM_BYTES_MAX + 4,
		                                   TERM_BYTES_MAX);
	entry = terms_insert(counter->set, key, &found);
	if (!found)
	{
		char *copy = MemoryContextAlloc(counter->context, key.length);

		memcpy(copy, term, key.length);
		entry->key.term = copy;
		entry->count = 0;
		entry->document = 0;
	}
	if (counter->once_per_document && entry->document == counter->document)
		return;
	entry->count++;
	entry->document = counter->document;
}

static int
compare_terms(const void *a, const void *b)
{
	const TermKey *left = &((const TermCount *) a)->key;
	const TermKey *right = &((const TermCount *) b)->key;
	int result =
		memcmp(left->term, right->term, Min(left->length, right->length));

	return result != 0 ? result : left->length - right->length;
}

/* The terms counted, in an order that does not depend on chance. */
static TermCount *
sorted_terms(TermCounter *counter)
{
	uint32 members = counter->set->members;
	TermCount *sorted = MemoryContextAllocHuge(
		counter->context, sizeof(TermCount) * ((size_t) members + 1));
	terms_iterator iterator;
	TermCount *entry;
	uint32 at = 0;

	terms_start_iterate(counter->set, &iterator);
	while ((entry = terms_iterate(counter->set, &iterator)) != NULL)
		sorted[at++] = *entry;
	qsort(sorted, members, sizeof(TermCount), compare_terms);
	return sorted;
}

static Datum
term_datum(const TermCount *term)
{
	return PointerGetDatum(
		text_from_utf8(term->key.term, (size_t) term->key.length));
}

/* ---------------------------------------------------------------- fitting */

/* Raises unless the first column is text. */
static void
check_first_column(const Source *source)
{
	Oid type = TupleDescAttr(source->columns, 0)->atttypid;
	char category;
	bool preferred;

	get_type_category_preferred(getBaseType(type), &category, &preferred);
	if (category != TYPCATEGORY_STRING)
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
		                errmsg("first column of source must be text, not %s",
		                       format_type_be(type)),
		                errhint("Cast it to text.")));
}

static void
count_document(HeapTuple row, TupleDesc columns, void *argument)
{
	TermCounter *counter = argument;
	char *document = source_text(row, columns, 1);
	text *value;

	if (document == NULL)
		return;
	counter->document++;
	value = cstring_to_text(document);
	words_visit_terms(value, count_term, counter);
	pfree(value);
	pfree(document);
}

/* The row of a new model, or of one of the user's own to be replaced. */
static int64
write_model(const char *name, Oid user, int64 documents)
{
	Statement statement = {0};

	statement_text(&statement, name);
	statement_oid(&statement, user);
	statement_int(&statement, documents);
	if (statement_write(&statement,
	                    "INSERT INTO @schema@.alol_tfidf_model AS m "
	                    "(name, owner, documents) VALUES ($1, $2::regrole, $3) "
	                    "ON CONFLICT (name) DO UPDATE SET documents = $3 "
	                    "WHERE pg_has_role($2, m.owner, 'MEMBER') "
	                    "RETURNING id") == 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		         errmsg("TF-IDF model \"%s\" belongs to another role", name)));
	return result_int(0, 1);
}

static void
write_terms(int64 model, const TermCount *sorted, int64 count)
{
	Statement old = {0};

	statement_id(&old, model);
	statement_write(&old,
	                "DELETE FROM @schema@.alol_tfidf_term WHERE model = $1");
	for (int64 first = 0; first < count; first += TERMS_AT_ONCE)
	{
		int chunk = (int) Min(count - first, TERMS_AT_ONCE);
		Datum *terms = palloc(sizeof(Datum) * chunk);
		Datum *counts = palloc(sizeof(Datum) * chunk);
		Statement statement = {0};

		for (int i = 0; i < chunk; i++)
		{
			terms[i] = term_datum(&sorted[first + i]);
			counts[i] = Int64GetDatum(sorted[first + i].count);
		}
		statement_id(&statement, model);
		statement_array(&statement, TEXTOID, terms, NULL, chunk);
		statement_array(&statement, INT8OID, counts, NULL, chunk);
		statement_write(&statement,
		                "INSERT INTO @schema@.alol_tfidf_term "
		                "(model, term, documents) "
		                "SELECT $1, t, d FROM unnest($2, $3) AS u (t, d)");
		CHECK_FOR_INTERRUPTS();
	}
}

static TermCounter
new_counter(bool once_per_document)
{
	return (TermCounter){
		.context = CurrentMemoryContext,
		.set = terms_create(CurrentMemoryContext, 256, NULL),
		.once_per_document = once_per_document,
	};
}

ALOL_FUNCTION(alol_tfidf_fit);
Datum
alol_tfidf_fit(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid user = GetUserId();
	TermCounter counter = new_counter(true);
	OwnerScope scope;
	TermCount *sorted;
	Source *source;

	PreventCommandIfReadOnly("alol_tfidf_fit()");
	if (name[0] == '\0' || strlen(name) > NAME_BYTES_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
		                errmsg("name must have 1 to %d bytes, not %zu",
		                       NAME_BYTES_MAX, strlen(name))));
	source = source_open_session(text_to_cstring(PG_GETARG_TEXT_PP(1)),
	                             "source", NULL);
	check_first_column(source);
	source_visit(source->query, count_document, &counter);
	sorted = sorted_terms(&counter);

	owner_begin(&scope);
	write_terms(write_model(name, user, counter.document), sorted,
	            counter.set->members);
	owner_end(&scope);
	PG_RETURN_INT64(counter.document);
}

ALOL_FUNCTION(alol_tfidf_drop);
Datum
alol_tfidf_drop(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid user = GetUserId();
	Statement statement = {0};
	OwnerScope scope;

	PreventCommandIfReadOnly("alol_tfidf_drop()");
	owner_begin(&scope);
	statement_text(&statement, name);
	statement_oid(&statement, user);
	if (statement_write(&statement,
	                    "DELETE FROM @schema@.alol_tfidf_model WHERE name = $1 "
	                    "AND pg_has_role($2, owner, 'MEMBER') "
	                    "RETURNING id") == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("you own no TF-IDF model \"%s\"", name)));
	write_terms(result_int(0, 1), NULL, 0);
	owner_end(&scope);
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- scoring */

/* The model's id and number of documents, for one who may use it. */
static int64
find_model(const char *name, Oid user, int64 *documents)
{
	Statement statement = {0};

	statement_text(&statement, name);
	statement_oid(&statement, user);
	if (statement_read(
			&statement,
			"SELECT id, documents FROM @schema@.alol_tfidf_model "
			"WHERE name = $1 AND pg_has_role($2, owner, 'MEMBER')") == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("you own no TF-IDF model \"%s\"", name),
		                errhint("Make one with alol_tfidf_fit().")));
	*documents = result_int(0, 2);
	return result_int(0, 1);
}

/* Finds the known ones among these terms: SPI's rows are (place, df). */
static uint64
find_terms(int64 model, const TermCount *sorted, int count)
{
	Statement statement = {0};
	Datum *terms = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		terms[i] = term_datum(&sorted[i]);
	statement_id(&statement, model);
	statement_array(&statement, TEXTOID, terms, NULL, count);
	return statement_read(&statement,
	                      "SELECT q.place, t.documents "
	                      "FROM unnest($2) WITH ORDINALITY AS q (term, place) "
	                      "JOIN @schema@.alol_tfidf_term t "
	                      "ON t.model = $1 AND t.term = q.term "
	                      "ORDER BY q.place");
}

ALOL_FUNCTION(alol_tfidf);
Datum
alol_tfidf(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid user = GetUserId();
	TermCounter counter = new_counter(false);
	OwnerScope scope;
	TermCount *sorted;
	int64 documents;
	int64 model;
	uint64 known;
	double sum = 0.0;
	double squares = 0.0;
	double score;

	words_visit_terms(PG_GETARG_TEXT_PP(1), count_term, &counter);
	sorted = sorted_terms(&counter);

	owner_begin(&scope);
	model = find_model(name, user, &documents);
	known = find_terms(model, sorted, (int) counter.set->members);
	for (uint64 i = 0; i < known; i++)
	{
		double times = (double) sorted[result_int(i, 1) - 1].count;
		double with = (double) result_int(i, 2);
		double weight =
			times * (log((1.0 + (double) documents) / (1.0 + with)) + 1.0);

		sum += weight;
		squares += weight * weight;
	}
	owner_end(&scope);
	if (known == 0)
		PG_RETURN_FLOAT8(0.0);
	score = sum / sqrt(squares) / (double) known;
	if (known < FEW)
		score *= (double) known / FEW_DIVISOR;
	PG_RETURN_FLOAT8(score);
}
