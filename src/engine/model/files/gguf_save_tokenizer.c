/*
 * gguf_save_tokenizer.c
 *		A model's tokenizer in a GGUF file's metadata.
 */
#include "model/files/gguf_save.h"

#include "base/file.h"
#include "formats/gguf_config.h"

#include <string.h>

/* tokenizer.ggml.token_type */
enum
{
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN,
	TOKEN_CONTROL,
	TOKEN_USER_DEFINED,
	TOKEN_UNUSED,
	TOKEN_BYTE
};

/* A tokenizer on its way into a file. */
typedef struct Saving
{
	Arena *arena;
	GgufWriter *writer;
	const Tokenizer *tokenizer;
	const json_t *json;   /* tokenizer.json */
	const json_t *config; /* tokenizer_config.json or NULL */
	const json_t *model;  /* of json */
	int rows;             /* of the embedding */
	GgufText *tokens;     /* [rows] */
	int32_t *types;       /* [rows] */
	bool is_llama;
} Saving;

static bool
has_type(const json_t *object, const char *type)
{
	const char *own = json_string_value(json_object_get(object, "type"));

	return own != NULL && strcmp(own, type) == 0;
}

/* ---------------------------------------------------------- the two kinds */

/* Does a text get a space of its own in front?  Of the normalizers and the
 * pre-tokenizers that do so. */
static bool
puts_space(const json_t *part)
{
	static const char *const lists[] = {"normalizers", "pretokenizers"};
	const char *scheme =
		json_string_value(json_object_get(part, "prepend_scheme"));

	if (has_type(part, "Prepend"))
		return true;
	if (has_type(part, "Metaspace"))
		return scheme != NULL
		           ? strcmp(scheme, "never") != 0
		           : !json_is_false(json_object_get(part, "add_prefix_space"));
	for (int i = 0; i < 2; i++)
		for (size_t j = 0; j < json_array_size(json_object_get(part, lists[i]));
		     j++)
			if (puts_space(json_array_get(json_object_get(part, lists[i]), j)))
				return true;
	return false;
}

/* Only the steps named here, as GGUF knows no others. */
static bool
has_only(const json_t *part, const char *const allowed[4])
{
	static const char *const lists[] = {"normalizers", "pretokenizers"};

	if (part == NULL || json_is_null(part))
		return true;
	for (int i = 0; i < 2; i++)
		for (size_t j = 0; j < json_array_size(json_object_get(part, lists[i]));
		     j++)
			if (!has_only(json_array_get(json_object_get(part, lists[i]), j),
			              allowed))
				return false;
	for (int i = 0; i < 4 && allowed[i] != NULL; i++)
		if (has_type(part, allowed[i]))
			return true;
	return false;
}

/* The scheme of GGUF that splits texts as this pre-tokenizer does. */
static const char *
find_scheme(const Saving *saving)
{
	const json_t *own = json_object_get(saving->json, "pre_tokenizer");
	bool is_nfc = has_type(json_object_get(saving->json, "normalizer"), "NFC");
	bool ignores =
		json_is_true(json_object_get(saving->model, "ignore_merges"));

	return gguf_scheme_find(own, is_nfc, ignores);
}

static bool
choose_kind(Saving *saving, const char **scheme, Failure *failure)
{
	static const char *const spaces[4] = {"Sequence", "Prepend", "Replace",
	                                      "Metaspace"};
	static const char *const forms[4] = {"Sequence", "NFC"};
	const char *type =
		json_string_value(json_object_get(saving->model, "type"));

	if (type != NULL && strcmp(type, "BPE") != 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "a tokenizer of type \"%s\" cannot be written as GGUF",
		            type);
	*scheme = "default";
	saving->is_llama =
		json_is_true(json_object_get(saving->model, "byte_fallback"));
	if (!has_only(json_object_get(saving->json, "normalizer"),
	              saving->is_llama ? spaces : forms))
		return fail(failure, FAILURE_UNSUPPORTED,
		            "GGUF has no name for the tokenizer's way of normalizing "
		            "texts");
	if (saving->is_llama)
		return has_only(json_object_get(saving->json, "pre_tokenizer"),
		                spaces) ||
		       fail(failure, FAILURE_UNSUPPORTED,
		            "GGUF has no name for the tokenizer's way of splitting "
		            "texts");
	*scheme = find_scheme(saving);
	return *scheme != NULL ||
	       fail(failure, FAILURE_UNSUPPORTED,
	            "GGUF has no name for the tokenizer's way of splitting texts");
}

/* ----------------------------------------------------------- the tokens */

static void
set_token(Saving *saving, int64_t id, const char *text, size_t length, int type)
{
	if (id < 0 || id >= saving->rows)
		return;
	saving->tokens[id] = (GgufText){text, length};
	saving->types[id] = type;
}

static bool
is_byte(const char *text)
{
	return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static bool
collect_tokens(Saving *saving, Failure *failure)
{
	json_t *added = json_object_get(saving->json, "added_tokens");
	json_t *vocabulary = json_object_get(saving->model, "vocab");
	const char *unknown =
		json_string_value(json_object_get(saving->model, "unk_token"));
	size_t rows = (size_t) saving->rows;
	const char *text;
	json_t *id;

	saving->tokens = arena_try(saving->arena, rows, sizeof(GgufText), failure);
	if (saving->tokens == NULL)
		return false;
	saving->types = arena_try(saving->arena, rows, sizeof(int32_t), failure);
	if (saving->types == NULL)
		return false;
	json_object_foreach(vocabulary, text, id) set_token(
		saving, json_integer_value(id), text, strlen(text),
		saving->is_llama && is_byte(text) ? TOKEN_BYTE : TOKEN_NORMAL);
	for (size_t i = 0; i < json_array_size(added); i++)
	{
		const json_t *one = json_array_get(added, i);
		const json_t *content = json_object_get(one, "content");
		bool is_special = json_is_true(json_object_get(one, "special"));

		set_token(saving, json_integer_value(json_object_get(one, "id")),
		          json_string_value(content), json_string_length(content),
		          is_special ? TOKEN_CONTROL : TOKEN_USER_DEFINED);
	}
	for (int i = 0; i < saving->rows; i++)
	{
		GgufText *token = &saving->tokens[i];

		if (token->text == NULL)
		{
			text = arena_printf(saving->arena, "[PAD%d]", i);
			set_token(saving, i, text, strlen(text), TOKEN_UNUSED);
		}
		else if (unknown != NULL && strlen(unknown) == token->length &&
		         memcmp(unknown, token->text, token->length) == 0)
			saving->types[i] = TOKEN_UNKNOWN;
	}
	return true;
}

/* The two halves of a merge, "a b" or ["a", "b"], as one text. */
static bool
merge_text(const Saving *saving, const json_t *merge, const char *between,
           GgufText *text)
{
	const char *whole = json_string_value(merge);
	const char *left = json_string_value(json_array_get(merge, 0));
	const char *right = json_string_value(json_array_get(merge, 1));
	const char *space;

	if (whole != NULL)
	{
		space = strchr(whole, ' ');
		if (space == NULL)
			return false;
		left = arena_strndup(saving->arena, whole, (size_t) (space - whole));
		right = space + 1;
	}
	if (left == NULL || right == NULL)
		return false;
	text->text = arena_printf(saving->arena, "%s%s%s", left, between, right);
	text->length = strlen(text->text);
	return true;
}

static bool
put_merges(const Saving *saving, Failure *failure)
{
	const json_t *merges = json_object_get(saving->model, "merges");
	size_t count = json_array_size(merges);
	GgufText *texts =
		arena_try(saving->arena, count, sizeof(GgufText), failure);

	for (size_t i = 0; texts != NULL && i < count; i++)
		if (!merge_text(saving, json_array_get(merges, i), " ", &texts[i]))
			return fail(failure, FAILURE_BAD_FILE, "merge %zu is no pair", i);
	if (texts != NULL)
		gguf_put_texts(saving->writer, "tokenizer.ggml.merges", texts, count);
	return texts != NULL;
}

/*
 * Scores in place of merges: the earlier the merge that gives a token, the
 * higher.  Tokens that no merge gives have a score below all others, and those
 * that are no part of merges 0.
 */
static bool
put_scores(const Saving *saving, Failure *failure)
{
	const json_t *merges = json_object_get(saving->model, "merges");
	const json_t *vocabulary = json_object_get(saving->model, "vocab");
	size_t count = json_array_size(merges);
	float *scores =
		arena_try(saving->arena, (size_t) saving->rows, sizeof(float), failure);

	if (scores == NULL)
		return false;
	for (int i = 0; i < saving->rows; i++)
		scores[i] = saving->types[i] == TOKEN_NORMAL ? -(float) (count + 1) : 0;
	for (size_t i = count; i-- > 0;)
	{
		GgufText text;
		const json_t *id;

		if (!merge_text(saving, json_array_get(merges, i), "", &text))
			return fail(failure, FAILURE_BAD_FILE, "merge %zu is no pair", i);
		id = json_object_get(vocabulary, text.text);
		if (json_is_integer(id) && json_integer_value(id) >= 0 &&
		    json_integer_value(id) < saving->rows)
			scores[json_integer_value(id)] = -(float) i;
	}
	gguf_put_f32s(saving->writer, "tokenizer.ggml.scores", scores,
	              (size_t) saving->rows);
	return true;
}

/* ------------------------------------------------------ special tokens */

/* The id of a text, or -1. */
static int
find_token(const Saving *saving, const char *text)
{
	for (int i = 0; text != NULL && i < saving->rows; i++)
		if (saving->tokens[i].length == strlen(text) &&
		    memcmp(saving->tokens[i].text, text, strlen(text)) == 0)
			return i;
	return -1;
}

/* A special token of tokenizer_config.json: a text, or an object with one. */
static const char *
special_text(const Saving *saving, const char *name)
{
	const json_t *value = json_object_get(saving->config, name);

	if (json_is_object(value))
		value = json_object_get(value, "content");
	return json_string_value(value);
}

static void
put_id(const Saving *saving, const char *name, int id)
{
	if (id >= 0 && id < saving->rows)
		gguf_put_u32(
			saving->writer,
			arena_printf(saving->arena, "tokenizer.ggml.%s_token_id", name),
			(uint32_t) id);
}

/* What the template puts around a text. */
static bool
put_template(const Saving *saving, int bos, int eos, Failure *failure)
{
	TokenList ids = {0};
	bool has_bos, has_eos;

	if (!tokenizer_encode(saving->tokenizer, saving->arena, "", 0, true, &ids,
	                      failure))
		return false;
	has_bos = ids.count > 0 && ids.ids[0] == bos;
	has_eos = ids.count > (has_bos ? 1 : 0) && ids.ids[ids.count - 1] == eos;
	if (ids.count > has_bos + has_eos)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "GGUF cannot say that texts get %d tokens of the "
		            "tokenizer's own",
		            ids.count);
	gguf_put_bool(saving->writer, "tokenizer.ggml.add_bos_token", has_bos);
	gguf_put_bool(saving->writer, "tokenizer.ggml.add_eos_token", has_eos);
	return true;
}

static bool
put_specials(const Saving *saving, const ModelConfig *config, Failure *failure)
{
	static const char *const ends[] = {"eot", "eom"};
	int bos = tokenizer_bos(saving->tokenizer);
	int unknown = find_token(saving, special_text(saving, "unk_token"));
	const char *template;
	size_t length;
	int used = 0;

	if (bos < 0)
		bos = config->bos;
	if (unknown < 0)
		unknown = find_token(saving, json_string_value(json_object_get(
										 saving->model, "unk_token")));
	put_id(saving, "bos", bos);
	put_id(saving, "eos", config->eos);
	put_id(saving, "unknown", unknown);
	put_id(saving, "padding",
	       find_token(saving, special_text(saving, "pad_token")));
	/* All that end a generation: GGUF has room for two more. */
	for (int i = 0; i < config->stops && used < 2; i++)
		if (config->stop[i] != config->eos)
			put_id(saving, ends[used++], config->stop[i]);
	template = chat_template(tokenizer_chat(saving->tokenizer), &length);
	if (template != NULL)
		gguf_put_text(saving->writer, "tokenizer.chat_template", template,
		              length);
	return put_template(saving, bos, config->eos, failure);
}

static bool
put_all(Saving *saving, const ModelConfig *config, Failure *failure)
{
	GgufWriter *writer = saving->writer;
	const char *scheme;

	if (!choose_kind(saving, &scheme, failure) ||
	    !collect_tokens(saving, failure))
		return false;
	gguf_put_text(writer, "tokenizer.ggml.model",
	              saving->is_llama ? "llama" : "gpt2",
	              saving->is_llama ? 5 : 4);
	gguf_put_text(writer, "tokenizer.ggml.pre", scheme, strlen(scheme));
	gguf_put_texts(writer, "tokenizer.ggml.tokens", saving->tokens,
	               (size_t) saving->rows);
	gguf_put_i32s(writer, "tokenizer.ggml.token_type", saving->types,
	              (size_t) saving->rows);
	if (saving->is_llama)
		gguf_put_bool(
			writer, "tokenizer.ggml.add_space_prefix",
			puts_space(json_object_get(saving->json, "normalizer")) ||
				puts_space(json_object_get(saving->json, "pre_tokenizer")));
	return (saving->is_llama ? put_scores(saving, failure)
	                         : put_merges(saving, failure)) &&
	       put_specials(saving, config, failure);
}

bool
gguf_put_tokenizer(GgufWriter *writer, Arena *arena, const Model *model,
                   Failure *failure)
{
	const char *path = model->tokenizer_directory;
	Saving saving = {.arena = arena,
	                 .writer = writer,
	                 .tokenizer = model->tokenizer,
	                 .rows = model->config.vocabulary};
	GgufFile *file;

	if (file_is_regular(path)) /* GGUF: as it is */
	{
		if (!gguf_open(arena, path, &file, failure))
			return false;
		gguf_put_entries(writer, file, "tokenizer.");
		return true;
	}
	if (!tokenizer_read_json(arena, path, &saving.json, &saving.config,
	                         failure))
		return false;
	saving.model = json_object_get(saving.json, "model");
	return put_all(&saving, &model->config, failure);
}
