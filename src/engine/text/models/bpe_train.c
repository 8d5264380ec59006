/*
 * bpe_train.c
 *		Learning a byte-level BPE.
 *
 * Equal words are counted once with their frequency; a merge touches only the
 * words in which its pair was noted.
 */
#include "text/models/bpe_train.h"

#include "base/file.h"
#include "formats/json.h"
#include "text/buffer.h"
#include "text/bytes.h"
#include "text/models/pair_counts.h"
#include "text/models/vocabulary.h"
#include "text/steps/pretokenizer.h"
#include "text/unicode.h"

#include <limits.h>
#include <string.h>

#define LONGEST_WORD 256 /* bytes; longer ones are cut */
#define LEAST_COUNT 2    /* a pair seen once is no rule */

/* A distinct word. */
typedef struct Word
{
	const char *text;
	int64_t frequency;
	int32_t length;   /* bytes */
	int32_t count;    /* symbols */
	int32_t *symbols; /* [count]; set when learning begins */
} Word;

struct BpeTrainer
{
	Arena *arena;
	Pretokenizer *pretokenizer;
	Word *words;
	size_t count;
	size_t capacity;
	int32_t *slots; /* [mask + 1] word + 1, or 0 where free */
	size_t mask;
	char *pool; /* where the next texts of words go */
	size_t pool_left;
};

/* A token of the new vocabulary: two older ones (or a byte: left -1). */
typedef struct Token
{
	int32_t left;
	int32_t right;
	const char *text; /* bytes */
	size_t length;
} Token;

BpeTrainer *
bpe_trainer_create(Arena *arena)
{
	BpeTrainer *trainer = arena_alloc(arena, sizeof(BpeTrainer));

	trainer->arena = arena;
	trainer->mask = 4095;
	trainer->slots = arena_alloc(arena, 4096 * sizeof(int32_t));
	return trainer;
}

static size_t
find_slot(const BpeTrainer *trainer, const char *text, size_t length)
{
	size_t slot = text_hash(text, length) & trainer->mask;

	while (trainer->slots[slot] != 0)
	{
		const Word *word = &trainer->words[trainer->slots[slot] - 1];

		if ((size_t) word->length == length &&
		    memcmp(word->text, text, length) == 0)
			break;
		slot = (slot + 1) & trainer->mask;
	}
	return slot;
}

static bool
grow_slots(BpeTrainer *trainer, Failure *failure)
{
	size_t slots = (trainer->mask + 1) * 2;

	if (trainer->count * 2 < trainer->mask)
		return true;
	if (trainer->count >= INT_MAX / 4)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the corpus has more than %zu different words",
		            trainer->count);
	trainer->slots = arena_try(trainer->arena, slots, sizeof(int32_t), failure);
	if (trainer->slots == NULL)
		return false;
	trainer->mask = slots - 1;
	for (size_t i = 0; i < trainer->count; i++)
		trainer->slots[find_slot(trainer, trainer->words[i].text,
		                         (size_t) trainer->words[i].length)] =
			(int32_t) i + 1;
	return true;
}

/* A copy of text in the pool. */
static const char *
keep_text(BpeTrainer *trainer, const char *text, size_t length,
          Failure *failure)
{
	const size_t block = 65536;
	char *copy;

	if (trainer->pool_left < length)
	{
		trainer->pool = arena_try(trainer->arena, block, 1, failure);
		trainer->pool_left = trainer->pool == NULL ? 0 : block;
		if (trainer->pool == NULL)
			return NULL;
	}
	copy = memcpy(trainer->pool, text, length);
	trainer->pool += length;
	trainer->pool_left -= length;
	return copy;
}

/* Counts a word of at most LONGEST_WORD bytes. */
static bool
add_word(BpeTrainer *trainer, const char *text, size_t length, Failure *failure)
{
	size_t slot = find_slot(trainer, text, length);
	Word *word;

	if (trainer->slots[slot] != 0)
	{
		trainer->words[trainer->slots[slot] - 1].frequency++;
		return true;
	}
	if (!list_reserve(trainer->arena, (void **) &trainer->words, trainer->count,
	                  &trainer->capacity, sizeof(Word), failure))
		return false;
	word = &trainer->words[trainer->count];
	*word = (Word){.frequency = 1, .length = (int32_t) length};
	word->text = keep_text(trainer, text, length, failure);
	if (word->text == NULL)
		return false;
	trainer->slots[slot] = (int32_t) ++trainer->count;
	return grow_slots(trainer, failure);
}

/* The pre-tokenizer of the file that will be written. */
static json_t *
describe_pretokenizer(void)
{
	return json_pack("{sssbsbsb}", "type", "ByteLevel", "add_prefix_space", 0,
	                 "trim_offsets", 1, "use_regex", 1);
}

static bool
open_pretokenizer(BpeTrainer *trainer, Failure *failure)
{
	json_t *json = describe_pretokenizer();
	bool done = pretokenizer_open(trainer->arena, json, &trainer->pretokenizer,
	                              failure);

	json_decref(json);
	return done;
}

/* The words of a document, spelled as the pre-tokenizer leaves them. */
static bool
add_document(BpeTrainer *trainer, Arena *scratch, const char *text,
             size_t length, Failure *failure)
{
	TextBuffer repaired;
	Piece whole;
	PieceList list = {&whole, 1, 1};

	buffer_start(&repaired, scratch, failure);
	unicode_repair(&repaired, text, length);
	if (repaired.failed)
		return false;
	whole = (Piece){repaired.data, repaired.length, true};
	if (!pretokenizer_run(trainer->pretokenizer, scratch, false, &list,
	                      failure))
		return false;
	for (size_t i = 0; i < list.count; i++)
	{
		/* Back to bytes, in place: they are no longer than their spelling. */
		char *word = (char *) list.pieces[i].text;
		size_t left = bytes_read(word, word, list.pieces[i].length);

		for (; left > 0; word += LONGEST_WORD)
		{
			size_t size = left < LONGEST_WORD ? left : LONGEST_WORD;

			if (!add_word(trainer, word, size, failure))
				return false;
			left -= size;
		}
	}
	return true;
}

bool
bpe_trainer_add(BpeTrainer *trainer, const char *text, size_t length,
                Failure *failure)
{
	Arena *scratch;
	bool done;

	if (trainer->pretokenizer == NULL && !open_pretokenizer(trainer, failure))
		return false;
	if (length == 0)
		return true;
	scratch = arena_create();
	done = add_document(trainer, scratch, text, length, failure);
	arena_destroy(scratch);
	return done;
}

/* Words as symbols, and the pairs in them. */
static bool
count_pairs(BpeTrainer *trainer, Arena *scratch, PairCounts *counts,
            Failure *failure)
{
	size_t total = 0;
	int32_t *next;

	for (size_t i = 0; i < trainer->count; i++)
		total += (size_t) trainer->words[i].length;
	next = arena_try(scratch, total, sizeof(int32_t), failure);
	if (next == NULL)
		return false;
	for (size_t i = 0; i < trainer->count; i++)
	{
		Word *word = &trainer->words[i];

		word->symbols = next;
		word->count = word->length;
		next += word->length;
		for (int32_t j = 0; j < word->length; j++)
			word->symbols[j] = (uint8_t) word->text[j];
		for (int32_t j = 0; j + 1 < word->count; j++)
			if (!pair_counts_change(counts, word->symbols[j],
			                        word->symbols[j + 1], word->frequency,
			                        (int32_t) i, failure))
				return false;
	}
	return pair_counts_offer(counts, 0, failure);
}

/* Replaces left right by joined in one word, and keeps the counts true. */
static bool
merge_in_word(BpeTrainer *trainer, PairCounts *counts, int32_t number,
              int32_t left, int32_t right, int32_t joined, Failure *failure)
{
	Word *word = &trainer->words[number];
	int64_t frequency = word->frequency;
	int32_t *symbols = word->symbols;
	int32_t kept = 0;

	for (int32_t i = 0; i < word->count; i++)
	{
		bool merges = i + 1 < word->count && symbols[i] == left &&
		              symbols[i + 1] == right;
		int32_t before = kept > 0 ? symbols[kept - 1] : -1;
		int32_t after = i + 2 < word->count ? symbols[i + 2] : -1;

		if (!merges)
		{
			symbols[kept++] = symbols[i];
			continue;
		}
		symbols[kept++] = joined;
		i++;
		if (!pair_counts_change(counts, left, right, -frequency, number,
		                        failure))
			return false;
		if (before >= 0 && (!pair_counts_change(counts, before, left,
		                                        -frequency, number, failure) ||
		                    !pair_counts_change(counts, before, joined,
		                                        frequency, number, failure)))
			return false;
		if (after >= 0 && (!pair_counts_change(counts, right, after, -frequency,
		                                       number, failure) ||
		                   !pair_counts_change(counts, joined, after, frequency,
		                                       number, failure)))
			return false;
	}
	word->count = kept;
	return true;
}

static bool
add_token(Arena *arena, Token *tokens, int32_t id, int32_t left, int32_t right,
          Failure *failure)
{
	Token *token = &tokens[id];
	char *text;

	*token = (Token){left, right, NULL,
	                 left < 0 ? 1 : tokens[left].length + tokens[right].length};
	text = arena_try(arena, token->length, 1, failure);
	if (text == NULL)
		return false;
	token->text = text;
	if (left < 0)
		text[0] = (char) id;
	else
	{
		memcpy(text, tokens[left].text, tokens[left].length);
		memcpy(text + tokens[left].length, tokens[right].text,
		       tokens[right].length);
	}
	return true;
}

/* Learns merges until there are most tokens or no pair occurs twice. */
static bool
learn(BpeTrainer *trainer, Arena *scratch, Token *tokens, int most, int *count,
      Failure *failure)
{
	PairCounts counts;
	int32_t best;

	for (*count = 0; *count < 256; ++*count)
		if (!add_token(scratch, tokens, *count, -1, -1, failure))
			return false;
	if (!pair_counts_open(&counts, scratch, failure) ||
	    !count_pairs(trainer, scratch, &counts, failure))
		return false;
	while (*count < most && pair_counts_take(&counts, LEAST_COUNT, &best))
	{
		PairCount pair = counts.pairs[best];
		size_t known = counts.count;

		if (!add_token(scratch, tokens, *count, pair.left, pair.right, failure))
			return false;
		for (int32_t at = pair.places; at >= 0; at = counts.places[at].next)
			if (!merge_in_word(trainer, &counts, counts.places[at].word,
			                   pair.left, pair.right, *count, failure))
				return false;
		if (!pair_counts_offer(&counts, known, failure))
			return false;
		++*count;
	}
	return true;
}

/* A token as the vocabulary spells it; scratch-owned. */
static const char *
spell(Arena *scratch, const Token *token)
{
	char *text = arena_alloc(scratch, token->length * 2 + 1);

	bytes_spell(text, token->text, token->length);
	return text;
}

/* tokenizer.json (a new reference), or NULL without memory. */
static json_t *
describe_tokenizer(Arena *scratch, const Token *tokens, int count)
{
	json_t *vocabulary = json_object();
	json_t *merges = json_array();
	json_t *added = json_pack("[{sisssbsbsbsbsb}]", "id", count, "content",
	                          BPE_END_OF_TEXT, "single_word", 0, "lstrip", 0,
	                          "rstrip", 0, "normalized", 0, "special", 1);
	json_t *model =
		json_pack("{sssnsnsnsnsbsbsb}", "type", "BPE", "dropout", "unk_token",
	              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
	              0, "byte_fallback", 0, "ignore_merges", 0);

	for (int id = 0; id < count; id++)
	{
		const Token *token = &tokens[id];

		json_object_set_new(vocabulary, spell(scratch, token),
		                    json_integer(id));
		if (token->left >= 0)
			json_array_append_new(
				merges,
				json_string(arena_printf(
					scratch, "%s %s", spell(scratch, &tokens[token->left]),
					spell(scratch, &tokens[token->right]))));
	}
	json_object_set_new(vocabulary, BPE_END_OF_TEXT, json_integer(count));
	json_object_set_new(model, "vocab", vocabulary);
	json_object_set_new(model, "merges", merges);
	return json_pack("{sssnsnsosnsosososo}", "version", "1.0", "truncation",
	                 "padding", "added_tokens", added, "normalizer",
	                 "pre_tokenizer", describe_pretokenizer(), "post_processor",
	                 describe_pretokenizer(), "decoder",
	                 describe_pretokenizer(), "model", model);
}

/* Writes json and releases it. */
static bool
write_json(json_t *json, const char *path, Failure *failure)
{
	char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
	bool done;

	json_decref(json);
	if (text == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "cannot make \"%s\"", path);
	done = file_write_whole(path, text, strlen(text), failure);
	free(text);
	return done;
}

bool
bpe_trainer_write(BpeTrainer *trainer, int vocab_size, const char *directory,
                  int *entries, Failure *failure)
{
	Arena *scratch;
	Token *tokens;
	int count = 0;
	bool done;

	if (vocab_size < BPE_SMALLEST)
		return fail(failure, FAILURE_BAD_INPUT,
		            "a vocabulary of %d entries is too small: the 256 bytes "
		            "and %s need %d",
		            vocab_size, BPE_END_OF_TEXT, BPE_SMALLEST);
	scratch = arena_create();
	tokens = arena_try(scratch, (size_t) vocab_size, sizeof(Token), failure);
	done =
		tokens != NULL &&
		learn(trainer, scratch, tokens, vocab_size - 1, &count, failure) &&
		write_json(describe_tokenizer(scratch, tokens, count),
	               arena_printf(scratch, "%s/tokenizer.json", directory),
	               failure) &&
		write_json(json_pack("{sssssssb}", "tokenizer_class",
	                         "PreTrainedTokenizerFast", "bos_token",
	                         BPE_END_OF_TEXT, "eos_token", BPE_END_OF_TEXT,
	                         "clean_up_tokenization_spaces", 0),
	               arena_printf(scratch, "%s/tokenizer_config.json", directory),
	               failure);
	*entries = count + 1;
	arena_destroy(scratch);
	return done;
}
