/*
 * scores.h
 *		Byte-pair merges of a vocabulary that has scores in place of them, as
 *		SentencePiece (and a GGUF file of the kind "llama") keeps it.
 *
 * Any two neighbours may merge whose joined text is a token; the pair whose
 * token has the highest score goes first, of equal scores the leftmost.
 * tokenizer_open_json() takes such a vocabulary as it is:
 *
 *	{"type": "BPE", "vocab": {token: id}, "scores": [of every id]}
 *
 * with "scores" for "merges", and the other keys of a BPE model (unk_token,
 * fuse_unk, byte_fallback) as usual.
 */
#pragma once

#include "text/models/vocabulary.h"

/* Two tokens, and the one that they join to. */
typedef struct ScoredPair
{
	int32_t left;
	int32_t right;
	int32_t joined;
	double score; /* of joined */
	uint32_t left_characters;
	uint32_t right_characters;
	uint32_t order; /* in which the vocabulary gives them */
} ScoredPair;

/*
 * All pairs, in arena, highest score first; equal ones in the order of the
 * library's converter: long left halves first, then long right halves.
 * scores: an array with a number for every id of the vocabulary.
 */
extern bool scored_pairs_find(Arena *arena, const Vocabulary *vocabulary,
                              const json_t *scores, ScoredPair **pairs,
                              size_t *count, Failure *failure);

/*
 * The "merges" array, [["left", "right"], ...], that the converters of
 * `transformers` write for a "vocab" object and scores; owned by arena.
 */
extern bool bpe_merges_from_scores(Arena *arena, const json_t *vocab,
                                   const json_t *scores, json_t **merges,
                                   Failure *failure);
