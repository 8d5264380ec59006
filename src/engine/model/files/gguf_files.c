/*
 * gguf_files.c
 *		Tokenizers of GGUF files.
 */
#include "model/files/gguf_files.h"

#include "base/file.h"
#include "formats/gguf_config.h"
#include "text/models/scores.h"

bool
gguf_tokenizer_open(Arena *arena, const char *path, Tokenizer **tokenizer,
                    Failure *failure)
{
	Arena *scratch;
	GgufFile *file;
	json_t *json;
	json_t *config;
	bool done;

	if (!file_is_regular(path))
		return tokenizer_open(arena, path, tokenizer, failure);
	scratch = arena_create();
	done = gguf_open(scratch, path, &file, failure) &&
	       gguf_tokenizer(scratch, file, &json, &config, failure) &&
	       tokenizer_open_json(arena, json, config, tokenizer, failure);
	arena_destroy(scratch);
	return done;
}

/* tokenizer.json has merges, not scores. */
static bool
replace_scores(Arena *arena, json_t *tokenizer, Failure *failure)
{
	json_t *model = json_object_get(tokenizer, "model");
	json_t *scores = json_object_get(model, "scores");
	json_t *merges;

	if (scores == NULL)
		return true;
	if (!bpe_merges_from_scores(arena, json_object_get(model, "vocab"), scores,
	                            &merges, failure))
		return false;
	json_object_set(model, "merges", merges);
	json_object_del(model, "scores");
	return true;
}

/* The library `tokenizers` takes the id of an added token from the vocabulary;
 * one that is not there it numbers anew, behind all others. */
static void
list_added(json_t *tokenizer)
{
	json_t *vocabulary =
		json_object_get(json_object_get(tokenizer, "model"), "vocab");
	size_t i;
	json_t *token;

	json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, token)
	{
		const char *content =
			json_string_value(json_object_get(token, "content"));

		if (json_object_get(vocabulary, content) == NULL)
			json_object_set(vocabulary, content, json_object_get(token, "id"));
	}
}

bool
gguf_tokenizer_save(const char *path, const char *directory, Failure *failure)
{
	Arena *arena = arena_create();
	GgufFile *file;
	json_t *json;
	json_t *config;
	bool done = gguf_open(arena, path, &file, failure) &&
	            gguf_tokenizer(arena, file, &json, &config, failure) &&
	            replace_scores(arena, json, failure);

	if (done)
		list_added(json);
	done =
		done &&
		json_write_file(json,
	                    arena_printf(arena, "%s/tokenizer.json", directory),
	                    failure) &&
		json_write_file(
			config, arena_printf(arena, "%s/tokenizer_config.json", directory),
			failure);
	arena_destroy(arena);
	return done;
}
