/*
 * bpe.c
 *		Byte-pair encoding: a piece starts as characters, and the two
 *		neighbours whose merge was learnt first become one, again and again.
 *
 * Serves byte-level vocabularies (GPT-2 and its descendants) and those of the
 * SentencePiece kind, where a missing character falls back to its bytes.
 * Short pieces are merged by looking for the lowest rank each time, long ones
 * with a heap.
 */
#include "text/models/text_model.h"

#include "text/models/merges.h"
#include "text/unicode.h"

#include <stdio.h>
#include <string.h>

#define SMALL_CODES 1024             /* characters whose ids lie in a table */
#define LONGEST_AFFIX ((size_t) 100) /* of a character */
#define DECORATED (2 * LONGEST_AFFIX + 8)
#define METASPACE "\xe2\x96\x81"
#define METASPACE_LENGTH 3

typedef struct Bpe
{
	const Vocabulary *vocabulary;
	Merges *merges;
	int32_t small[SMALL_CODES]; /* ids of characters, or -1 */
	int32_t bytes[256];         /* ids of <0x00> ... <0xFF>, or -1 */
	bool falls_back;            /* all of bytes are there and to be used */
	int32_t unknown;            /* or -1 */
	bool fuses_unknown;
	bool ignores_merges;
	const char *prefix; /* of all characters but the first, mostly "" */
	const char *suffix; /* of the last character */
	size_t decorates;   /* bytes that they add to a character */
	bool splits_words;  /* no merge reaches from a character into a "▁" */
} Bpe;

/* The characters of a piece while they become symbols. */
typedef struct Symbols
{
	Arena *arena;
	int32_t *ids;
	size_t count;
	int32_t pending; /* an unknown that may still grow, or -1 */
} Symbols;

static void
flush_unknown(Symbols *symbols)
{
	if (symbols->pending >= 0)
		symbols->ids[symbols->count++] = symbols->pending;
	symbols->pending = -1;
}

/* A character that is not in the vocabulary. */
static void
add_unknown(const Bpe *bpe, Symbols *symbols, const char *text, size_t length)
{
	bool all = bpe->falls_back;

	for (size_t i = 0; i < length && all; i++)
		all = bpe->bytes[(uint8_t) text[i]] >= 0;
	if (all)
	{
		/* An unknown before them is not flushed: as in `tokenizers`. */
		for (size_t i = 0; i < length; i++)
			symbols->ids[symbols->count++] = bpe->bytes[(uint8_t) text[i]];
		return;
	}
	if (bpe->unknown < 0)
		return;
	if (!bpe->fuses_unknown)
		flush_unknown(symbols);
	symbols->pending = bpe->unknown;
}

/* A character with prefix and suffix; *length gets that of the whole. */
static const char *
decorate(const Bpe *bpe, char name[DECORATED], const char *text, size_t *length,
         bool first, bool last)
{
	int used = snprintf(name, DECORATED, "%s%.*s%s", first ? "" : bpe->prefix,
	                    (int) *length, text, last ? bpe->suffix : "");

	*length = (size_t) used;
	return name;
}

/* The first symbols of a piece; ids has room for all. */
static void
split_characters(const Bpe *bpe, Symbols *symbols, const char *text,
                 size_t length)
{
	char decorated[DECORATED];

	for (size_t i = 0; i < length;)
	{
		size_t start = i;
		uint32_t code = unicode_next(text, &i);
		const char *name = text + start;
		size_t size = i - start;
		int32_t id;

		if (bpe->decorates)
			name =
				decorate(bpe, decorated, name, &size, start == 0, i == length);
		if (!bpe->decorates && code < SMALL_CODES)
			id = bpe->small[code];
		else
			id = vocabulary_find(bpe->vocabulary, name, size);
		if (id < 0)
			add_unknown(bpe, symbols, name, size);
		else
		{
			flush_unknown(symbols);
			symbols->ids[symbols->count++] = id;
		}
	}
	flush_unknown(symbols);
}

static bool
bpe_encode(const TextModel *model, Arena *arena, Arena *scratch,
           const char *text, size_t length, TokenList *list, Failure *failure)
{
	const Bpe *bpe = model->state;
	int32_t few[256];
	Symbols symbols = {.arena = scratch, .ids = few, .pending = -1};

	if (bpe->ignores_merges)
	{
		int32_t id = vocabulary_find(bpe->vocabulary, text, length);

		if (id >= 0)
			return token_list_add(list, arena, id, failure);
	}
	if (length > sizeof(few) / sizeof(few[0]) / (1 + bpe->decorates))
		symbols.ids = arena_try(
			scratch, length, (1 + bpe->decorates) * sizeof(int32_t), failure);
	if (symbols.ids == NULL)
		return false;
	split_characters(bpe, &symbols, text, length);
	if (!merges_apply(bpe->merges, scratch, symbols.ids, &symbols.count,
	                  failure))
		return false;
	for (size_t i = 0; i < symbols.count; i++)
		if (!token_list_add(list, arena, symbols.ids[i], failure))
			return false;
	return true;
}

/* With words that no merge reaches across: up to a "▁" that follows another
 * character. */
static size_t
bpe_word_length(const TextModel *model, const char *text, size_t length)
{
	const Bpe *bpe = model->state;
	bool was_space = true;

	for (size_t i = 0; i < length && bpe->splits_words;)
	{
		bool is_space = length - i >= METASPACE_LENGTH &&
		                memcmp(text + i, METASPACE, METASPACE_LENGTH) == 0;

		if (is_space && !was_space)
			return i;
		was_space = is_space;
		i += is_space ? METASPACE_LENGTH : 1;
	}
	return length;
}

/* Ids of characters and bytes that are looked up again and again. */
static void
fill_tables(Bpe *bpe)
{
	for (uint32_t code = 0; code < SMALL_CODES; code++)
	{
		char text[4];
		size_t length = unicode_put(text, code);

		bpe->small[code] = vocabulary_find(bpe->vocabulary, text, length);
	}
	vocabulary_find_bytes(bpe->vocabulary, bpe->bytes);
}

/*
 * Whether pieces may be cut before each "▁" that follows another character:
 * no merge joins such a pair, and "▁" is no unknown.
 */
static bool
may_split_words(const Bpe *bpe)
{
	return !bpe->ignores_merges && bpe->decorates == 0 &&
	       vocabulary_find(bpe->vocabulary, METASPACE, METASPACE_LENGTH) >= 0 &&
	       !merges_cross(bpe->merges, bpe->vocabulary, METASPACE);
}

static bool
read_settings(const json_t *json, Bpe *bpe, const char **unknown,
              Failure *failure)
{
	double dropout;

	if (!json_get_string(json, "unk_token", NULL, unknown, failure) ||
	    !json_get_string(json, "continuing_subword_prefix", "", &bpe->prefix,
	                     failure) ||
	    !json_get_string(json, "end_of_word_suffix", "", &bpe->suffix,
	                     failure) ||
	    !json_get_bool(json, "fuse_unk", false, &bpe->fuses_unknown, failure) ||
	    !json_get_bool(json, "byte_fallback", false, &bpe->falls_back,
	                   failure) ||
	    !json_get_bool(json, "ignore_merges", false, &bpe->ignores_merges,
	                   failure) ||
	    !json_get_double(json, "dropout", 0, 0, 1, &dropout, failure))
		return false;
	bpe->decorates = strlen(bpe->prefix) + strlen(bpe->suffix);
	if (strlen(bpe->prefix) > LONGEST_AFFIX ||
	    strlen(bpe->suffix) > LONGEST_AFFIX)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "prefix or suffix of the tokens has more than %zu bytes",
		            LONGEST_AFFIX);
	if (dropout > 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "BPE with dropout (%g) is not supported", dropout);
	return true;
}

static bool
bpe_open(Arena *arena, const json_t *json, int limit, TextModel *model,
         Failure *failure)
{
	Bpe *bpe = arena_alloc(arena, sizeof(Bpe));
	const json_t *scores = json_member(json, "scores");
	Vocabulary *vocabulary;
	const char *unknown;

	model->state = bpe;
	if (!read_settings(json, bpe, &unknown, failure) ||
	    !vocabulary_open(arena, json_object_get(json, "vocab"), limit,
	                     &vocabulary, failure))
		return false;
	bpe->prefix = arena_strdup(arena, bpe->prefix);
	bpe->suffix = arena_strdup(arena, bpe->suffix);
	bpe->vocabulary = vocabulary;
	model->vocabulary = vocabulary;
	bpe->unknown = unknown == NULL
	                   ? -1
	                   : vocabulary_find(vocabulary, unknown, strlen(unknown));
	if (unknown != NULL && bpe->unknown < 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "unk_token \"%s\" is not in the vocabulary", unknown);
	if (scores != NULL
	        ? !merges_open_scores(arena, scores, vocabulary, &bpe->merges,
	                              failure)
	        : !merges_open(arena, json_object_get(json, "merges"), vocabulary,
	                       bpe->prefix, &bpe->merges, failure))
		return false;
	fill_tables(bpe);
	bpe->splits_words = may_split_words(bpe);
	return true;
}

const TextModelType bpe_model_type = {
	.name = "BPE",
	.open = bpe_open,
	.word_length = bpe_word_length,
	.encode = bpe_encode,
};
