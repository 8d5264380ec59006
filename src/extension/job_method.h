/*
 * job_method.h
 *		What the engine says of a method at its handshake.
 */
#pragma once

#include "engine.h"

typedef enum MethodRows
{
	METHOD_ALL,
	METHOD_POSITIVE_REWARD,
	METHOD_POSITIVE_ADVANTAGE
} MethodRows;

typedef struct Method
{
	MethodRows rows;   /* which of the rows it trains on */
	bool uses_value;   /* its advantage is reward minus value */
	bool only_prompts; /* it asks for responses: the source need have none */
} Method;

/* What a job of kind "evaluate" does with its rows. */
extern const Method method_evaluate;

/* Raises for a method that this engine lacks, naming the nearest it has. */
extern void method_get(Engine *engine, const char *name, Method *method);
