/*
 * weighted_sum.h
 *		What tests of gradients differentiate: the log-probabilities of a
 *		batch, each times a number of its own.
 */
#pragma once

#include "testing.h"

#include "base/random.h"
#include "model/model.h"

/* How much the t-th target counts: of both signs, and never 0. */
static inline float
coefficient(int t)
{
	return (float) (0.5 + random_uniform(5, 0, (uint64_t) t)) *
	       (t % 3 == 0 ? -1 : 1);
}

/* LogitGradient of the sum of coefficients times logits; the argument is the
 * number of labels. */
static inline bool
weighted_outputs(void *argument, int sequences, const float *logits,
                 float *grad, Failure *failure)
{
	const int *labels = argument;

	(void) logits;
	(void) failure;
	for (int i = 0; i < sequences * *labels; i++)
		grad[i] = coefficient(i);
	return true;
}

typedef struct Seen
{
	const Batch *batch;
	int base;         /* the number of its first target */
	float logp[1024]; /* as training computed them */
	double sum;       /* of coefficient times logp */
} Seen;

/* LogprobGradient of that sum. */
static inline bool
weighted_sum(void *argument, int first, int count, const float *logp,
             float *grad, Failure *failure)
{
	Seen *seen = argument;
	int before = seen->base + batch_targets(seen->batch, 0, first);
	int targets = batch_targets(seen->batch, first, count);

	(void) failure;
	for (int t = 0; t < targets; t++)
	{
		grad[t] = coefficient(before + t);
		seen->logp[before + t] = logp[t];
		seen->sum += (double) grad[t] * (double) logp[t];
	}
	return true;
}

/*
 * Adds the gradient of the sum, which it returns: each sequence a group of its
 * own, targets counted from base.  key: of its sequences, for dropout; NULL:
 * there is none.
 */
static inline double
accumulate_from(Model *model, const Batch *batch, const uint64_t *key, int base,
                Seen *seen)
{
	const DropoutKeys keys = {77, key};
	int32_t group[65];
	Failure failure = {0};

	assert_true(batch->sequences <= 64);
	for (int i = 0; i <= batch->sequences; i++)
		group[i] = i;
	seen->batch = batch;
	seen->base = base;
	seen->sum = 0;
	assert_ok(model_accumulate(model, batch, batch->sequences, group,
	                           key == NULL ? NULL : &keys, weighted_sum, seen,
	                           &failure),
	          failure);
	return seen->sum;
}

/* The same, counted from 0. */
static inline double
accumulate(Model *model, const Batch *batch, const uint64_t *key, Seen *seen)
{
	return accumulate_from(model, batch, key, 0, seen);
}
