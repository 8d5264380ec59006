/*
 * tokenizer_open.c
 *		Reading a tokenizer from a directory.
 *
 * Ids are taken as the file has them; some may be missing, as long as the
 * table of all is not much larger than the tokens need.
 */
#include "text/tokenizer.h"

#include "base/file.h"
#include "text/bytes.h"
#include "text/old_files.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define MOST_TOKENS (1 << 28)

/* The highest id lies below this and twice the number of tokens. */
#define FREE_IDS 4096

/* A directory while it is being read. */
typedef struct Source
{
	Arena *scratch; /* of the files; with them: */
	const char *directory;
	const json_t *json; /* tokenizer.json */
	const json_t
		*settings[2]; /* tokenizer_config.json, special_tokens_map.json;
	                            * NULL where they are not there */
	AddedToken *added;
	int added_count;
} Source;

static const char *const special_names[] = {
	"bos_token", "eos_token", "unk_token",  "sep_token",
	"pad_token", "cls_token", "mask_token",
};

#define SPECIAL_NAMES ((int) (sizeof(special_names) / sizeof(special_names[0])))

static char *
path_of(const Source *source, const char *name)
{
	return arena_printf(source->scratch, "%s/%s", source->directory, name);
}

/* Reads the files that are there. */
static bool
read_files(Source *source, Failure *failure)
{
	static const char *const names[2] = {"tokenizer_config.json",
	                                     "special_tokens_map.json"};
	static const char *const pieces[2] = {"tokenizer.model", "spiece.model"};
	char *path = path_of(source, "tokenizer.json");
	json_t *json;

	for (int i = 0; i < 2; i++)
	{
		if (!file_exists(path_of(source, names[i])))
			continue;
		if (!json_open_file(source->scratch, path_of(source, names[i]),
		                    JSON_CONFIG_SIZE, &json, failure))
			return false;
		source->settings[i] = json;
	}
	if (file_exists(path))
	{
		if (!json_open_file(source->scratch, path, LARGEST_TOKENIZER_FILE,
		                    &json, failure))
			return false;
		source->json = json;
		return true;
	}
	if (!old_files_read(source->scratch, source->directory, source->settings,
	                    &source->json, failure))
		return false;
	if (source->json != NULL)
		return true;
	for (int i = 0; i < 2; i++)
		if (file_exists(path_of(source, pieces[i])))
			return fail(failure, FAILURE_UNSUPPORTED,
			            "\"%s\" has only %s: tokenizer.json, as "
			            "AutoTokenizer.save_pretrained() writes it, is needed",
			            source->directory, pieces[i]);
	return fail(failure, FAILURE_NOT_FOUND,
	            "\"%s\" has neither tokenizer.json nor vocab.json with "
	            "merges.txt nor vocab.txt",
	            source->directory);
}

static const AddedToken *
find_added(const Source *source, const char *content)
{
	for (int i = 0; i < source->added_count; i++)
		if (strcmp(source->added[i].content, content) == 0)
			return &source->added[i];
	return NULL;
}

/*
 * The id of a special token, or -1.  One that is only in the vocabulary
 * becomes an added token, as `transformers` does it; described: its settings,
 * or NULL.
 */
static int
special_id(Arena *arena, Source *source, const Vocabulary *vocabulary,
           const char *content, const json_t *described)
{
	const AddedToken *known;
	int32_t id;

	if (content == NULL)
		return -1;
	known = find_added(source, content);
	if (known != NULL)
		return known->id;
	id = vocabulary_find(vocabulary, content, strlen(content));
	if (id >= 0)
		source->added[source->added_count++] = (AddedToken){
			.content = arena_strdup(arena, content),
			.length = strlen(content),
			.id = id,
			.single_word =
				json_is_true(json_object_get(described, "single_word")),
			.lstrip = json_is_true(json_object_get(described, "lstrip")),
			.rstrip = json_is_true(json_object_get(described, "rstrip")),
			.normalized =
				json_is_true(json_object_get(described, "normalized")),
			.special = true};
	return id;
}

/*
 * Finds the special tokens.  Where no file names an end or a beginning, those
 * of the two families that go without are taken.
 */
static void
find_specials(Arena *arena, Source *source, Tokenizer *tokenizer)
{
	static const char *const ends[] = {"<|endoftext|>", "</s>"};
	static const char *const beginnings[] = {"<|endoftext|>", "<s>"};
	const Vocabulary *vocabulary = tokenizer->model.vocabulary;
	int ids[SPECIAL_NAMES];
	bool said = false;

	for (int i = 0; i < SPECIAL_NAMES; i++)
	{
		const json_t *setting =
			special_setting(source->settings, special_names[i]);

		said |= i < 2 && setting != NULL;
		ids[i] = special_id(arena, source, vocabulary,
		                    special_content(source->settings, special_names[i]),
		                    setting);
	}
	tokenizer->bos = ids[0];
	tokenizer->eos = ids[1];
	for (int i = 0; i < 2 && !said && tokenizer->eos < 0; i++)
	{
		tokenizer->eos = special_id(arena, source, vocabulary, ends[i], NULL);
		if (tokenizer->eos >= 0)
			tokenizer->bos =
				special_id(arena, source, vocabulary, beginnings[i], NULL);
	}
}

/* Puts an added token into the tables. */
static bool
place_added(Tokenizer *tokenizer, const AddedToken *token, Failure *failure)
{
	int32_t known = vocabulary_find(tokenizer->model.vocabulary, token->content,
	                                token->length);
	TokenText *text;

	if (known >= 0 && known != token->id)
		return fail(failure, FAILURE_BAD_FILE,
		            "added token \"%s\" has id %d, but %d in the vocabulary",
		            token->content, token->id, known);
	if (token->id >= vocabulary_limit(tokenizer->model.vocabulary))
		return fail(failure, FAILURE_BAD_FILE,
		            "id %d of added token \"%s\" is not below %d, far above "
		            "the number of tokens",
		            token->id, token->content,
		            vocabulary_limit(tokenizer->model.vocabulary));
	text = &tokenizer->texts[token->id];
	if (text->text != NULL && strcmp(text->text, token->content) != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "tokens \"%s\" and \"%s\" have the same id %d", text->text,
		            token->content, token->id);
	*text = (TokenText){token->content, token->length};
	tokenizer->is_special[token->id] = token->special;
	return true;
}

/* By content, then by id. */
static int
compare_added(const void *a, const void *b)
{
	const AddedToken *left = *(const AddedToken *const *) a;
	const AddedToken *right = *(const AddedToken *const *) b;
	int order = strcmp(left->content, right->content);

	return order != 0 ? order : (left->id > right->id) - (left->id < right->id);
}

/* No content may have two ids. */
static bool
check_repeated(const Source *source, Failure *failure)
{
	size_t count = (size_t) source->added_count;
	Arena *scratch = arena_create();
	const AddedToken **sorted =
		arena_try(scratch, count, sizeof(*sorted), failure);
	bool done = sorted != NULL;

	for (size_t i = 0; done && i < count; i++)
		sorted[i] = &source->added[i];
	if (done && count > 1)
		qsort(sorted, count, sizeof(*sorted), compare_added);
	for (size_t i = 1; done && i < count; i++)
		if (sorted[i - 1]->id != sorted[i]->id &&
		    strcmp(sorted[i - 1]->content, sorted[i]->content) == 0)
			done = fail(failure, FAILURE_BAD_FILE,
			            "added token \"%s\" has the ids %d and %d",
			            sorted[i]->content, sorted[i - 1]->id, sorted[i]->id);
	arena_destroy(scratch);
	return done;
}

/* The tables by id: texts (none where no token has the id) and special. */
static bool
fill_texts(Arena *arena, const Source *source, Tokenizer *tokenizer,
           Failure *failure)
{
	const Vocabulary *vocabulary = tokenizer->model.vocabulary;
	size_t size = (size_t) vocabulary_limit(vocabulary);

	tokenizer->texts = arena_try(arena, size, sizeof(TokenText), failure);
	if (tokenizer->texts == NULL)
		return false;
	tokenizer->is_special = arena_try(arena, size, sizeof(bool), failure);
	if (tokenizer->is_special == NULL || !check_repeated(source, failure))
		return false;
	for (int id = 0; id < (int) size; id++)
		tokenizer->texts[id].text =
			vocabulary_text(vocabulary, id, &tokenizer->texts[id].length);
	for (int i = 0; i < source->added_count; i++)
		if (!place_added(tokenizer, &source->added[i], failure))
			return false;
	for (int id = 0; id < (int) size; id++)
		if (tokenizer->texts[id].text != NULL)
			tokenizer->size = id + 1;
	return true;
}

/*
 * Tokens that are looked for in normalized text are decoded to normalized
 * text: "NORMAL" becomes "normal" where a tokenizer knows no capitals.  The
 * library then no longer knows that it is special.
 */
static bool
normalize_texts(Arena *arena, const Source *source, Tokenizer *tokenizer,
                Failure *failure)
{
	for (int i = 0; i < source->added_count; i++)
	{
		const AddedToken *token = &source->added[i];
		TokenText *text = &tokenizer->texts[token->id];

		if (!token->normalized)
			continue;
		if (!normalizer_run(tokenizer->normalizer, arena, false, &text->text,
		                    &text->length, failure))
			return false;
		if (text->length != token->length ||
		    memcmp(text->text, token->content, token->length) != 0)
			tokenizer->is_special[token->id] = false;
	}
	return true;
}

/* The table by id: bytes. */
static bool
fill_bytes(Arena *arena, Tokenizer *tokenizer, Failure *failure)
{
	bool joins = decoder_joins_bytes(tokenizer->decoder);
	TextBuffer buffer;
	size_t at = 0;

	tokenizer->bytes =
		arena_try(arena, (size_t) tokenizer->size, sizeof(TokenText), failure);
	if (tokenizer->bytes == NULL)
		return false;
	buffer_start(&buffer, arena, failure);
	for (int id = 0; id < tokenizer->size; id++)
	{
		const TokenText *token = &tokenizer->texts[id];
		size_t before = buffer.length;

		if (token->text == NULL)
			continue;
		if (!joins)
		{
			if (!decoder_token_bytes(tokenizer->decoder, token, &buffer,
			                         failure))
				return false;
		}
		else if (buffer_reserve(&buffer, token->length))
			buffer.length += bytes_read(buffer.data + buffer.length,
			                            token->text, token->length);
		tokenizer->bytes[id].length = buffer.length - before;
	}

	/* The buffer has moved while it grew, so pointers come last. */
	for (int id = 0; id < tokenizer->size; id++)
	{
		tokenizer->bytes[id].text = buffer.data == NULL ? "" : buffer.data + at;
		at += tokenizer->bytes[id].length;
	}
	return !buffer.failed;
}

/* Reads the model, whose vocabulary the other parts refer to. */
static bool
open_model(Arena *arena, const Source *source, TextModel *model,
           Failure *failure)
{
	const json_t *json = json_object_get(source->json, "model");
	const json_t *vocabulary = json_object_get(json, "vocab");
	size_t most = json_object_size(vocabulary) + json_array_size(vocabulary) +
	              (size_t) source->added_count;

	if (!json_is_object(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "tokenizer.json has %s for a model", json_type_name(json));

	if (most > MOST_TOKENS)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "the tokenizer has %zu tokens, more than %d", most,
		            MOST_TOKENS);
	return text_model_open(arena, json, (int) most * 2 + FREE_IDS, model,
	                       failure);
}

static bool
read_added(Arena *arena, Source *source, Failure *failure)
{
	const json_t *json = json_member(source->json, "added_tokens");
	AddedToken *tokens;

	if (json != NULL && !json_is_array(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"added_tokens\" must be an array, not %s",
		            json_type_name(json));
	if (!added_tokens_read(arena, json, &tokens, &source->added_count, failure))
		return false;

	/* With room for the special tokens that are only in the vocabulary. */
	source->added =
		arena_try(arena, (size_t) source->added_count + SPECIAL_NAMES + 4,
	              sizeof(AddedToken), failure);
	if (source->added == NULL)
		return false;
	memcpy(source->added, tokens,
	       (size_t) source->added_count * sizeof(AddedToken));
	return true;
}

/*
 * Whether "model_input_names" lists the types of tokens.  Without that member
 * the class decides: of those without a family of their own, none gives types.
 */
static bool
gives_types(const json_t *settings)
{
	const json_t *names = json_object_get(settings, "model_input_names");
	const char *class =
		json_string_value(json_object_get(settings, "tokenizer_class"));
	size_t i;
	json_t *name;

	if (!json_is_array(names))
		return class == NULL || (strcmp(class, "TokenizersBackend") != 0 &&
		                         strcmp(class, "PreTrainedTokenizerFast") != 0);
	json_array_foreach((json_t *) names, i, name)
	{
		const char *text = json_string_value(name);

		if (text != NULL && strcmp(text, "token_type_ids") == 0)
			return true;
	}
	return false;
}

static bool
open_parts(Arena *arena, Source *source, Tokenizer *tokenizer, Failure *failure)
{
	const json_t *json = source->json;

	if (!json_is_object(json))
		return fail(failure, FAILURE_BAD_FILE,
		            "tokenizer.json is %s, not an object",
		            json_type_name(json));
	if (!read_added(arena, source, failure) ||
	    !open_model(arena, source, &tokenizer->model, failure))
		return false;
	find_specials(arena, source, tokenizer);
	tokenizer->gives_types = gives_types(source->settings[0]);
	return fill_texts(arena, source, tokenizer, failure) &&
	       normalizer_open(arena, json_object_get(json, "normalizer"),
	                       &tokenizer->normalizer, failure) &&
	       pretokenizer_open(arena, json_object_get(json, "pre_tokenizer"),
	                         &tokenizer->pretokenizer, failure) &&
	       added_tokens_open(arena, source->added, source->added_count,
	                         tokenizer->normalizer, &tokenizer->added,
	                         failure) &&
	       template_open(arena, json_object_get(json, "post_processor"),
	                     tokenizer->size, &tokenizer->template, failure) &&
	       decoder_open(arena, json_object_get(json, "decoder"),
	                    &tokenizer->decoder, failure) &&
	       normalize_texts(arena, source, tokenizer, failure) &&
	       fill_bytes(arena, tokenizer, failure) &&
	       chat_open(arena, source->directory, source->settings,
	                 &tokenizer->chat, failure);
}

bool
tokenizer_open_json(Arena *arena, const json_t *json, const json_t *config,
                    Tokenizer **tokenizer, Failure *failure)
{
	Source source = {.json = json, .settings = {config}};

	*tokenizer = arena_alloc(arena, sizeof(Tokenizer));
	return open_parts(arena, &source, *tokenizer, failure);
}

bool
tokenizer_open(Arena *arena, const char *directory, Tokenizer **tokenizer,
               Failure *failure)
{
	Source source = {.scratch = arena_create(), .directory = directory};
	bool done;

	*tokenizer = arena_alloc(arena, sizeof(Tokenizer));
	done = read_files(&source, failure) &&
	       open_parts(arena, &source, *tokenizer, failure);
	arena_destroy(source.scratch);
	return done ||
	       fail_while(failure, "reading the tokenizer in \"%s\"", directory);
}

bool
tokenizer_read_json(Arena *arena, const char *directory, const json_t **json,
                    const json_t **config, Failure *failure)
{
	Source source = {.scratch = arena, .directory = directory};

	if (!read_files(&source, failure))
		return fail_while(failure, "reading the tokenizer in \"%s\"",
		                  directory);
	*json = source.json;
	*config = source.settings[0];
	return true;
}
