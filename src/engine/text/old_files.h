/*
 * old_files.h
 *		Directories older than tokenizer.json: vocab.json with merges.txt (GPT-2
 *		and RoBERTa), or vocab.txt (BERT).
 */
#pragma once

#include "formats/json.h"

/* Lines and values of a tokenizer file are read up to here. */
#define LARGEST_TOKENIZER_FILE ((size_t) 256 << 20)

/*
 * What tokenizer.json would say, owned by arena; *json is NULL where there are
 * no such files.  settings: tokenizer_config.json and special_tokens_map.json,
 * each or NULL.
 */
extern bool old_files_read(Arena *arena, const char *directory,
                           const json_t *const settings[2], const json_t **json,
                           Failure *failure);

/* What the settings say of a special token: its text, null, or an object with
 * "content" and the keys of an added token; NULL if they say nothing. */
extern const json_t *special_setting(const json_t *const settings[2],
                                     const char *name);

/* Its text, or NULL. */
extern const char *special_content(const json_t *const settings[2],
                                   const char *name);
