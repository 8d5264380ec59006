/*
 * gguf_weights.h
 *		Weights of a Hugging Face model in a GGUF file: their names and the
 *		order of their rows there.
 */
#pragma once

#include "formats/gguf.h"
#include "model/files/forms.h"
#include "model/model.h"

/* GGUF's name of a weight: of "model.layers.1.mlp.up_proj.weight" it is
 * "blk.1.ffn_up.weight".  NULL where there is none. */
extern const char *gguf_weight_name(Arena *arena, const ModelConfig *config,
                                    const char *name);

/*
 * The rows of some weights are [head][part][n] in Hugging Face's order.  In
 * the file they are [head][n][part] (queries and keys of LLaMA, whose two
 * parts are the halves that rotate) or [part][head][n] (queries, keys and
 * values of GPT-NeoX).
 */
typedef struct RowOrder
{
	int heads; /* 0: the same order in both */
	int parts;
	bool parts_first; /* in the file */
} RowOrder;

/* By GGUF's name of the weight. */
extern RowOrder gguf_row_order(const ModelConfig *config, const char *name);

/* Where row `row` of `rows`, a multiple of heads times parts, lies in the
 * file. */
extern int64_t gguf_row(const RowOrder *order, int64_t rows, int64_t row);

/*
 * The weights of these (Hugging Face) names, which must be there; of a name
 * that is NULL there is none.  Their data lies in the file, or, where rows are
 * reordered, in a form or in arena, as it was stored.
 * Linear weights are [outputs, inputs] for all architectures, GPT-2 too.
 */
extern bool gguf_weights_open(Arena *arena, const GgufFile *file,
                              const ModelConfig *config, Forms *forms,
                              int count, const char *const *names,
                              const StoredTensor **weights, Failure *failure);
