/*
 * wordpiece.c
 *		WordPiece, the model of BERT: from the left, always the longest token
 *		that fits; all but the first of a word are spelled with a prefix.
 *
 * A word that cannot be spelled to its end, or is too long, is unknown as a
 * whole.
 */
#include "text/models/text_model.h"

#include "text/models/trie.h"

#include <string.h>

typedef struct WordPiece
{
	Trie *trie;
	uint32_t inside; /* the node of the prefix, or TRIE_NONE */
	int32_t unknown; /* or -1 */
	int64_t longest; /* characters of a word */
} WordPiece;

static int64_t
count_characters(const char *text, size_t length)
{
	int64_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += ((uint8_t) text[i] & 0xc0) != 0x80;
	return count;
}

/* Adds the tokens of a word; *spelled: whether there is one for all of it. */
static bool
spell(const WordPiece *wordpiece, Arena *arena, const char *text, size_t length,
      TokenList *list, bool *spelled, Failure *failure)
{
	uint32_t start = TRIE_ROOT;

	*spelled = false;
	while (length > 0)
	{
		size_t matched = 0;
		int32_t id = start == TRIE_NONE ? -1
		                                : trie_longest(wordpiece->trie, start,
		                                               text, length, &matched);

		if (id < 0)
			return true;
		if (!token_list_add(list, arena, id, failure))
			return false;
		text += matched;
		length -= matched;
		start = wordpiece->inside;
	}
	*spelled = true;
	return true;
}

static bool
wordpiece_encode(const TextModel *model, Arena *arena, Arena *scratch,
                 const char *text, size_t length, TokenList *list,
                 Failure *failure)
{
	const WordPiece *wordpiece = model->state;
	int before = list->count;
	bool spelled = false;

	(void) scratch;
	if (count_characters(text, length) <= wordpiece->longest &&
	    !spell(wordpiece, arena, text, length, list, &spelled, failure))
		return false;
	if (spelled)
		return true;
	list->count = before;
	if (wordpiece->unknown < 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "a word cannot be spelled, and the tokenizer has no token "
		            "for what is unknown");
	return token_list_add(list, arena, wordpiece->unknown, failure);
}

static bool
open_trie(Arena *arena, const Vocabulary *vocabulary, Trie **trie,
          Failure *failure)
{
	Arena *scratch = arena_create();
	size_t count = 0;
	TrieEntry *entries =
		arena_try(scratch, (size_t) vocabulary_count(vocabulary),
	              sizeof(TrieEntry), failure);
	bool done;

	for (int32_t id = 0; entries != NULL && id < vocabulary_limit(vocabulary);
	     id++)
	{
		size_t length;
		const char *text = vocabulary_text(vocabulary, id, &length);

		if (text != NULL)
			entries[count++] = (TrieEntry){text, length, id};
	}
	done = entries != NULL && trie_open(arena, entries, count, trie, failure);
	arena_destroy(scratch);
	return done;
}

static bool
wordpiece_open(Arena *arena, const json_t *json, int limit, TextModel *model,
               Failure *failure)
{
	WordPiece *wordpiece = arena_alloc(arena, sizeof(WordPiece));
	Vocabulary *vocabulary;
	const char *unknown;
	const char *prefix;

	if (!json_get_string(json, "unk_token", "[UNK]", &unknown, failure) ||
	    !json_get_string(json, "continuing_subword_prefix", "##", &prefix,
	                     failure) ||
	    !json_get_int(json, "max_input_chars_per_word", 100, 0, INT64_MAX,
	                  &wordpiece->longest, failure) ||
	    !vocabulary_open(arena, json_object_get(json, "vocab"), limit,
	                     &vocabulary, failure) ||
	    !open_trie(arena, vocabulary, &wordpiece->trie, failure))
		return false;
	wordpiece->inside = trie_walk(wordpiece->trie, prefix, strlen(prefix));
	wordpiece->unknown = vocabulary_find(vocabulary, unknown, strlen(unknown));
	model->vocabulary = vocabulary;
	model->state = wordpiece;
	return true;
}

const TextModelType wordpiece_model_type = {
	.name = "WordPiece",
	.open = wordpiece_open,
	.word_length = whole_length,
	.encode = wordpiece_encode,
};
