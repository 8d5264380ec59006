/*
 * lora.h
 *		Low-rank adapters: a model whose linear maps are W + scale B A.
 *
 * As in LoRA (arXiv 2106.09685) and PEFT: y = W x + b + scale B (A dropout(x)),
 * with A [rank, inputs], B [outputs, rank], and scale = alpha / rank, or
 * alpha / sqrt(rank) with rsLoRA (arXiv 2312.03732).  The weights below are
 * frozen; training changes A and B alone, and all that model.h says of a
 * trainable model's state is of them.
 *
 * An adapter is a model like any other: it shares everything of its base but
 * A and B, so that one base in memory serves several.
 */
#pragma once

#include "model/model.h"

#include <jansson.h>

#define LORA_RANK_MAX 65536

/* A new adapter, or how one goes on learning. */
struct LoraOptions
{
	int rank; /* at least 1 */
	double alpha;
	double dropout; /* of the input, [0, 1): in training only */
	bool rslora;
	const json_t *targets; /* a list of names or a text, as PEFT's
	                        * target_modules; NULL: "all-linear" */
	uint64_t seed;         /* of A's first values; B starts at 0 */
};

/* What an open adapter is like. */
typedef struct AdapterView
{
	const char *directory; /* NULL: a new one */
	int rank;              /* that of most maps */
	double alpha;
	bool rslora;
	const json_t *targets; /* as PEFT's target_modules */
} AdapterView;

/* True when the directory holds a PEFT adapter. */
extern bool adapter_is_at(const char *directory);

/*
 * Opens a PEFT directory (adapter_config.json, adapter_model.safetensors) over
 * base, which must outlive it and is not an adapter itself.  Every tensor is
 * checked against the base; what would change more than linear maps is
 * refused.  The model lives in arena.
 */
extern bool adapter_open(Arena *arena, Model *base, const char *directory,
                         Model **model, Failure *failure);

/* False when the model is not an adapter. */
extern bool adapter_view(const Model *model, AdapterView *view);

/*
 * Writes the adapter as PEFT does, in fp32: with these weights (laid out as
 * MODEL_WEIGHTS), or where they are NULL with those it has now.  model_save()
 * writes the base with the adapter merged in.
 */
extern bool adapter_save(Model *model, const float *weights,
                         const char *directory, Failure *failure);
