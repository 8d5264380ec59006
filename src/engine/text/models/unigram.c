/*
 * unigram.c
 *		The unigram model of SentencePiece: of all ways to cut a piece into
 *		tokens, the one whose scores have the largest sum.
 *
 * Scores are logarithms of probabilities.  A character that no token spells
 * is unknown and costs ten more than the rarest token; neighbouring unknown
 * characters are one token, or the tokens of their bytes where the vocabulary
 * has them.
 */
#include "text/models/text_model.h"

#include "text/models/trie.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define UNKNOWN_PENALTY 10.0
#define FEW_BYTES 256 /* up to here the paths lie on the stack */

typedef struct Unigram
{
	Trie *trie;
	double *scores; /* [ids] */
	double unknown_score;
	int32_t unknown;    /* or -1 */
	int32_t bytes[256]; /* ids of <0x00> ... <0xFF>, or -1 */
	bool falls_back;
} Unigram;

/* The best way to a place in the piece. */
typedef struct Path
{
	double score;
	int32_t id;    /* of the last token, or -1 where there is no way */
	uint32_t from; /* where it begins; after the search, where the next ends */
} Path;

static size_t
character_length(uint8_t lead)
{
	return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

static void
offer(Path *path, double score, int32_t id, size_t from)
{
	if (path->id < 0 || score > path->score)
		*path = (Path){score, id, (uint32_t) from};
}

/* Finds the best path to every place of text; paths[0] is the start. */
static bool
find_paths(const Unigram *unigram, const char *text, size_t length, Path *paths,
           Failure *failure)
{
	const Trie *trie = unigram->trie;

	for (size_t i = 0; i <= length; i++)
		paths[i].id = -1;
	paths[0].score = 0;
	for (size_t start = 0, next; start < length; start = next)
	{
		double score = paths[start].score;
		uint32_t node = TRIE_ROOT;
		bool has_single = false;

		next = start + character_length((uint8_t) text[start]);
		for (size_t i = start; i < length; i++)
		{
			int32_t id;

			node = trie_step(trie, node, (uint8_t) text[i]);
			if (node == TRIE_NONE)
				break;
			id = trie->value[node];
			if (id < 0)
				continue;
			offer(&paths[i + 1], unigram->scores[id] + score, id, start);
			has_single |= i + 1 == next;
		}
		if (has_single)
			continue;
		if (unigram->unknown < 0)
			return fail(failure, FAILURE_BAD_INPUT,
			            "\"%.*s\" is in no token, and the tokenizer has no "
			            "token for what is unknown",
			            (int) (next - start), text + start);
		offer(&paths[next], unigram->unknown_score + score, unigram->unknown,
		      start);
	}
	return true;
}

/* Turns the links of the best path around: from its start to its end. */
static void
turn_path(Path *paths, size_t length)
{
	uint32_t after = 0;

	for (uint32_t end = (uint32_t) length; end > 0;)
	{
		uint32_t start = paths[end].from;

		paths[end].from = after;
		after = end;
		end = start;
	}
	paths[0].from = after;
}

/* Adds the ids of a stretch that no token spells. */
static bool
add_unknown(const TextModel *model, Arena *arena, const char *text,
            size_t length, TokenList *list, Failure *failure)
{
	const Unigram *unigram = model->state;
	int32_t id = vocabulary_find(model->vocabulary, text, length);
	bool all = unigram->falls_back;

	/* Together, unknown characters may be a token that lost against them. */
	if (id >= 0)
		return token_list_add(list, arena, id, failure);
	for (size_t i = 0; i < length && all; i++)
		all = unigram->bytes[(uint8_t) text[i]] >= 0;
	if (!all)
		return token_list_add(list, arena, unigram->unknown, failure);
	for (size_t i = 0; i < length; i++)
		if (!token_list_add(list, arena, unigram->bytes[(uint8_t) text[i]],
		                    failure))
			return false;
	return true;
}

/* Adds the ids along the path. */
static bool
add_path(const TextModel *model, Arena *arena, const char *text, size_t length,
         const Path *paths, TokenList *list, Failure *failure)
{
	const Unigram *unigram = model->state;

	for (size_t at = 0; at < length;)
	{
		size_t end = paths[at].from;
		int32_t id = paths[end].id;
		bool done;

		while (id == unigram->unknown && end < length &&
		       paths[paths[end].from].id == id)
			end = paths[end].from;
		done =
			id == unigram->unknown
				? add_unknown(model, arena, text + at, end - at, list, failure)
				: token_list_add(list, arena, id, failure);
		if (!done)
			return false;
		at = end;
	}
	return true;
}

static bool
unigram_encode(const TextModel *model, Arena *arena, Arena *scratch,
               const char *text, size_t length, TokenList *list,
               Failure *failure)
{
	Path few[FEW_BYTES + 1];
	Path *paths = few;

	if (length > INT32_MAX)
		return fail(failure, FAILURE_TOO_LONG,
		            "a piece of text has %zu bytes, more than %d", length,
		            INT32_MAX);
	if (length > FEW_BYTES)
		paths = arena_try(scratch, length + 1, sizeof(Path), failure);
	if (paths == NULL ||
	    !find_paths(model->state, text, length, paths, failure))
		return false;
	turn_path(paths, length);
	return add_path(model, arena, text, length, paths, list, failure);
}

/* 10 to a power of at most 308. */
static double
power_of_ten(int exponent)
{
	char text[16];

	snprintf(text, sizeof(text), "1e%d", exponent);
	return strtod(text, NULL);
}

/*
 * A score as the library reads it.  Its parser takes the digits for an integer
 * and divides, which rounds twice where there are more than fifteen; ties
 * between ways to cut a text hang on that last bit.
 */
static double
library_score(double score)
{
	char text[40];
	uint64_t digits = 0;
	char *at = text;
	int exponent;
	double value;

	for (int count = 15; count <= 17; count++)
	{
		snprintf(text, sizeof(text), "%.*e", count - 1, fabs(score));
		if (strtod(text, NULL) == fabs(score))
			break;
	}
	for (; *at != 'e'; at++)
		if (*at != '.')
			digits = digits * 10 + (uint64_t) (*at - '0');
	exponent = atoi(at + 1) - (int) (at - text - 2);
	while (digits != 0 && digits % 10 == 0)
	{
		digits /= 10;
		exponent++;
	}
	value = (double) digits;
	for (; exponent < -308; exponent += 308)
		value /= 1e308;
	value = exponent < 0 ? value / power_of_ten(-exponent)
	                     : value * power_of_ten(exponent);
	return copysign(value, score);
}

/* Scores by id, and the entries of the trie. */
static bool
read_tokens(Arena *arena, const json_t *vocab, const Vocabulary *vocabulary,
            Unigram *unigram, TrieEntry *entries, Failure *failure)
{
	size_t count = json_array_size(vocab);
	double lowest = INFINITY;

	unigram->scores = arena_try(arena, count, sizeof(double), failure);
	if (unigram->scores == NULL)
		return false;
	for (size_t i = 0; i < count; i++)
	{
		const json_t *score = json_array_get(json_array_get(vocab, i), 1);
		size_t length;
		const char *text = vocabulary_text(vocabulary, (int32_t) i, &length);

		if (!json_is_number(score) || !isfinite(json_number_value(score)))
			return fail(
				failure, FAILURE_BAD_FILE, "score of token \"%s\" is %s", text,
				json_is_number(score) ? "not finite" : json_type_name(score));
		unigram->scores[i] = library_score(json_number_value(score));
		lowest = fmin(lowest, unigram->scores[i]);
		entries[i] = (TrieEntry){text, length, (int32_t) i};
	}
	unigram->unknown_score = lowest - UNKNOWN_PENALTY;
	return true;
}

static bool
unigram_open(Arena *arena, const json_t *json, int limit, TextModel *model,
             Failure *failure)
{
	const json_t *vocab = json_object_get(json, "vocab");
	Unigram *unigram = arena_alloc(arena, sizeof(Unigram));
	Arena *scratch = arena_create();
	size_t count = json_array_size(vocab);
	Vocabulary *vocabulary;
	TrieEntry *entries;
	int64_t unknown;
	bool done;

	entries = arena_try(scratch, count, sizeof(TrieEntry), failure);
	done = entries != NULL &&
	       vocabulary_open_list(arena, vocab, limit, &vocabulary, failure) &&
	       json_get_bool(json, "byte_fallback", false, &unigram->falls_back,
	                     failure) &&
	       json_get_int(json, "unk_id", -1, 0, (int64_t) count - 1, &unknown,
	                    failure) &&
	       read_tokens(arena, vocab, vocabulary, unigram, entries, failure) &&
	       trie_open(arena, entries, count, &unigram->trie, failure);
	arena_destroy(scratch);
	if (!done)
		return false;
	unigram->unknown = (int32_t) unknown;
	vocabulary_find_bytes(vocabulary, unigram->bytes);
	model->vocabulary = vocabulary;
	model->state = unigram;
	return true;
}

const TextModelType unigram_model_type = {
	.name = "Unigram",
	.open = unigram_open,
	.word_length = whole_length,
	.encode = unigram_encode,
};
