/*
 * generate.h
 *		Responses for many prompts at once, with a key/value cache.
 */
#pragma once

#include "model/model.h"

/* Beams one prompt can have. */
#define BEAMS_MAX 128

typedef struct GenerateOptions
{
	int max_tokens;
	double temperature;        /* 0: greedy; not with beams */
	double top_p;              /* 1: off */
	int top_k;                 /* 0: off */
	double repetition_penalty; /* 1: off; on raw logits, of beams on their
	                            * log-probabilities, prompt included */
	uint64_t seed; /* prompt i draws from (seed, first_stream + i) */
	uint64_t first_stream;
	int num_beams;           /* 0, 1: no beam search */
	BeamEnd beam_end;        /* generate_set_beams() sets these two to what */
	double length_penalty;   /* the model's files say */
	int stops;               /* stop texts; the response ends before one */
	const char *const *stop; /* [stops], UTF-8 */
	bool keep_special;       /* show special tokens in the text */
} GenerateOptions;

typedef struct Generation
{
	int32_t *ids; /* new tokens, up to and with a stop token */
	int count;
	bool ended;  /* by a stop token or text, not by a limit */
	float score; /* of the best beam: sum of scores / count^length_penalty */
	char *text;  /* the continuation as text: prompt || text */
	size_t length;
} Generation;

/* Called as responses finish, for progress; may be NULL. */
typedef void (*GenerateProgress)(void *argument, int done, int total,
                                 int64_t tokens);

/* So many beams, ended as generation_config.json of the model has it. */
extern void generate_set_beams(GenerateOptions *options, const Model *model,
                               int num_beams);

/*
 * results[count], allocated in arena.  prompts[i] must leave room for at
 * least one token in the context; a response ends where the context does.
 * Asks poll_check() between tokens.
 */
extern bool generate(Model *model, Arena *arena, const GenerateOptions *options,
                     int count, const TokenList *prompts, Generation *results,
                     GenerateProgress progress, void *argument,
                     Failure *failure);

/*
 * What sampling from logits[V] can give, most probable first: temperature,
 * then top_k, then top_p.  ids and probabilities are [V]; returns how many.
 */
extern int sample_candidates(const float *logits, int vocabulary,
                             const GenerateOptions *options, int32_t *ids,
                             double *probabilities);
