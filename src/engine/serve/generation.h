/*
 * generation.h
 *		How requests and jobs say how responses are generated.
 */
#pragma once

#include "formats/json.h"
#include "model/generation/generate.h"
#include "serve/serve.h"

/*
 * Reads "max_tokens", "temperature", "top_p", "top_k", "num_beams",
 * "repetition_penalty" and "stop" of an object (NULL: all defaults, which are
 * greedy).  Stop texts are borrowed from it, their list lives in arena.
 */
extern bool generation_read(Arena *arena, const json_t *object,
                            const Model *model, int max_tokens,
                            GenerateOptions *options, Failure *failure);

/* What generate() may be given to show its progress. */
typedef struct ShownGeneration
{
	Request *request;
	const char *phase;
	int64_t started_ms;
} ShownGeneration;

/* GenerateProgress of a ShownGeneration: WIRE_PROGRESS. */
extern void generation_show(void *shown, int done, int total, int64_t tokens);
