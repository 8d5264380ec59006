/*
 * gguf_save.h
 *		What model_save_gguf() is made of.
 */
#pragma once

#include "formats/gguf_write.h"
#include "model/layers.h"

/* Adds the tokenizer of the model: of GGUF as it is, of a directory as far as
 * GGUF can say what it does; else an error. */
extern bool gguf_put_tokenizer(GgufWriter *writer, Arena *arena,
                               const Model *model, Failure *failure);
