/*
 * steps.h
 *		The parts of tokenizer.json that are one step or a Sequence of steps:
 *		normalizer, pre-tokenizer, decoder.
 */
#pragma once

#include "formats/json.h"

#define STEPS_MOST 32 /* also of nesting */

typedef struct StepList
{
	const json_t *part[STEPS_MOST];
	int count;
} StepList;

/*
 * The steps of json in order, Sequences taken apart: their steps stand in the
 * array `key`.  json may be NULL: no steps.  Each has a type.  kind is what
 * messages call a step, with an s for several.
 */
extern bool steps_list(const json_t *json, const char *kind, const char *key,
                       StepList *list, Failure *failure);

/*
 * The entry for the step's type in a table of count entries, size bytes each,
 * that begin with their name (const char *); NULL with a failure if it has
 * none.
 */
extern const void *steps_type(const json_t *part, const char *kind,
                              const void *types, size_t count, size_t size,
                              Failure *failure);
