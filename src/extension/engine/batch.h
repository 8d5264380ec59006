/*
 * batch.h
 *		Model calls inside an expression, answered many at a time.
 *
 * An expression over a chunk of rows is run once to collect the calls it
 * makes, which get a stand-in for an answer; the calls are sent as one
 * request; and it is run again, with the answers.  What the second run asks
 * and the first did not is asked on its own.
 *
 * Order of life: batch_begin(), run to collect, batch_send(), run to answer,
 * batch_end().  Errors in between go through batch_end() as well (PG_FINALLY).
 */
#pragma once

#include "nodes/nodes.h"

#include "wire/message.h"

typedef struct Batch Batch;

/* True when a parsed expression calls models, and may be run twice because it
 * calls nothing volatile. */
extern bool batch_is_useful(Node *expression);

/*
 * From now on model calls of the current user are collected.  The batch lives
 * in the current memory context; the one that was in use before (an
 * expression inside of an expression) is in use again after batch_end().
 */
extern Batch *batch_begin(void);

/* Sends what was collected; from now on calls are answered. */
extern void batch_send(Batch *batch);

extern void batch_end(Batch *batch);

/* What a model says of one text, or of a prompt and a response. */
typedef struct BatchAnswer
{
	bool isnull;          /* there was nothing to say: no token */
	bool is_stand_in;     /* the batch still collects */
	int count;            /* numbers; more than 1 only for WIRE_LOGITS */
	const double *values; /* [count], as long as the batch or the current
	                       * memory context */
} BatchAnswer;

/*
 * For the functions that ask a model, by WIRE_LOGPROB, WIRE_VALUE (without a
 * response) or WIRE_LOGITS (perhaps without a prompt: NULL): the answer from
 * the batch in use, or a stand-in while that collects; without a batch, or
 * where it does not know, from the engine.  Raises when the model cannot be
 * used by the current user or is of another kind.
 */
extern BatchAnswer batch_ask(WireType type, const text *model,
                             const text *prompt, const text *response);
