/*
 * merges.h
 *		The merges of a byte-pair encoding, in the order they were learnt.
 */
#pragma once

#include "text/models/vocabulary.h"

typedef struct Merges Merges;

/*
 * From an array of "left right" strings or ["left", "right"] pairs.  Both
 * halves and what they join to (the right half without prefix) must be in the
 * vocabulary.
 */
extern bool merges_open(Arena *arena, const json_t *json,
                        const Vocabulary *vocabulary, const char *prefix,
                        Merges **merges, Failure *failure);

/*
 * From "scores", as scores.h describes them: pairs whose tokens have equal
 * scores have equal ranks.
 */
extern bool merges_open_scores(Arena *arena, const json_t *scores,
                               const Vocabulary *vocabulary, Merges **merges,
                               Failure *failure);

/* Merges ids[*count] in place: lowest rank first, from left to right. */
extern bool merges_apply(const Merges *merges, Arena *scratch, int32_t *ids,
                         size_t *count, Failure *failure);

/* Whether a merge joins a right half that begins with mark to a left half that
 * does not end with it. */
extern bool merges_cross(const Merges *merges, const Vocabulary *vocabulary,
                         const char *mark);
