/*
 * rollout.h
 *		Responses of the policy as it is, and what they are worth.
 */
#pragma once

#include "base/arena.h"
#include "train/dataset.h"

typedef struct Rollout
{
	const DatasetRow *prompt; /* a row without response */
	const int32_t *ids;       /* [tokens] of the response, at least one */
	int tokens;
	double score; /* the reward, finite */
} Rollout;

/*
 * Completes rollouts[count], whose prompts are set; ids lie in arena.  The
 * same step and weights give the same responses.
 */
typedef bool (*RolloutFunction)(void *argument, Arena *arena, int64_t step,
                                int count, Rollout *rollouts, Failure *failure);
