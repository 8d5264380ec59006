/*
 * classify.h
 *		What a classifier says of texts, or of prompts and responses.
 */
#pragma once

#include "model/model.h"

/* A response and perhaps the prompt before it; borrowed. */
typedef struct TextPair
{
	const char *prompt; /* NULL: the response alone */
	size_t prompt_length;
	const char *response;
	size_t response_length;
} TextPair;

/*
 * The tokens and types of a pair, appended to lists that start with zeros and
 * grow in arena; at most as many as the model's context, the longest text cut
 * first.  An encoder reads both texts by the tokenizer's template for pairs (a
 * prompt with an empty response is a single text), a decoder reads them as
 * one.
 */
extern bool classify_encode(const Model *model, Arena *arena,
                            const TextPair *pair, TokenList *ids,
                            TokenList *types, Failure *failure);

/*
 * Raw outputs of count pairs: logits[i], in arena, has model_labels() of them;
 * NULL where a pair has no token at all.
 */
extern bool classify_pairs(Model *model, Arena *arena, int count,
                           const TextPair *pairs, float **logits,
                           Failure *failure);
