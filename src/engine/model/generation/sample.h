/*
 * sample.h
 *		The next token from logits: greedy or drawn.
 */
#pragma once

#include "model/generation/generate.h"

/* Scratch for one draw; [vocabulary] each, owned by the caller. */
typedef struct SampleScratch
{
	int32_t *ids;
	double *probabilities;
} SampleScratch;

/*
 * In place: x < 0 becomes x * penalty, others x / penalty, for each token
 * that seen[V] marks (Keskar et al., arXiv 1909.05858, as transformers does).
 */
extern void sample_penalize(float *logits, int vocabulary, const uint8_t *seen,
                            double penalty);

/*
 * The token that follows.  Temperature 0: the largest logit, the first of
 * equals; else drawn with the uniform number u in [0, 1).
 */
extern int32_t sample_token(const float *logits, int vocabulary,
                            const GenerateOptions *options, double u,
                            SampleScratch *scratch);
