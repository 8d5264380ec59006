/*
 * decoder.c
 *		Decoders, one function each, and the table of them.
 *
 * A decoder maps a list of texts to another; what the last one leaves is
 * joined.  The same steps give the bytes of a single token, where half a
 * character stays half a character.
 */
#include "text/steps/decoder.h"

#include "text/bytes.h"
#include "text/steps/cleanup.h"
#include "text/steps/pattern.h"
#include "text/steps/steps.h"
#include "text/unicode.h"

#include <string.h>

typedef struct Step Step;

/* A list of texts that lie one after the other. */
typedef struct Texts
{
	TextBuffer buffer;
	size_t *ends; /* [count] offsets in the buffer */
	size_t count;
	size_t capacity;
} Texts;

typedef struct Work
{
	Arena *arena;
	bool as_continuation;
	bool as_bytes; /* one token; nothing is repaired */
	Failure *failure;
} Work;

typedef bool (*StepRun)(const Step *step, Work *work, const Texts *in,
                        Texts *out);

struct Step
{
	StepRun run;
	Pattern *pattern;    /* Replace */
	const char *content; /* Replace, Strip, Metaspace */
	size_t length;
	int64_t start;         /* Strip */
	int64_t stop;          /* Strip */
	bool prepends;         /* Metaspace */
	bool cleans;           /* WordPiece, CTC */
	const char *delimiter; /* CTC: between words */
};

struct Decoder
{
	Step steps[STEPS_MOST];
	int count;
	bool is_set; /* not null in the file */
};

/* Ends the text that was appended to the buffer. */
static bool
end_text(Work *work, Texts *texts)
{
	if (texts->buffer.failed ||
	    !list_reserve(work->arena, (void **) &texts->ends, texts->count,
	                  &texts->capacity, sizeof(size_t), work->failure))
		return false;
	texts->ends[texts->count++] = texts->buffer.length;
	return true;
}

static TokenText
text_at(const Texts *texts, size_t i)
{
	size_t start = i == 0 ? 0 : texts->ends[i - 1];

	return (TokenText){texts->buffer.data == NULL ? ""
	                                              : texts->buffer.data + start,
	                   texts->ends[i] - start};
}

/* ByteLevel: all tokens are one text, its bytes repaired to UTF-8. */
static bool
run_byte_level(const Step *step, Work *work, const Texts *in, Texts *out)
{
	TextBuffer bytes;

	(void) step;
	buffer_start(&bytes, work->arena, work->failure);
	if (!buffer_reserve(&bytes, in->buffer.length))
		return false;
	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);

		bytes.length +=
			bytes_read(bytes.data + bytes.length, token.text, token.length);
	}
	if (work->as_bytes)
		buffer_append(&out->buffer, bytes.data, bytes.length);
	else
		unicode_repair(&out->buffer, bytes.data, bytes.length);
	return end_text(work, out);
}

static bool
run_replace(const Step *step, Work *work, const Texts *in, Texts *out)
{
	RangeList list = {0};

	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		size_t at = 0;

		if (!pattern_find_all(step->pattern, work->arena, token.text,
		                      token.length, &list, work->failure))
			return false;
		for (size_t j = 0; j < list.count; j++)
		{
			buffer_append(&out->buffer, token.text + at,
			              list.ranges[j].start - at);
			buffer_append(&out->buffer, step->content, step->length);
			at = list.ranges[j].end;
		}
		buffer_append(&out->buffer, token.text + at, token.length - at);
		if (!end_text(work, out))
			return false;
	}
	return true;
}

static int
hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

/* The byte of a token like <0x0A>, or -1. */
static int
byte_of(TokenText token)
{
	if (token.length != 6 || memcmp(token.text, "<0x", 3) != 0 ||
	    token.text[5] != '>' || hex_digit(token.text[3]) < 0 ||
	    hex_digit(token.text[4]) < 0)
		return -1;
	return hex_digit(token.text[3]) * 16 + hex_digit(token.text[4]);
}

/* A run of byte tokens is a text if it is UTF-8, else each is a U+FFFD. */
static bool
end_bytes(Work *work, TextBuffer *bytes, Texts *out)
{
	if (bytes->length == 0)
		return true;
	if (work->as_bytes || unicode_is_valid(bytes->data, bytes->length))
		buffer_append(&out->buffer, bytes->data, bytes->length);
	else
		for (size_t i = 0; i < bytes->length; i++)
		{
			if (i > 0 && !end_text(work, out))
				return false;
			buffer_append_code(&out->buffer, UNICODE_REPLACEMENT);
		}
	bytes->length = 0;
	return end_text(work, out);
}

static bool
run_byte_fallback(const Step *step, Work *work, const Texts *in, Texts *out)
{
	TextBuffer bytes;

	(void) step;
	buffer_start(&bytes, work->arena, work->failure);
	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		int byte = byte_of(token);
		char letter = (char) byte;

		if (byte >= 0)
		{
			buffer_append(&bytes, &letter, 1);
			continue;
		}
		if (!end_bytes(work, &bytes, out))
			return false;
		buffer_append(&out->buffer, token.text, token.length);
		if (!end_text(work, out))
			return false;
	}
	return !bytes.failed && end_bytes(work, &bytes, out);
}

static bool
run_fuse(const Step *step, Work *work, const Texts *in, Texts *out)
{
	(void) step;
	buffer_append(&out->buffer, in->buffer.data, in->buffer.length);
	return end_text(work, out);
}

static bool
run_strip(const Step *step, Work *work, const Texts *in, Texts *out)
{
	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		bool keeps_start = work->as_bytes || (work->as_continuation && i == 0);

		for (int64_t j = 0; j < step->start && !keeps_start; j++)
		{
			if (token.length < step->length ||
			    memcmp(token.text, step->content, step->length) != 0)
				break;
			token.text += step->length;
			token.length -= step->length;
		}
		for (int64_t j = 0; j < step->stop && !work->as_bytes; j++)
		{
			if (token.length < step->length ||
			    memcmp(token.text + token.length - step->length, step->content,
			           step->length) != 0)
				break;
			token.length -= step->length;
		}
		buffer_append(&out->buffer, token.text, token.length);
		if (!end_text(work, out))
			return false;
	}
	return true;
}

static bool
run_metaspace(const Step *step, Work *work, const Texts *in, Texts *out)
{
	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		bool drops = i == 0 && step->prepends && !work->as_bytes &&
		             !work->as_continuation;

		for (size_t j = 0; j < token.length;)
		{
			if (token.length - j >= step->length &&
			    memcmp(token.text + j, step->content, step->length) == 0)
			{
				if (!drops)
					buffer_append(&out->buffer, " ", 1);
				j += step->length;
			}
			else
				buffer_append(&out->buffer, token.text + j++, 1);
		}
		if (!end_text(work, out))
			return false;
	}
	return true;
}

/* WordPiece: a space before what does not go on with a word. */
static bool
run_wordpiece(const Step *step, Work *work, const Texts *in, Texts *out)
{
	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		TextBuffer spaced;

		buffer_start(&spaced, work->arena, work->failure);
		if (i > 0 || work->as_continuation)
		{
			if (token.length >= step->length &&
			    memcmp(token.text, step->content, step->length) == 0)
			{
				token.text += step->length;
				token.length -= step->length;
			}
			else
			{
				buffer_append(&spaced, " ", 1);
				buffer_append(&spaced, token.text, token.length);
				if (spaced.failed)
					return false;
				token = (TokenText){spaced.data, spaced.length};
			}
		}
		if (step->cleans)
			token = clean_up(work->arena, token, work->failure);
		buffer_append(&out->buffer, token.text, token.length);
		if (!end_text(work, out))
			return false;
	}
	return true;
}

/* BPEDecoder: the suffix of a word is a space, but not at the end. */
static bool
run_bpe(const Step *step, Work *work, const Texts *in, Texts *out)
{
	for (size_t i = 0; i < in->count; i++)
	{
		bool ends = i + 1 == in->count && !work->as_bytes;

		append_replaced(&out->buffer, text_at(in, i), step->content,
		                ends ? "" : " ");
		if (!end_text(work, out))
			return false;
	}
	return true;
}

/* CTC: what comes up again is one, and there are tokens for nothing. */
static bool
run_ctc(const Step *step, Work *work, const Texts *in, Texts *out)
{
	TokenText last = {NULL, 0};

	for (size_t i = 0; i < in->count; i++)
	{
		TokenText token = text_at(in, i);
		TextBuffer padded;

		if (i > 0 && token.length == last.length &&
		    memcmp(token.text, last.text, last.length) == 0)
			continue;
		last = token;
		buffer_start(&padded, work->arena, work->failure);
		append_replaced(&padded, token, step->content, "");
		token =
			(TokenText){padded.data == NULL ? "" : padded.data, padded.length};
		if (padded.failed)
			return false;
		if (token.length == 0)
			continue;
		if (step->cleans)
			append_replaced(&out->buffer,
			                clean_up(work->arena, token, work->failure),
			                step->delimiter, " ");
		else
			buffer_append(&out->buffer, token.text, token.length);
		if (!end_text(work, out))
			return false;
	}
	return true;
}

static bool
open_nothing(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	(void) json;
	(void) step;
	(void) failure;
	return true;
}

static bool
open_content(Arena *arena, const json_t *json, const char *key,
             const char *fallback, Step *step, Failure *failure)
{
	const char *content;

	if (!json_get_string(json, key, fallback, &content, failure))
		return false;
	if (content == NULL)
		return fail(failure, FAILURE_BAD_FILE, "a decoder has no \"%s\"", key);
	step->content = arena_strdup(arena, content);
	step->length = strlen(content);
	return true;
}

static bool
open_replace(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_content(arena, json, "content", NULL, step, failure) &&
	       pattern_open(arena, json_object_get(json, "pattern"), &step->pattern,
	                    failure);
}

static bool
open_strip(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	if (!open_content(arena, json, "content", " ", step, failure) ||
	    !json_get_int(json, "start", 0, 0, INT32_MAX, &step->start, failure) ||
	    !json_get_int(json, "stop", 0, 0, INT32_MAX, &step->stop, failure))
		return false;
	if (step->length == 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"content\" of decoder Strip is empty");
	return true;
}

static bool
open_metaspace(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	const char *scheme;
	bool prepends;

	if (!open_content(arena, json, "replacement", "▁", step, failure) ||
	    !json_get_bool(json, "add_prefix_space", true, &prepends, failure) ||
	    !json_get_string(json, "prepend_scheme", prepends ? "always" : "never",
	                     &scheme, failure))
		return false;
	if (step->length == 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"replacement\" of decoder Metaspace is empty");
	step->prepends = strcmp(scheme, "never") != 0;
	return true;
}

static bool
open_wordpiece(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_content(arena, json, "prefix", "##", step, failure) &&
	       json_get_bool(json, "cleanup", true, &step->cleans, failure);
}

static bool
open_bpe(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_content(arena, json, "suffix", "</w>", step, failure);
}

static bool
open_ctc(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	if (!open_content(arena, json, "word_delimiter_token", "|", step, failure))
		return false;
	step->delimiter = step->content;
	return open_content(arena, json, "pad_token", "<pad>", step, failure) &&
	       json_get_bool(json, "cleanup", true, &step->cleans, failure);
}

typedef struct StepType
{
	const char *name;
	bool (*open)(Arena *arena, const json_t *json, Step *step,
	             Failure *failure);
	StepRun run;
} StepType;

/* Name in tokenizer.json, reader of its settings, function. */
static const StepType types[] = {
	{"ByteLevel", open_nothing, run_byte_level},
	{"Replace", open_replace, run_replace},
	{"ByteFallback", open_nothing, run_byte_fallback},
	{"Fuse", open_nothing, run_fuse},
	{"Strip", open_strip, run_strip},
	{"Metaspace", open_metaspace, run_metaspace},
	{"WordPiece", open_wordpiece, run_wordpiece},
	{"BPEDecoder", open_bpe, run_bpe},
	{"CTC", open_ctc, run_ctc},
};

/* StepReader */
static bool
read_step(Arena *arena, const json_t *json, const void *known, void *place,
          Failure *failure)
{
	const StepType *type = known;
	Step *step = place;

	step->run = type->run;
	return type->open(arena, json, step, failure);
}

bool
decoder_open(Arena *arena, const json_t *json, Decoder **decoder,
             Failure *failure)
{
	static const StepKind kind = {"decoder", "decoders", types,
	                              sizeof(types) / sizeof(types[0]),
	                              sizeof(types[0])};

	*decoder = arena_alloc(arena, sizeof(Decoder));
	(*decoder)->is_set = json != NULL && !json_is_null(json);
	return steps_read(arena, json, &kind, read_step, (*decoder)->steps,
	                  sizeof(Step), &(*decoder)->count, failure);
}

bool
decoder_joins_bytes(const Decoder *decoder)
{
	return decoder->count == 1 && decoder->steps[0].run == run_byte_level;
}

/* All steps, from tokens to what is to be joined. */
static bool
run_steps(const Decoder *decoder, Work *work, const TokenText *tokens,
          size_t count, Texts *texts)
{
	memset(texts, 0, sizeof(Texts));
	buffer_start(&texts->buffer, work->arena, work->failure);
	for (size_t i = 0; i < count; i++)
	{
		if (!decoder->is_set && i > 0)
			buffer_append(&texts->buffer, " ", 1);
		buffer_append(&texts->buffer, tokens[i].text, tokens[i].length);
		if (!end_text(work, texts))
			return false;
	}
	for (int i = 0; i < decoder->count; i++)
	{
		Texts out = {0};

		buffer_start(&out.buffer, work->arena, work->failure);
		if (!decoder->steps[i].run(&decoder->steps[i], work, texts, &out))
			return false;
		*texts = out;
	}
	return true;
}

bool
decoder_run(const Decoder *decoder, Arena *arena, const TokenText *tokens,
            size_t count, bool as_continuation, const char **text,
            size_t *length, Failure *failure)
{
	Work work = {arena, as_continuation, false, failure};
	Texts texts;

	if (!run_steps(decoder, &work, tokens, count, &texts))
		return false;
	*text = texts.buffer.data == NULL ? "" : texts.buffer.data;
	*length = texts.buffer.length;
	return true;
}

bool
decoder_token_bytes(const Decoder *decoder, const TokenText *token,
                    TextBuffer *out, Failure *failure)
{
	Arena *scratch = arena_create();
	Work work = {scratch, true, true, failure};
	Texts texts;
	bool done = run_steps(decoder, &work, token, 1, &texts);

	if (done)
		buffer_append(out, texts.buffer.data, texts.buffer.length);
	arena_destroy(scratch);
	return done && !out->failed;
}
