/*
 * scores.c
 *		From scores to merges.
 */
#include "text/models/scores.h"

#include "text/buffer.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is looked at to find all pairs: seconds of work, thirty times what
 * 256k tokens of common lengths need. */
#define MOST_BYTES ((size_t) 1 << 31)
#define MOST_PAIRS ((size_t) 1 << 24)

typedef struct Search
{
	Arena *arena;
	const Vocabulary *vocabulary;
	ScoredPair *pairs;
	size_t count;
	size_t capacity;
	size_t bytes; /* looked at */
	Failure *failure;
} Search;

/* The score of an id. */
static bool
read_score(const json_t *scores, int32_t id, double *score, Failure *failure)
{
	const json_t *value = json_array_get(scores, (size_t) id);

	*score = json_number_value(value);
	if (!json_is_number(value) || !isfinite(*score))
		return fail(failure, FAILURE_BAD_FILE, "score of token %d is %s", id,
		            json_is_number(value) ? "not finite"
		                                  : json_type_name(value));
	return true;
}

static uint32_t
count_characters(const char *text, size_t length)
{
	uint32_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += ((uint8_t) text[i] & 0xc0) != 0x80;
	return count;
}

/* Earlier: the smaller ids. */
static int
compare_ids(const void *a, const void *b)
{
	const ScoredPair *left = a;
	const ScoredPair *right = b;

	if (left->left != right->left)
		return left->left < right->left ? -1 : 1;
	return (left->right > right->right) - (left->right < right->right);
}

/* Adds all pairs that join to a token. */
static bool
split_token(Search *search, int32_t id, double score)
{
	size_t length;
	const char *text = vocabulary_text(search->vocabulary, id, &length);
	uint32_t characters = count_characters(text, length);
	uint32_t before = 0; /* characters of the left half */
	size_t first = search->count;

	for (size_t i = 1; i < length; i++)
	{
		int32_t left;
		int32_t right;

		if (((uint8_t) text[i] & 0xc0) == 0x80)
			continue;
		before++;
		search->bytes += length;
		if (search->bytes > MOST_BYTES)
			return fail(search->failure, FAILURE_UNSUPPORTED,
			            "tokens are too long to find their merges: token %d "
			            "has %zu bytes",
			            id, length);
		left = vocabulary_find(search->vocabulary, text, i);
		right = left < 0
		            ? -1
		            : vocabulary_find(search->vocabulary, text + i, length - i);
		if (right < 0)
			continue;
		if (search->count == MOST_PAIRS)
			return fail(search->failure, FAILURE_UNSUPPORTED,
			            "the scores give more than %zu merges", MOST_PAIRS);
		if (!list_reserve(search->arena, (void **) &search->pairs,
		                  search->count, &search->capacity, sizeof(ScoredPair),
		                  search->failure))
			return false;
		search->pairs[search->count++] = (ScoredPair){
			left, right, id, score, before, characters - before, 0};
	}
	if (search->count - first > 1)
		qsort(search->pairs + first, search->count - first, sizeof(ScoredPair),
		      compare_ids);
	return true;
}

/* Higher scores first. */
static int
compare_pairs(const void *a, const void *b)
{
	const ScoredPair *left = a;
	const ScoredPair *right = b;

	if (left->score != right->score)
		return left->score > right->score ? -1 : 1;
	if (left->left_characters != right->left_characters)
		return left->left_characters > right->left_characters ? -1 : 1;
	if (left->right_characters != right->right_characters)
		return left->right_characters > right->right_characters ? -1 : 1;
	return left->order < right->order ? -1 : 1;
}

bool
scored_pairs_find(Arena *arena, const Vocabulary *vocabulary,
                  const json_t *scores, ScoredPair **pairs, size_t *count,
                  Failure *failure)
{
	Search search = {
		.arena = arena, .vocabulary = vocabulary, .failure = failure};
	size_t length;

	if (!json_is_array(scores))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"scores\" must be an array, not %s",
		            json_type_name(scores));
	for (int32_t id = 0; id < vocabulary_limit(vocabulary); id++)
	{
		double score;

		if (vocabulary_text(vocabulary, id, &length) == NULL)
			continue;
		if (!read_score(scores, id, &score, failure) ||
		    !split_token(&search, id, score))
			return false;
	}
	for (size_t i = 0; i < search.count; i++)
		search.pairs[i].order = (uint32_t) i;
	if (search.count > 1)
		qsort(search.pairs, search.count, sizeof(ScoredPair), compare_pairs);
	*pairs = search.pairs;
	*count = search.count;
	return true;
}

static void
release(void *json)
{
	json_decref(json);
}

/* The pairs as an array of arrays (a new reference), or NULL. */
static json_t *
write_pairs(const Vocabulary *vocabulary, const ScoredPair *pairs, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
	{
		size_t length;
		const char *left = vocabulary_text(vocabulary, pairs[i].left, &length);
		const char *right =
			vocabulary_text(vocabulary, pairs[i].right, &length);

		if (json_array_append_new(array, json_pack("[ss]", left, right)) != 0)
		{
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

bool
bpe_merges_from_scores(Arena *arena, const json_t *vocab, const json_t *scores,
                       json_t **merges, Failure *failure)
{
	Arena *scratch = arena_create();
	Vocabulary *vocabulary;
	ScoredPair *pairs;
	size_t count;
	size_t most = json_array_size(scores);
	bool done =
		vocabulary_open(scratch, vocab, most > INT_MAX ? INT_MAX : (int) most,
	                    &vocabulary, failure) &&
		scored_pairs_find(scratch, vocabulary, scores, &pairs, &count, failure);

	if (done)
	{
		*merges = write_pairs(vocabulary, pairs, count);
		done = *merges != NULL;
		if (done)
			arena_on_destroy(arena, release, *merges);
		else
			fail(failure, FAILURE_OUT_OF_MEMORY, "cannot write %zu merges",
			     count);
	}
	arena_destroy(scratch);
	return done;
}
