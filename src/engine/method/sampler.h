/*
 * sampler.h
 *		Which rows each step trains on.
 *
 * The rows of step k follow from the seed and k alone, so that a resumed job
 * draws what the uninterrupted one would have drawn.
 */
#pragma once

#include "base/arena.h"

typedef enum SamplerKind
{
	/* Epochs of shuffled rows, one after the other; the last batch of all is
	 * short where the rows do not fill it. */
	SAMPLER_UNIFORM,
	/* Independent draws with replacement, row i with probability
	 * weight[i] / sum of weights. */
	SAMPLER_PRIORITY
} SamplerKind;

typedef struct Sampler Sampler;

/*
 * rows and batch_size are at least 1.  weight[rows] (SAMPLER_PRIORITY only)
 * are finite and not negative, and not all 0.  draws is how many rows all
 * steps together take: only the last batch may be short.
 */
extern bool sampler_create(Arena *arena, SamplerKind kind, const double *weight,
                           int32_t rows, int batch_size, int64_t draws,
                           uint64_t seed, Sampler **sampler, Failure *failure);

/* Writes the rows of step (from 0) into drawn[batch_size]; returns how many,
 * 0 past the last step. */
extern int sampler_draw(Sampler *sampler, int64_t step, int32_t *drawn);
