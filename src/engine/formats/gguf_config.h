/*
 * gguf_config.h
 *		What a GGUF file's metadata say, in the words of a Hugging Face
 *		directory: config.json, tokenizer.json and tokenizer_config.json.
 *
 * So a model from a GGUF file is opened, and written again, in the way of all
 * others.
 */
#pragma once

#include "formats/gguf.h"
#include "formats/json.h"

/*
 * The config.json of llama (and Mistral, which comes as it), qwen2, qwen3,
 * gpt2 and gptneox; owned by arena.
 */
extern bool gguf_config(Arena *arena, const GgufFile *file, json_t **config,
                        Failure *failure);

/*
 * tokenizer.json and tokenizer_config.json (with the special tokens and the
 * chat template), owned by arena.  Vocabularies of SentencePiece have "scores"
 * in place of "merges": see text/models/scores.h.
 */
extern bool gguf_tokenizer(Arena *arena, const GgufFile *file,
                           json_t **tokenizer, json_t **config,
                           Failure *failure);

/*
 * The scheme of splitting texts of that name (tokenizer.ggml.pre), as the
 * pre_tokenizer of tokenizer.json: a new reference, or NULL.  What a file does
 * not say comes with the name: whether texts are normalized, and whether a
 * piece that is a token stays whole.
 */
extern json_t *gguf_pretokenizer(const char *name, bool *is_nfc,
                                 bool *ignores_merges);

/* The name of the scheme that splits texts as this pre_tokenizer does, best
 * one that is normalized alike; NULL: none. */
extern const char *gguf_scheme_find(const json_t *pretokenizer, bool is_nfc,
                                    bool ignores_merges);
