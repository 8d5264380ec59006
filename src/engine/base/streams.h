/*
 * streams.h
 *		Who draws from which random stream, so that two uses of one seed
 *		never share numbers.
 */
#pragma once

#include "base/random.h"

typedef enum RandomPurpose
{
	RANDOM_SHUFFLE = 1,     /* of the rows: index = epoch */
	RANDOM_DRAW,            /* of rows by priority: index = step */
	RANDOM_VALUE_WEIGHTS,   /* a value head's: index = tensor */
	RANDOM_VALUE_SPLIT,     /* its held-out prompts */
	RANDOM_VALUE_SHUFFLE,   /* its prompts: index = epoch */
	RANDOM_VALUE_DROPOUT,   /* index = epoch * prompts + prompt */
	RANDOM_LORA_WEIGHTS,    /* an adapter's A: index = site */
	RANDOM_LORA_DROPOUT,    /* index = step; its numbers are keys of rows */
	RANDOM_HEAD_WEIGHTS,    /* a new classifier's: index = map of its head */
	RANDOM_ROLLOUT,         /* a seed for generation: index = step */
	RANDOM_ROLLOUT_SHUFFLE, /* of its responses: index = update before */
	RANDOM_PROMPT_DROPOUT   /* index = step; number 0 is the key of prompts */
} RandomPurpose;

/* The stream of a purpose; models and generation number theirs from 0. */
static inline uint64_t
random_stream(RandomPurpose purpose, uint64_t index)
{
	return (uint64_t) purpose << 56 | index;
}

/* The key of what dropout does to the prompts of a step. */
static inline uint64_t
random_prompt_key(uint64_t seed, int64_t step)
{
	return random_bits(
		seed, random_stream(RANDOM_PROMPT_DROPOUT, (uint64_t) step), 0);
}

/* Shuffles order[count] with numbers of one stream. */
static inline void
random_shuffle(uint64_t seed, uint64_t stream, int32_t *order, int32_t count)
{
	for (int32_t i = count - 1; i > 0; i--)
	{
		double u = random_uniform(seed, stream, (uint64_t) i);
		int32_t j = (int32_t) (u * (i + 1));
		int32_t kept = order[i];

		order[i] = order[j];
		order[j] = kept;
	}
}
