/*
 * response.h
 *		What sampling and beam search share: the call, prompts that wait, and
 *		the end of a response.
 */
#pragma once

#include "model/generation/generate.h"
#include "model/generation/lanes.h"

/* One call of generate().  A place is where a prompt's response grows: a lane,
 * or as many neighbours as there are beams. */
typedef struct Generator
{
	Model *model;
	Arena *arena;   /* the caller's: results */
	Arena *scratch; /* this call's */
	const GenerateOptions *options;
	const TokenList *prompts;
	Generation *results;
	int count;
	int next; /* prompt that waits first */
	int done;
	int64_t tokens; /* generated so far */
	size_t longest_stop;

	Lanes lanes;
	int place_count;
	int lanes_each;        /* of a place */
	int prompt[LANES_MAX]; /* that has the place; -1: none */
} Generator;

/* The last bytes of a response, where a stop text could still begin. */
typedef struct StopTail
{
	char *bytes; /* [2 * longest_stop] */
	size_t count;
} StopTail;

/*
 * Waiting prompts into free places: one packed pass of those that fit.  Logits
 * of the i-th of `count` places are row i of the lanes' logits.
 */
extern bool response_admit(Generator *g, Arena *step, int *places, int *count,
                           Failure *failure);

/* New tokens that the prompt's response may have. */
extern int response_limit(const Generator *g, int prompt);

extern bool stop_tail_open(const Generator *g, StopTail *tail,
                           Failure *failure);
/* Adds a token's text; true if the response holds a stop text now. */
extern bool stop_tail_add(const Generator *g, StopTail *tail, int32_t id);

extern bool response_is_stop(const ModelConfig *config, int32_t id);

/* The response as ids and as text, cut before the first stop text in it; frees
 * the place. */
extern bool response_finish(Generator *g, int place, const int32_t *ids,
                            int count, Failure *failure);

/* One step of everything that grows: a token for each sequence.  state is
 * sampling_open()'s or beams_open()'s. */
typedef bool (*ResponseStep)(Generator *g, void *state, Arena *step,
                             Failure *failure);

extern bool sampling_open(Generator *g, void **state, Failure *failure);
extern bool sampling_step(Generator *g, void *state, Arena *step,
                          Failure *failure);
extern bool beams_open(Generator *g, void **state, Failure *failure);
extern bool beams_step(Generator *g, void *state, Arena *step,
                       Failure *failure);
