/*
 * value_fit.h
 *		Fitting a value head to the rewards of the policy's own responses.
 *
 * A fifth of the prompts is held out.  The constant mean competes as epoch 0,
 * so that a value worse than the mean is never used.
 */
#pragma once

#include "model/value/value_head.h"

typedef struct ValueFitOptions
{
	int epochs;
	int batch_size;
	double learning_rate;
	double dropout; /* of the pooled vector, in fitting only */
	uint64_t seed;
} ValueFitOptions;

/* What is fitted to: prompts of so many tokens, and a target each. */
typedef struct ValueData
{
	int prompts;
	const int32_t *tokens; /* [prompts] at least 1 */
	const double *target;  /* [prompts] within [low, high] of the head */
	/* Writes the hidden states of prompts[count], one after the other. */
	bool (*hidden)(void *argument, const int32_t *prompts, int count,
	               float *hidden, Failure *failure);
	/* Told after each epoch; may be NULL. */
	bool (*epoch)(void *argument, int epoch, double fit_mse, double held_mse,
	              Failure *failure);
	void *argument;
} ValueData;

typedef struct ValueFitResult
{
	int epoch; /* whose weights were kept; 0: the constant mean */
	int held_out;
	double mse;          /* of the kept epoch on the held-out prompts */
	double baseline_mse; /* of the constant mean there */
	double r2;           /* 1 - mse / baseline_mse */
} ValueFitResult;

/* A new head in arena, fitted.  Asks poll_check() between batches. */
extern bool value_fit(Arena *arena, int hidden, double low, double high,
                      const ValueFitOptions *options, const ValueData *data,
                      ValueHead **head, ValueFitResult *result,
                      Failure *failure);

/* One AdamW step as torch's, no decay: grad is not scaled. */
extern void value_adamw(float *weights, const float *grad, float *m, float *v,
                        size_t count, double learning_rate, double eps,
                        int64_t step);
