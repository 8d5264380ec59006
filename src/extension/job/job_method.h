/*
 * job_method.h
 *		What the engine says of a method at its handshake.
 */
#pragma once

#include "engine/engine.h"

typedef enum MethodRows
{
	METHOD_ALL,
	METHOD_POSITIVE_REWARD,
	METHOD_POSITIVE_ADVANTAGE,
	METHOD_PAIRS,  /* of the source, or of rows with one prompt by reward */
	METHOD_LISTS,  /* rows with one prompt, by reward */
	METHOD_PROMPTS /* all; responses are the policy's own, step by step */
} MethodRows;

typedef struct Method
{
	MethodRows rows;     /* which of the rows it trains on */
	bool uses_value;     /* its advantage is reward minus value */
	bool uses_reference; /* it compares the policy to the reference's r */
	bool only_prompts;   /* it asks for responses: the source need have none */
} Method;

/* What a job of kind "evaluate" does with its rows. */
extern const Method method_evaluate;

/* True where rows have no weights: none is drawn more often than others. */
extern bool method_is_uniform(const Method *method);

/* True where it compares responses to the same prompt. */
extern bool method_ranks(const Method *method);

/* True where it trains on responses that the policy makes meanwhile. */
extern bool method_rolls_out(const Method *method);

/* Raises for a method that this engine lacks, naming the nearest it has. */
extern void method_get(Engine *engine, const char *name, Method *method);

/* The same for the objective of a classifier. */
extern void objective_get(Engine *engine, const char *name, Method *method);
