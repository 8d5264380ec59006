/*
 * gguf_files.h
 *		Tokenizers of GGUF files: opened, and written as a Hugging Face
 *		directory has them.
 */
#pragma once

#include "text/tokenizer.h"

/* Opens the tokenizer of a directory or, where path is a file, of GGUF. */
extern bool gguf_tokenizer_open(Arena *arena, const char *path,
                                Tokenizer **tokenizer, Failure *failure);

/* Writes tokenizer.json and tokenizer_config.json of the GGUF file at path
 * into directory. */
extern bool gguf_tokenizer_save(const char *path, const char *directory,
                                Failure *failure);
