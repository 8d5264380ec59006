/*
 * tokenizer.c
 *		Encoding and decoding: the pipeline of a tokenizer's parts.
 */
#include "text/tokenizer.h"

#include "text/tokenizer_parts.h"
#include "text/unicode.h"

#include <string.h>

int
tokenizer_size(const Tokenizer *tokenizer)
{
	return tokenizer->size;
}

int
tokenizer_eos(const Tokenizer *tokenizer)
{
	return tokenizer->eos;
}

int
tokenizer_bos(const Tokenizer *tokenizer)
{
	return tokenizer->bos;
}

bool
tokenizer_gives_types(const Tokenizer *tokenizer)
{
	return tokenizer->gives_types;
}

bool
tokenizer_is_special(const Tokenizer *tokenizer, int32_t id)
{
	return id >= 0 && id < tokenizer->size && tokenizer->is_special[id];
}

const Chat *
tokenizer_chat(const Tokenizer *tokenizer)
{
	return tokenizer->chat;
}

bool
tokenizer_token_bytes(const Tokenizer *tokenizer, int32_t id,
                      const uint8_t **bytes, size_t *length)
{
	*bytes = (const uint8_t *) "";
	*length = 0;
	if (id < 0)
		return false;
	if (id < tokenizer->size)
	{
		*bytes = (const uint8_t *) tokenizer->bytes[id].text;
		*length = tokenizer->bytes[id].length;
	}
	return true;
}

/* What one call of encode works with. */
typedef struct Encoding
{
	const Tokenizer *tokenizer;
	Arena *arena; /* of the list */
	Arena *scratch;
	bool as_continuation;
	bool locked; /* this thread holds the model's cache */
	Failure *failure;
} Encoding;

/* Normalized text between two added tokens. */
static bool
encode_segment(Encoding *encoding, const Segment *segment, TokenList *list)
{
	const Tokenizer *tokenizer = encoding->tokenizer;
	Piece piece = {segment->text, segment->length, segment->at_start};
	PieceList pieces = {&piece, 1, 1};

	if (segment->length == 0)
		return true;
	if (!pretokenizer_run(tokenizer->pretokenizer, encoding->scratch,
	                      encoding->as_continuation, &pieces,
	                      encoding->failure))
		return false;
	for (size_t i = 0; i < pieces.count; i++)
		if (!text_model_encode(&tokenizer->model, encoding->arena,
		                       encoding->scratch, encoding->locked,
		                       pieces.pieces[i].text, pieces.pieces[i].length,
		                       list, encoding->failure))
			return false;
	return true;
}

/* A whole text, without a template. */
static bool
encode_text(Encoding *encoding, const char *text, size_t length,
            TokenList *list)
{
	const Tokenizer *tokenizer = encoding->tokenizer;
	SegmentList segments = {0};
	TextBuffer repaired;

	buffer_start(&repaired, encoding->scratch, encoding->failure);
	if (!unicode_is_valid(text, length))
	{
		unicode_repair(&repaired, text, length);
		if (repaired.failed)
			return false;
		text = repaired.data;
		length = repaired.length;
	}
	if (!added_tokens_split(tokenizer->added, tokenizer->normalizer,
	                        encoding->scratch, encoding->as_continuation, text,
	                        length, &segments, encoding->failure))
		return false;
	for (size_t i = 0; i < segments.count; i++)
	{
		const Segment *segment = &segments.segments[i];

		if (segment->token >= 0
		        ? !token_list_add(list, encoding->arena, segment->token,
		                          encoding->failure)
		        : !encode_segment(encoding, segment, list))
			return false;
	}
	return true;
}

static void
encoding_open(Encoding *encoding, const Tokenizer *tokenizer, Arena *arena,
              bool as_continuation, Failure *failure)
{
	*encoding = (Encoding){.tokenizer = tokenizer,
	                       .arena = arena,
	                       .scratch = arena_create(),
	                       .as_continuation = as_continuation,
	                       .failure = failure};
	encoding->locked = piece_cache_lock(tokenizer->model.cache);
}

static void
encoding_close(Encoding *encoding)
{
	if (encoding->locked)
		piece_cache_unlock(encoding->tokenizer->model.cache);
	arena_destroy(encoding->scratch);
}

bool
tokenizer_continue(const Tokenizer *tokenizer, Arena *arena, const char *text,
                   size_t length, TokenList *list, Failure *failure)
{
	Encoding encoding;
	bool done;

	encoding_open(&encoding, tokenizer, arena, true, failure);
	done = encode_text(&encoding, text, length, list);
	encoding_close(&encoding);
	return done;
}

bool
tokenizer_encode(const Tokenizer *tokenizer, Arena *arena, const char *text,
                 size_t length, bool add_special, TokenList *list,
                 Failure *failure)
{
	Encoding encoding;
	TokenList plain = {0};
	bool done;

	encoding_open(&encoding, tokenizer, arena, false, failure);
	if (!add_special)
		done = encode_text(&encoding, text, length, list);
	else
	{
		encoding.arena = encoding.scratch;
		done = encode_text(&encoding, text, length, &plain) &&
		       template_apply(tokenizer->template, arena, &plain, NULL, list,
		                      NULL, failure);
	}
	encoding_close(&encoding);
	return done;
}

/*
 * Shortens two texts to limit tokens in all, the longer one first: as the
 * reference's longest_first, whose odd token goes to the longer text.
 */
static void
cut_longest(TokenList *one, TokenList *two, int limit)
{
	TokenList *shorter = one->count > two->count ? two : one;
	TokenList *longer = shorter == one ? two : one;

	if (one->count <= limit && two->count <= limit - one->count)
		return;
	if (shorter->count <= limit / 2)
		longer->count = limit - shorter->count;
	else
	{
		shorter->count = limit / 2;
		longer->count = limit / 2 + limit % 2;
	}
}

bool
tokenizer_encode_within(const Tokenizer *tokenizer, Arena *arena, int limit,
                        const char *first, size_t first_length,
                        const char *second, size_t second_length,
                        TokenList *list, TokenList *types, Failure *failure)
{
	Encoding encoding;
	TokenList one = {0};
	TokenList two = {0};
	TokenList special = {0};
	TokenList *other = second == NULL ? NULL : &two;
	bool done;

	encoding_open(&encoding, tokenizer, arena, false, failure);
	encoding.arena = encoding.scratch;
	done =
		encode_text(&encoding, first, first_length, &one) &&
		(second == NULL || encode_text(&encoding, second, second_length, &two));
	if (done)
	{
		TokenList none = {0};

		done = template_apply(tokenizer->template, encoding.scratch, &none,
		                      second == NULL ? NULL : &none, &special, NULL,
		                      failure);
	}
	if (done)
	{
		cut_longest(&one, &two,
		            limit > special.count ? limit - special.count : 0);
		done = template_apply(tokenizer->template, arena, &one, other, list,
		                      types, failure);
	}
	encoding_close(&encoding);
	return done;
}

bool
tokenizer_encode_pair(const Tokenizer *tokenizer, Arena *arena,
                      const char *first, size_t first_length,
                      const char *second, size_t second_length, TokenList *list,
                      TokenList *types, Failure *failure)
{
	return tokenizer_encode_within(tokenizer, arena, INT32_MAX, first,
	                               first_length, second, second_length, list,
	                               types, failure);
}

/* The ids that have a text and are not left out, as texts from table. */
static bool
gather_tokens(const Tokenizer *tokenizer, Arena *scratch,
              const TokenText *table, const int32_t *ids, int count,
              bool skip_special, TokenText **tokens, size_t *kept,
              Failure *failure)
{
	*kept = 0;
	*tokens = arena_try(scratch, (size_t) count, sizeof(TokenText), failure);
	if (*tokens == NULL)
		return false;
	for (int i = 0; i < count; i++)
		if (ids[i] >= 0 && ids[i] < tokenizer->size &&
		    tokenizer->texts[ids[i]].text != NULL &&
		    !(skip_special && tokenizer->is_special[ids[i]]))
			(*tokens)[(*kept)++] = table[ids[i]];
	return true;
}

/* The decoded text, in scratch. */
static bool
decode_ids(const Tokenizer *tokenizer, Arena *scratch, const int32_t *ids,
           int count, const DecodeOptions *options, const char **text,
           size_t *length, Failure *failure)
{
	bool joins = decoder_joins_bytes(tokenizer->decoder);
	TokenText *tokens;
	TextBuffer bytes;
	TextBuffer repaired;
	size_t kept;

	if (!gather_tokens(tokenizer, scratch,
	                   joins ? tokenizer->bytes : tokenizer->texts, ids, count,
	                   options->skip_special, &tokens, &kept, failure))
		return false;
	if (!joins)
		return decoder_run(tokenizer->decoder, scratch, tokens, kept,
		                   options->as_continuation, text, length, failure);
	buffer_start(&bytes, scratch, failure);
	buffer_start(&repaired, scratch, failure);
	for (size_t i = 0; i < kept; i++)
		buffer_append(&bytes, tokens[i].text, tokens[i].length);
	unicode_repair(&repaired, bytes.data, bytes.length);
	*text = repaired.data;
	*length = repaired.length;
	return !bytes.failed && !repaired.failed;
}

/* A copy of text in arena; zero_safe: with U+FFFD for each zero byte. */
static bool
copy_text(Arena *arena, const char *from, size_t size, bool zero_safe,
          char **text, size_t *length, Failure *failure)
{
	size_t zeros = 0;
	size_t used = 0;

	for (size_t i = 0; i < size && zero_safe; i++)
		zeros += from[i] == '\0';
	*length = size + 2 * zeros;
	*text = arena_try(arena, *length + 1, 1, failure);
	if (*text == NULL)
		return false;
	if (zeros == 0 && size > 0)
		memcpy(*text, from, size);
	for (size_t i = 0; i < size && zeros > 0; i++)
		if (from[i] == '\0')
			used += unicode_put(*text + used, UNICODE_REPLACEMENT);
		else
			(*text)[used++] = from[i];
	return true;
}

bool
tokenizer_decode(const Tokenizer *tokenizer, Arena *arena, const int32_t *ids,
                 int count, const DecodeOptions *options, char **text,
                 size_t *length, Failure *failure)
{
	Arena *scratch = arena_create();
	const char *decoded;
	size_t size;
	bool done = decode_ids(tokenizer, scratch, ids, count, options, &decoded,
	                       &size, failure) &&
	            copy_text(arena, decoded, size, options->zero_safe, text,
	                      length, failure);

	arena_destroy(scratch);
	return done;
}
