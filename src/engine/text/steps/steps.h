/*
 * steps.h
 *		The parts of tokenizer.json that are one step or a Sequence of steps:
 *		normalizer, pre-tokenizer, decoder.
 */
#pragma once

#include "formats/json.h"

#define STEPS_MOST 32 /* also of nesting */

/* What a kind of step can be. */
typedef struct StepKind
{
	const char *name;  /* what messages call a step; with an s several */
	const char *key;   /* of the array of steps in a Sequence */
	const void *types; /* [count] of size bytes, each begins with its name
	                    * in tokenizer.json (const char *) */
	size_t count;
	size_t size;
} StepKind;

/* Reads one step of this type. */
typedef bool (*StepReader)(Arena *arena, const json_t *json, const void *type,
                           void *step, Failure *failure);

/*
 * Reads the steps of json in order, Sequences taken apart, into
 * steps[STEPS_MOST] of step_size bytes each; *count gets how many there are.
 * json may be NULL: none.
 */
extern bool steps_read(Arena *arena, const json_t *json, const StepKind *kind,
                       StepReader reader, void *steps, size_t step_size,
                       int *count, Failure *failure);
