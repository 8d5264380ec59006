/*
 * attention.h
 *		What the attention kernels share: which tokens of a packed batch see
 *		each other.
 *
 * Positions count through what a sequence continues and then through its own
 * tokens.  A kernel's grid counts pieces of all sequences along x and heads
 * along y.
 *
 * Two bodies compute the same: attention_plain.cu in fp32, for any shape, and
 * attention_tiles*.cu on tensor cores, where products are rounded to bf16.  A
 * new token's against a cache is in attention_cached.cu.
 */
#pragma once

#include "cuda/launch.h"
#include "cuda/warp.h"

/* Numbers of a head, at most. */
#define HEAD_DIM_MAX 256

/* Warps of a block of all these kernels. */
#define ATTENTION_WARPS 4
#define ATTENTION_THREADS (ATTENTION_WARPS * WARP)

/* A sequence. */
typedef struct Span
{
	int first;  /* token at position `before` */
	int before; /* tokens of the prompt that it continues */
	int prompt; /* the first of them */
	int end;    /* positions: before, and its own tokens */
} Span;

static __device__ __forceinline__ Span
span_of(const AttentionShape &shape, int s)
{
	int prompt = shape.prefix == NULL ? -1 : shape.prefix[s];
	Span span = {shape.offset[s], 0, 0, 0};

	if (prompt >= 0)
	{
		span.prompt = shape.offset[prompt];
		span.before = shape.offset[prompt + 1] - span.prompt;
	}
	span.end = span.before + shape.offset[s + 1] - span.first;
	return span;
}

/* The token at a position, or -1 past the end. */
static __device__ __forceinline__ int64_t
token_at(const Span &span, int position)
{
	if (position >= span.end)
		return -1;
	return position < span.before ? span.prompt + position
	                              : span.first + (position - span.before);
}

/* The first position that this one sees. */
static __device__ __forceinline__ int
seen_from(const AttentionShape &shape, int position)
{
	return shape.window > 0 && position >= shape.window
	           ? position - shape.window + 1
	           : 0;
}

/* The position after the last that this one sees. */
static __device__ __forceinline__ int
seen_until(const AttentionShape &shape, const Span &span, int position)
{
	return shape.is_bidirectional ? span.end : min(position + 1, span.end);
}

static __device__ __forceinline__ bool
sees(const AttentionShape &shape, const Span &span, int query, int key)
{
	return key < seen_until(shape, span, query) &&
	       key >= seen_from(shape, query);
}

/* Where a head finds its keys and values among columns. */
static __device__ __forceinline__ int64_t
kv_column_of(const AttentionShape &shape, int head)
{
	return (int64_t) (head / (shape.heads / shape.kv_heads)) * shape.head_dim;
}

/* Whether sequence c has queries that see keys of sequence s <= c. */
static __device__ __forceinline__ bool
reaches(const AttentionShape &shape, int c, int s)
{
	return c == s || (c < shape.sequences && shape.prefix != NULL &&
	                  shape.prefix[c] == s);
}

/* The queries of a sequence, [from, until), that see any of some keys. */
static __device__ __forceinline__ void
seeing(const AttentionShape &shape, const Span &span, int first_key,
       int last_key, int *from, int *until)
{
	*from = span.before;
	*until = span.end;
	if (shape.is_bidirectional)
		return;
	*from = max(span.before, first_key);
	if (shape.window > 0)
		*until = min(span.end, last_key + shape.window);
}

/* The piece of a sequence that a block works on. */
typedef struct Piece
{
	Span span;
	int sequence;
	int first; /* position; none is left at span.end */
} Piece;

static __device__ __forceinline__ Piece
piece_of(const AttentionShape &shape, int size)
{
	int pieces = (int) gridDim.x / shape.sequences;
	Piece piece;

	piece.sequence = (int) blockIdx.x / pieces;
	piece.span = span_of(shape, piece.sequence);
	piece.first = piece.span.before + (int) blockIdx.x % pieces * size;
	return piece;
}

static inline dim3
attention_grid(const AttentionShape *shape, int size, int heads)
{
	return dim3(pieces_of(shape->max_length, size) *
	                (unsigned) shape->sequences,
	            (unsigned) heads);
}

/* What attention_grad gets and gives, and delta[T, H]: dout times out, summed
 * over a head. */
typedef struct AttentionGrad
{
	Tensor dq;
	Tensor dk;
	Tensor dv;
	Tensor dout;
	Tensor q;
	Tensor k;
	Tensor v;
	Tensor lse;
	Tensor delta;
} AttentionGrad;

/* False, with a failure kept, where heads have more numbers than
 * HEAD_DIM_MAX. */
extern bool attention_check_shape(Device *device, const AttentionShape *shape);

extern void attention_plain(Device *device, const AttentionShape *shape,
                            Tensor out, Tensor q, Tensor k, Tensor v,
                            Tensor lse);
extern void attention_plain_grad(Device *device, const AttentionShape *shape,
                                 const AttentionGrad *grad);
extern void attention_tiles(Device *device, const AttentionShape *shape,
                            Tensor out, Tensor q, Tensor k, Tensor v,
                            Tensor lse);
extern void attention_tiles_grad(Device *device, const AttentionShape *shape,
                                 const AttentionGrad *grad);
