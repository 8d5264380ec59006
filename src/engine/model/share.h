/*
 * share.h
 *		What sequences of a batch begin with in common, computed once.
 *
 * The responses of a pair, several draws of a row, or chats behind one system
 * prompt begin with the same tokens.  In a pass these are a sequence of their
 * own, which the others continue.  A sequence keeps what its targets are
 * predicted from, so at least the last token of its prompt: every target has
 * a row of its own, and gradients add up in attention alone.
 */
#pragma once

#include "base/arena.h"
#include "model/model.h"

/* A batch as a pass computes it. */
typedef struct SharedBatch
{
	Batch batch;           /* sequences of the pass; target is NULL */
	const int32_t *prefix; /* [batch.sequences] as in AttentionShape; NULL:
	                        * nothing is shared */
	const int32_t *source; /* [batch.sequences] the sequence of the given
	                        * batch whose tokens these are, or the first of
	                        * those that share them; NULL: each its own */
	const int32_t *first;  /* [given sequences] the row that its first token
	                        * would have, were all of it its own; NULL: its
	                        * offset */
} SharedBatch;

/* Finds what sequences share; arrays lie in arena, or are the batch's.
 * is_ordered: they come in the order of batch_order(). */
extern SharedBatch batch_share(Arena *arena, const Batch *batch,
                               bool is_ordered);

/* The batch as it is, of any model. */
extern SharedBatch batch_alone(const Batch *batch);

/*
 * For splitting a batch: order[S], in which sequences that begin alike are
 * neighbours, and cost[S], the tokens that each adds to a pass behind the one
 * before it.  What comes first in a pass costs all its tokens.
 */
extern void batch_order(Arena *arena, const Batch *batch, int32_t *order,
                        int32_t *cost);

/* The first tokens of sequence s that it need not have to itself: all of its
 * prompt but the last; without targets none. */
extern int batch_sharable(const Batch *batch, int s);

/* Tokens that sequence s of what a pass computes continues. */
static inline int
tokens_before(const SharedBatch *shared, int s)
{
	int prefix = shared->prefix == NULL ? -1 : shared->prefix[s];

	return prefix < 0 ? 0
	                  : shared->batch.offset[prefix + 1] -
	                        shared->batch.offset[prefix];
}

/* The row that predicts each target of the given batch, and the targets, in
 * its order. */
extern void batch_list_targets(const Batch *batch, const SharedBatch *shared,
                               int32_t *row, int32_t *target);
