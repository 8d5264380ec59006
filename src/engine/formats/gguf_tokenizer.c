/*
 * gguf_tokenizer.c
 *		From a GGUF file's metadata to tokenizer.json.
 *
 * Two kinds: "gpt2", byte-level pairs with merges, whose texts are split by a
 * scheme of a known name; and "llama", SentencePiece's pairs with scores.
 */
#include "formats/gguf_config.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* tokenizer.ggml.token_type */
typedef enum TokenType
{
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN,
	TOKEN_CONTROL,
	TOKEN_USER_DEFINED,
	TOKEN_UNUSED,
	TOKEN_BYTE
} TokenType;

/* The metadata of a tokenizer. */
typedef struct Source
{
	Arena *arena;
	const GgufFile *file;
	const char *kind;
	const char *pre;
	GgufText *tokens; /* [count] */
	double *types;    /* [count] or NULL */
	size_t count;     /* without the unused ones at the end */
	bool adds_bos;
	bool adds_eos;
	Failure *failure;
} Source;

static void
release(void *json)
{
	json_decref(json);
}

static int
type_of(const Source *source, size_t id)
{
	return source->types == NULL ? TOKEN_NORMAL : (int) source->types[id];
}

/* Looked for in texts as a whole, and never part of a merge. */
static bool
is_added(const Source *source, size_t id)
{
	int type = type_of(source, id);

	return type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED ||
	       type == TOKEN_UNKNOWN;
}

static bool
read_source(Source *source)
{
	const GgufFile *file = source->file;
	Failure *failure = source->failure;
	size_t types;

	if (!gguf_get_text(file, "tokenizer.ggml.model", NULL, &source->kind,
	                   failure) ||
	    !gguf_get_text(file, "tokenizer.ggml.pre", "default", &source->pre,
	                   failure) ||
	    !gguf_get_texts(source->arena, file, "tokenizer.ggml.tokens",
	                    &source->tokens, &source->count, failure) ||
	    !gguf_get_doubles(source->arena, file, "tokenizer.ggml.token_type",
	                      &source->types, &types, failure))
		return false;
	if (source->kind == NULL || source->count == 0)
		return fail(failure, FAILURE_BAD_FILE, "\"%s\" has no tokenizer",
		            gguf_path(file));
	if (source->count > INT_MAX ||
	    (source->types != NULL && types != source->count))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has %zu tokens and types of %zu", gguf_path(file),
		            source->count, types);
	while (source->count > 0 &&
	       type_of(source, source->count - 1) == TOKEN_UNUSED)
		source->count--;
	return true;
}

/* A text as JSON, or NULL where it is not UTF-8 (described). */
static json_t *
text_of(const Source *source, const GgufText *text)
{
	json_t *json = json_stringn(text->text, text->length);

	if (json == NULL)
		fail(source->failure, FAILURE_BAD_FILE,
		     "a token of \"%s\" is not valid UTF-8", gguf_path(source->file));
	return json;
}

/* ------------------------------------------------- the tokens themselves */

static bool
add_to_vocabulary(const Source *source, size_t id, json_t *vocabulary)
{
	const GgufText *token = &source->tokens[id];
	const char *key = arena_strndup(source->arena, token->text, token->length);

	if (strlen(key) != token->length)
		return fail(source->failure, FAILURE_BAD_FILE,
		            "token %zu of \"%s\" has a zero byte", id,
		            gguf_path(source->file));
	if (json_object_get(vocabulary, key) != NULL)
		return fail(
			source->failure, FAILURE_BAD_FILE,
			"tokens %lld and %zu of \"%s\" are both \"%s\"",
			(long long) json_integer_value(json_object_get(vocabulary, key)),
			id, gguf_path(source->file), key);
	return json_object_set_new(vocabulary, key,
	                           json_integer((json_int_t) id)) == 0 ||
	       fail(source->failure, FAILURE_BAD_FILE,
	            "token %zu of \"%s\" is not valid UTF-8", id,
	            gguf_path(source->file));
}

static bool
append_added(const Source *source, size_t id, json_t *added)
{
	json_t *content = text_of(source, &source->tokens[id]);
	bool is_special = type_of(source, id) != TOKEN_USER_DEFINED;

	if (content == NULL)
		return false;
	json_array_append_new(
		added,
		json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t) id,
	              "content", content, "single_word", 0, "lstrip", 0, "rstrip",
	              0, "normalized", 0, "special", (int) is_special));
	return true;
}

/* Added tokens, and the vocabulary of all others. */
static bool
list_tokens(const Source *source, json_t *added, json_t *vocabulary)
{
	for (size_t id = 0; id < source->count; id++)
	{
		bool in_vocabulary =
			!is_added(source, id) || type_of(source, id) == TOKEN_UNKNOWN;

		if ((is_added(source, id) && !append_added(source, id, added)) ||
		    (in_vocabulary && !add_to_vocabulary(source, id, vocabulary)))
			return false;
	}
	return true;
}

/* --------------------------------------------------------- special tokens */

/* The token that a key gives the id of, or -1. */
static bool
token_id(const Source *source, const char *name, int64_t *id)
{
	const char *key =
		arena_printf(source->arena, "tokenizer.ggml.%s_token_id", name);

	if (!gguf_get_int(source->file, key, -1, -1, UINT32_MAX, id,
	                  source->failure))
		return false;
	/* Files say 2^32 - 1 for none. */
	if (*id == UINT32_MAX)
		*id = -1;
	return *id < (int64_t) source->count ||
	       fail(source->failure, FAILURE_BAD_FILE,
	            "\"%s\" in \"%s\" is %lld, there are %zu tokens", key,
	            gguf_path(source->file), (long long) *id, source->count);
}

/* tokenizer_config.json: the special tokens' texts, and the chat template. */
static bool
describe_specials(const Source *source, json_t *config)
{
	static const struct
	{
		const char *gguf;
		const char *member;
	} names[] = {{"bos", "bos_token"},     {"eos", "eos_token"},
	             {"unknown", "unk_token"}, {"seperator", "sep_token"},
	             {"padding", "pad_token"}, {"mask", "mask_token"}};
	const char *template;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		int64_t id;
		json_t *text;

		if (!token_id(source, names[i].gguf, &id))
			return false;
		if (id < 0)
			continue;
		text = text_of(source, &source->tokens[id]);
		if (text == NULL)
			return false;
		json_object_set_new(config, names[i].member, text);
	}
	/* Said or not, there is none to be guessed. */
	if (json_object_get(config, "eos_token") == NULL)
		json_object_set_new(config, "eos_token", json_null());
	if (!gguf_get_text(source->file, "tokenizer.chat_template", NULL, &template,
	                   source->failure))
		return false;
	if (template != NULL && json_object_set_new(config, "chat_template",
	                                            json_string(template)) != 0)
		return fail(source->failure, FAILURE_BAD_FILE,
		            "the chat template of \"%s\" is not valid UTF-8",
		            gguf_path(source->file));
	json_object_set_new(config, "clean_up_tokenization_spaces", json_false());
	json_object_set_new(config, "tokenizer_class",
	                    json_string("PreTrainedTokenizerFast"));
	return true;
}

/* A template item for the special token of this name, with its id noted. */
static json_t *
template_item(const json_t *config, const char *member, int64_t id, int type,
              json_t *specials)
{
	const char *text = json_string_value(json_object_get(config, member));

	json_object_set_new(specials, text,
	                    json_pack("{s:s, s:[I], s:[s]}", "id", text, "ids",
	                              (json_int_t) id, "tokens", text));
	return json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id",
	                 type);
}

/* What is put around texts: a template for one, and one for two. */
static bool
describe_template(const Source *source, const json_t *config, json_t *tokenizer)
{
	json_t *specials = json_object();
	json_t *single = json_array();
	json_t *pair = json_array();
	int64_t bos, eos;
	bool done = token_id(source, "bos", &bos) && token_id(source, "eos", &eos);

	for (int type = 0; done && type < 2; type++)
	{
		json_t *text = json_pack("{s:{s:s, s:i}}", "Sequence", "id",
		                         type == 0 ? "A" : "B", "type_id", type);

		if (source->adds_bos && bos >= 0)
			json_array_append_new(
				pair, template_item(config, "bos_token", bos, type, specials));
		json_array_append_new(pair, text);
		if (source->adds_eos && eos >= 0)
			json_array_append_new(
				pair, template_item(config, "eos_token", eos, type, specials));
		if (type == 0)
			json_array_extend(single, pair);
	}
	if (done && json_object_size(specials) > 0)
		json_object_set_new(tokenizer, "post_processor",
		                    json_pack("{s:s, s:O, s:O, s:O}", "type",
		                              "TemplateProcessing", "single", single,
		                              "pair", pair, "special_tokens",
		                              specials));
	json_decref(specials);
	json_decref(single);
	json_decref(pair);
	return done;
}

/* ------------------------------------------------------------- both kinds */

static bool
describe_bytes(const Source *source, json_t *tokenizer, json_t *model)
{
	bool is_nfc = false;
	bool ignores_merges = false;
	json_t *pretokenizer =
		gguf_pretokenizer(source->pre, &is_nfc, &ignores_merges);
	json_t *merges = json_array();
	GgufText *texts;
	size_t count;

	json_object_set_new(model, "merges", merges);
	if (pretokenizer == NULL)
		return fail(source->failure, FAILURE_UNSUPPORTED,
		            "the pre-tokenizer \"%s\" of \"%s\" is not known",
		            source->pre, gguf_path(source->file));
	json_object_set_new(tokenizer, "pre_tokenizer", pretokenizer);
	json_object_set_new(tokenizer, "decoder",
	                    json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
	                              "add_prefix_space", 0, "trim_offsets", 1,
	                              "use_regex", 0));
	if (is_nfc)
		json_object_set_new(tokenizer, "normalizer",
		                    json_pack("{s:s}", "type", "NFC"));
	json_object_set_new(model, "ignore_merges", json_boolean(ignores_merges));
	if (!gguf_get_texts(source->arena, source->file, "tokenizer.ggml.merges",
	                    &texts, &count, source->failure))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		json_t *merge = text_of(source, &texts[i]);

		if (merge == NULL)
			return false;
		json_array_append_new(merges, merge);
	}
	return true;
}

/* The normalizer and decoder of SentencePiece's spaces. */
static void
describe_spaces(json_t *tokenizer, bool has_prefix)
{
	json_t *steps = json_array();
	json_t *back = json_array();

	if (has_prefix)
		json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend",
		                                       "prepend", "\xe2\x96\x81"));
	json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type",
	                                       "Replace", "pattern", "String", " ",
	                                       "content", "\xe2\x96\x81"));
	json_object_set_new(
		tokenizer, "normalizer",
		json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps));
	json_array_append_new(back, json_pack("{s:s, s:{s:s}, s:s}", "type",
	                                      "Replace", "pattern", "String",
	                                      "\xe2\x96\x81", "content", " "));
	json_array_append_new(back, json_pack("{s:s}", "type", "ByteFallback"));
	json_array_append_new(back, json_pack("{s:s}", "type", "Fuse"));
	if (has_prefix)
		json_array_append_new(back,
		                      json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
		                                "content", " ", "start", 1, "stop", 0));
	json_object_set_new(
		tokenizer, "decoder",
		json_pack("{s:s, s:o}", "type", "Sequence", "decoders", back));
}

static bool
describe_pieces(const Source *source, const json_t *config, json_t *tokenizer,
                json_t *model)
{
	json_t *scores = json_array();
	double *numbers;
	size_t count;
	bool has_prefix;

	json_object_set_new(model, "scores", scores);
	if (!gguf_get_doubles(source->arena, source->file, "tokenizer.ggml.scores",
	                      &numbers, &count, source->failure) ||
	    !gguf_get_bool(source->file, "tokenizer.ggml.add_space_prefix", true,
	                   &has_prefix, source->failure))
		return false;
	if (count < source->count)
		return fail(source->failure, FAILURE_BAD_FILE,
		            "\"%s\" has %zu scores for %zu tokens",
		            gguf_path(source->file), count, source->count);
	for (size_t id = 0; id < source->count; id++)
	{
		json_t *score = json_real(numbers[id]);

		if (score == NULL)
			return fail(source->failure, FAILURE_BAD_FILE,
			            "score %zu of \"%s\" is not finite", id,
			            gguf_path(source->file));
		json_array_append_new(scores, score);
	}
	describe_spaces(tokenizer, has_prefix);
	json_object_set(model, "unk_token", json_object_get(config, "unk_token"));
	json_object_set_new(model, "fuse_unk", json_true());
	json_object_set_new(model, "byte_fallback", json_true());
	return true;
}

static bool
describe(Source *source, json_t *tokenizer, json_t *config)
{
	json_t *added = json_array();
	json_t *vocabulary = json_object();
	json_t *model = json_pack("{s:s, s:o}", "type", "BPE", "vocab", vocabulary);
	bool is_llama;
	bool has_bos;

	json_object_set_new(tokenizer, "version", json_string("1.0"));
	json_object_set_new(tokenizer, "added_tokens", added);
	json_object_set_new(tokenizer, "model", model);
	if (!read_source(source) || !list_tokens(source, added, vocabulary) ||
	    !describe_specials(source, config))
		return false;
	is_llama = strcmp(source->kind, "llama") == 0;
	if (!is_llama && strcmp(source->kind, "gpt2") != 0)
		return fail(source->failure, FAILURE_UNSUPPORTED,
		            "the tokenizer of \"%s\" is of the kind \"%s\", which is "
		            "not supported",
		            gguf_path(source->file), source->kind);
	if (!(is_llama ? describe_pieces(source, config, tokenizer, model)
	               : describe_bytes(source, tokenizer, model)))
		return false;
	/* Where a file says nothing, LLaMA and those that ignore merges have it. */
	has_bos = is_llama || json_is_true(json_object_get(model, "ignore_merges"));
	return gguf_get_bool(source->file, "tokenizer.ggml.add_bos_token", has_bos,
	                     &source->adds_bos, source->failure) &&
	       gguf_get_bool(source->file, "tokenizer.ggml.add_eos_token", false,
	                     &source->adds_eos, source->failure) &&
	       describe_template(source, config, tokenizer);
}

bool
gguf_tokenizer(Arena *arena, const GgufFile *file, json_t **tokenizer,
               json_t **config, Failure *failure)
{
	Source source = {.arena = arena, .file = file, .failure = failure};

	*tokenizer = json_object();
	*config = json_object();
	arena_on_destroy(arena, release, *tokenizer);
	arena_on_destroy(arena, release, *config);
	return describe(&source, *tokenizer, *config) ||
	       fail_while(failure, "reading the tokenizer in \"%s\"",
	                  gguf_path(file));
}
