/*
 * old_files.c
 *		Turning the files of older directories into what tokenizer.json would
 *		say, so that there is one way on.
 */
#include "text/old_files.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* A directory while it is being read. */
typedef struct OldFiles
{
	Arena *arena;
	const char *directory;
	const json_t *const *settings; /* [2] */
	Failure *failure;
} OldFiles;

static char *
path_of(const OldFiles *files, const char *name)
{
	return arena_printf(files->arena, "%s/%s", files->directory, name);
}

static bool
has_file(const OldFiles *files, const char *name)
{
	return file_exists(path_of(files, name));
}

/* A text file with no zero byte in it. */
static char *
read_lines(const OldFiles *files, const char *name)
{
	size_t size;
	char *path = path_of(files, name);
	char *text = file_read(files->arena, path, LARGEST_TOKENIZER_FILE, &size,
	                       files->failure);

	if (text != NULL && strlen(text) != size)
	{
		fail(files->failure, FAILURE_BAD_FILE, "\"%s\" has a zero byte", path);
		return NULL;
	}
	return text;
}

/* The next line of *rest, without its end; NULL behind the last. */
static char *
next_line(char **rest)
{
	char *line;
	size_t length;

	if (*rest == NULL || **rest == '\0')
		return NULL;
	line = strsep(rest, "\n");
	length = strlen(line);
	if (length > 0 && line[length - 1] == '\r')
		line[length - 1] = '\0';
	return line;
}

static void
release(void *json)
{
	json_decref(json);
}

/* A new value that lives as long as the arena. */
static json_t *
own(const OldFiles *files, json_t *json)
{
	if (json == NULL)
		fail(files->failure, FAILURE_OUT_OF_MEMORY,
		     "cannot read the tokenizer's files");
	else
		arena_on_destroy(files->arena, release, json);
	return json;
}

const json_t *
special_setting(const json_t *const settings[2], const char *name)
{
	const json_t *value = json_object_get(settings[0], name);

	return value != NULL ? value : json_object_get(settings[1], name);
}

const char *
special_content(const json_t *const settings[2], const char *name)
{
	const json_t *value = special_setting(settings, name);

	return json_string_value(
		json_is_object(value) ? json_object_get(value, "content") : value);
}

/* The merges of merges.txt as an array of strings. */
static bool
read_merges(const OldFiles *files, json_t *merges)
{
	char *rest = read_lines(files, "merges.txt");
	char *line;

	if (rest == NULL)
		return false;
	while ((line = next_line(&rest)) != NULL)
	{
		if (line[0] == '\0' || strncmp(line, "#version", 8) == 0)
			continue;
		if (json_array_append_new(merges, json_string(line)) != 0)
			return fail(files->failure, FAILURE_BAD_FILE,
			            "merge %zu of \"%s/merges.txt\" is not valid UTF-8",
			            json_array_size(merges), files->directory);
	}
	return true;
}

/* The lines of vocab.txt, each a token, as an object. */
static bool
read_vocabulary(const OldFiles *files, json_t *vocabulary)
{
	char *rest = read_lines(files, "vocab.txt");
	json_int_t number = 0;
	char *line;

	if (rest == NULL)
		return false;
	for (; (line = next_line(&rest)) != NULL; number++)
	{
		const json_t *before = json_object_get(vocabulary, line);

		if (before != NULL)
			return fail(files->failure, FAILURE_BAD_FILE,
			            "token \"%s\" is on line %lld and on line %lld of "
			            "\"%s/vocab.txt\"",
			            line, json_integer_value(before) + 1, number + 1,
			            files->directory);
		if (json_object_set_new(vocabulary, line, json_integer(number)) != 0)
			return fail(files->failure, FAILURE_BAD_FILE,
			            "line %lld of \"%s/vocab.txt\" is not valid UTF-8",
			            number + 1, files->directory);
	}
	return true;
}

/* Whether a setting, a text or an object with "content", is of this token. */
static bool
is_about(const json_t *setting, const char *content)
{
	const json_t *text =
		json_is_object(setting) ? json_object_get(setting, "content") : setting;

	return json_is_string(text) &&
	       strcmp(json_string_value(text), content) == 0;
}

/* The setting that makes a token special, or NULL: any "..._token", or one of
 * "additional_special_tokens". */
static const json_t *
find_setting(const OldFiles *files, const char *content)
{
	for (int i = 0; i < 2; i++)
	{
		json_t *settings = (json_t *) files->settings[i];
		const char *key;
		json_t *value;
		size_t j;

		json_object_foreach(settings, key, value)
		{
			size_t length = strlen(key);

			if (length > 6 && strcmp(key + length - 6, "_token") == 0 &&
			    is_about(value, content))
				return value;
		}
		json_array_foreach(
			json_object_get(settings, "additional_special_tokens"), j,
			value) if (is_about(value, content)) return value;
	}
	return NULL;
}

/* The tokens of "added_tokens_decoder" in the settings, by their ids. */
static bool
read_decoder(const OldFiles *files, const json_t *tokens, json_t *added)
{
	const char *id;
	json_t *token;

	json_object_foreach((json_t *) tokens, id, token)
	{
		json_t *copy = json_copy(token);
		char *end;
		long long number = strtoll(id, &end, 10);

		if (!json_is_object(copy) || *end != '\0')
		{
			json_decref(copy);
			return fail(files->failure, FAILURE_BAD_FILE,
			            "added_tokens_decoder has \"%s\", which is not an id "
			            "with its token",
			            id);
		}
		json_object_set_new(copy, "id", json_integer(number));
		json_array_append_new(added, copy);
	}
	return true;
}

/* The added tokens, if the directory names any, as an array: older ones do so
 * in added_tokens.json. */
static bool
read_added(const OldFiles *files, json_t *added)
{
	const json_t *decoder =
		json_object_get(files->settings[0], "added_tokens_decoder");
	json_t *tokens;
	const char *content;
	json_t *id;

	if (json_is_object(decoder))
		return read_decoder(files, decoder, added);
	if (!has_file(files, "added_tokens.json"))
		return true;
	if (!json_open_file(files->arena, path_of(files, "added_tokens.json"),
	                    JSON_CONFIG_SIZE, &tokens, files->failure))
		return false;
	json_object_foreach(tokens, content, id)
	{
		const json_t *setting = find_setting(files, content);
		json_t *token = json_pack("{sssOsbsb}", "content", content, "id", id,
		                          "special", setting != NULL, "normalized", 0);

		if (json_is_object(setting))
			json_object_update_missing(token, (json_t *) setting);
		json_array_append_new(added, token);
	}
	return true;
}

/* [CLS] A [SEP] and the like, by a classic post-processor. */
static json_t *
processor(const char *type, const json_t *vocabulary, const char *cls,
          const char *sep)
{
	return json_pack("{sss[sO]s[sO]}", "type", type, "cls", cls,
	                 json_object_get(vocabulary, cls), "sep", sep,
	                 json_object_get(vocabulary, sep));
}

/* What the special tokens of a family are where the settings do not say. */
typedef const char *SpecialNames[5];

static const SpecialNames bert_names = {"[UNK]", "[CLS]", "[SEP]", "[PAD]",
                                        "[MASK]"};
static const SpecialNames roberta_names = {"<unk>", "<s>", "</s>", "<pad>",
                                           "<mask>"};

static bool
has_token(const json_t *added, const char *content)
{
	size_t i;
	json_t *token;

	json_array_foreach((json_t *) added, i,
	                   token) if (is_about(token, content)) return true;
	return false;
}

/* Adds a family's special tokens, as the settings call them or by their usual
 * names; contents gets what they are. */
static bool
add_specials(const OldFiles *files, const json_t *vocabulary,
             const SpecialNames usual, json_t *added, SpecialNames contents)
{
	static const SpecialNames roles = {"unk_token", "cls_token", "sep_token",
	                                   "pad_token", "mask_token"};

	for (int i = 0; i < 5; i++)
	{
		const json_t *setting = special_setting(files->settings, roles[i]);
		const char *content = special_content(files->settings, roles[i]);
		json_t *token;
		json_t *id;

		contents[i] = content == NULL ? usual[i] : content;
		id = json_object_get(vocabulary, contents[i]);
		if (id == NULL && i < 3)
			return fail(files->failure, FAILURE_BAD_FILE,
			            "the vocabulary in \"%s\" has no token \"%s\"",
			            files->directory, contents[i]);
		if (id == NULL || has_token(added, contents[i]))
			continue;
		token = json_pack("{sssOsb}", "content", contents[i], "id", id,
		                  "special", 1);
		if (json_is_object(setting))
			json_object_update_missing(token, (json_t *) setting);
		json_array_append_new(added, token);
	}
	return true;
}

/* Whether these are a RoBERTa's files: as tokenizer_config.json says, or else
 * config.json. */
static bool
is_roberta(const OldFiles *files)
{
	const char *class = json_string_value(
		json_object_get(files->settings[0], "tokenizer_class"));
	Failure ignored = {0};
	const char *type;
	json_t *config;

	if (class != NULL)
		return strncmp(class, "RobertaTokenizer", 16) == 0;
	if (!has_file(files, "config.json") ||
	    !json_open_file(files->arena, path_of(files, "config.json"),
	                    JSON_CONFIG_SIZE, &config, &ignored))
		return false;
	type = json_string_value(json_object_get(config, "model_type"));
	return type != NULL && strcmp(type, "roberta") == 0;
}

/* A template that puts the beginning of text before texts; NULL where the
 * vocabulary has none. */
static json_t *
bos_processor(const OldFiles *files, const json_t *vocabulary)
{
	const char *bos = special_content(files->settings, "bos_token");
	const char *name = bos == NULL ? "<|endoftext|>" : bos;
	json_t *id = json_object_get(vocabulary, name);
	json_t *single;

	if (id == NULL)
		return NULL;
	single = json_pack("[{s{sssi}}{s{sssi}}]", "SpecialToken", "id", name,
	                   "type_id", 0, "Sequence", "id", "A", "type_id", 0);
	return json_pack("{sssos[{s{sssi}}{s{sssi}}{s{sssi}}{s{sssi}}]s{s{s[O]}}}",
	                 "type", "TemplateProcessing", "single", single, "pair",
	                 "SpecialToken", "id", name, "type_id", 0, "Sequence", "id",
	                 "A", "type_id", 0, "SpecialToken", "id", name, "type_id",
	                 1, "Sequence", "id", "B", "type_id", 1, "special_tokens",
	                 name, "ids", id);
}

/* What stands around the texts of a byte-level BPE: with a CLS and a SEP it is
 * RoBERTa's.  *around is NULL for nothing. */
static bool
read_around(const OldFiles *files, const json_t *vocabulary, json_t *added,
            json_t **around)
{
	const char *cls = special_content(files->settings, "cls_token");
	const char *sep = special_content(files->settings, "sep_token");
	SpecialNames contents;
	bool adds_bos;

	*around = NULL;
	if (!json_get_bool(files->settings[0], "add_bos_token", false, &adds_bos,
	                   files->failure))
		return false;
	if (is_roberta(files))
	{
		if (!add_specials(files, vocabulary, roberta_names, added, contents))
			return false;
		*around = processor("RobertaProcessing", vocabulary, contents[1],
		                    contents[2]);
	}
	else if (cls != NULL && sep != NULL &&
	         json_object_get(vocabulary, cls) != NULL &&
	         json_object_get(vocabulary, sep) != NULL)
		*around = processor("RobertaProcessing", vocabulary, cls, sep);
	else if (adds_bos)
		*around = bos_processor(files, vocabulary);
	return true;
}

/* The byte-level BPE of GPT-2 and RoBERTa. */
static json_t *
read_byte_level(const OldFiles *files)
{
	json_t *merges = own(files, json_array());
	json_t *added = own(files, json_array());
	json_t *around;
	json_t *vocabulary;
	bool prefix;

	if (!json_get_bool(files->settings[0], "add_prefix_space", false, &prefix,
	                   files->failure) ||
	    !json_open_file(files->arena, path_of(files, "vocab.json"),
	                    LARGEST_TOKENIZER_FILE, &vocabulary, files->failure) ||
	    !read_merges(files, merges) || !read_added(files, added) ||
	    !read_around(files, vocabulary, added, &around))
		return NULL;
	return own(files,
	           json_pack("{sOs{sssb}so*s{ss}s{sssOsO}}", "added_tokens", added,
	                     "pre_tokenizer", "type", "ByteLevel",
	                     "add_prefix_space", (int) prefix, "post_processor",
	                     around, "decoder", "type", "ByteLevel", "model",
	                     "type", "BPE", "vocab", vocabulary, "merges", merges));
}

/* BERT's WordPiece. */
static json_t *
read_bert(const OldFiles *files)
{
	const json_t *settings = files->settings[0];
	json_t *vocabulary = own(files, json_object());
	json_t *added = own(files, json_array());
	SpecialNames contents;
	bool lowers;
	bool parts_chinese;
	bool strips_accents;

	if (!json_get_bool(settings, "do_lower_case", true, &lowers,
	                   files->failure) ||
	    !json_get_bool(settings, "tokenize_chinese_chars", true, &parts_chinese,
	                   files->failure) ||
	    !json_get_bool(settings, "strip_accents", lowers, &strips_accents,
	                   files->failure) ||
	    !read_vocabulary(files, vocabulary) || !read_added(files, added) ||
	    !add_specials(files, vocabulary, bert_names, added, contents))
		return NULL;
	return own(
		files,
		json_pack(
			"{sOs{sssbsbsbsb}s{ss}sos{ss}s{sssssO}}", "added_tokens", added,
			"normalizer", "type", "BertNormalizer", "clean_text", 1,
			"handle_chinese_chars", (int) parts_chinese, "strip_accents",
			(int) strips_accents, "lowercase", (int) lowers, "pre_tokenizer",
			"type", "BertPreTokenizer", "post_processor",
			processor("BertProcessing", vocabulary, contents[1], contents[2]),
			"decoder", "type", "WordPiece", "model", "type", "WordPiece",
			"unk_token", contents[0], "vocab", vocabulary));
}

bool
old_files_read(Arena *arena, const char *directory,
               const json_t *const settings[2], const json_t **json,
               Failure *failure)
{
	OldFiles files = {arena, directory, settings, failure};

	*json = NULL;
	if (has_file(&files, "vocab.json") && has_file(&files, "merges.txt"))
		*json = read_byte_level(&files);
	else if (has_file(&files, "vocab.txt"))
		*json = read_bert(&files);
	else
		return true;
	return *json != NULL;
}
