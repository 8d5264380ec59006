/*
 * normalizer.h
 *		What a tokenizer does to a text before it is split.
 */
#pragma once

#include "formats/json.h"

typedef struct Normalizer Normalizer;

/* From tokenizer.json's "normalizer"; json may be NULL: nothing is done. */
extern bool normalizer_open(Arena *arena, const json_t *json,
                            Normalizer **normalizer, Failure *failure);

/*
 * Replaces *text and *length (valid UTF-8) by the normalized text, in arena or
 * unchanged.  as_continuation: Prepend does nothing.
 */
extern bool normalizer_run(const Normalizer *normalizer, Arena *arena,
                           bool as_continuation, const char **text,
                           size_t *length, Failure *failure);
