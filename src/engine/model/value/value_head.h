/*
 * value_head.h
 *		The value of a policy at a prompt: what reward its responses earn.
 *
 * Attention pooling of the policy's frozen hidden states x[T, C] of the prompt
 * with one learned query, a linear map to one number z, and
 *
 *		value = low + (high - low) * sigmoid(z).
 *
 * The attention is torch's MultiheadAttention with biases.  Since there is one
 * query, a head's keys are needed only as u_h = W_k,h^T q_h and its values
 * only as W_v,h applied to the pooled x: the cost is T * C * heads, not
 * T * C^2, and this room can do without a device.
 */
#pragma once

#include "base/arena.h"

/* Where each tensor lies in the one array of parameters. */
typedef enum ValueTensor
{
	VALUE_QUERY,      /* [C] */
	VALUE_IN_WEIGHT,  /* [3 C, C] of q, k, v */
	VALUE_IN_BIAS,    /* [3 C] */
	VALUE_OUT_WEIGHT, /* [C, C] */
	VALUE_OUT_BIAS,   /* [C] */
	VALUE_WEIGHT,     /* [1, C] of the linear map */
	VALUE_BIAS,       /* [1] */
	VALUE_TENSORS
} ValueTensor;

typedef struct ValueHead
{
	int hidden; /* C */
	int heads;
	double low;
	double high;
	size_t offset[VALUE_TENSORS + 1]; /* the last is the number of floats */
	float *weights;                   /* [offset[VALUE_TENSORS]] */
} ValueHead;

/* The name of a tensor in value_head.safetensors. */
extern const char *value_tensor_name(ValueTensor tensor);

/* A head with zero weights, in arena; low < high. */
extern bool value_head_allocate(Arena *arena, int hidden, int heads, double low,
                                double high, ValueHead **head,
                                Failure *failure);

/*
 * A head to be fitted: the query normal with 0.02, attention as torch starts
 * it, the linear map 0 with the bias at which the value is mean everywhere.
 * heads is the largest divisor of hidden up to 8.
 */
extern bool value_head_create(Arena *arena, int hidden, double low, double high,
                              double mean, uint64_t seed, ValueHead **head,
                              Failure *failure);

/* Reads value_head.safetensors and value_config.json; hidden is that of the
 * policy the head must fit. */
extern bool value_head_open(Arena *arena, const char *directory, int hidden,
                            ValueHead **head, Failure *failure);
extern bool value_head_save(const ValueHead *head, const char *directory,
                            Failure *failure);

/* --------------------------------------------- forward and backward */

/* What depends on the weights alone, and the gradient that goes through it. */
typedef struct ValuePass
{
	const ValueHead *head;
	float *q;      /* [C] the projected query, scaled by 1 / sqrt(C / heads) */
	float *u;      /* [heads, C] */
	float *du;     /* [heads, C] */
	float *pooled; /* [heads, C] of the prompt last seen */
	float *attended;  /* [C] */
	float *projected; /* [C] after dropout */
	float *scratch;   /* [4, C] */
} ValuePass;

extern ValuePass *value_pass_create(Arena *arena, const ValueHead *head);

/* To be called after the weights have changed; forgets gradients. */
extern void value_pass_begin(ValuePass *pass);

/*
 * z for the prompt x[tokens, C].  attention[heads, tokens] receives each
 * head's weights.  keep, if not NULL, is [C]: what the pooled vector is
 * multiplied with (dropout: 0 or 1 / (1 - p)).
 */
extern double value_forward(ValuePass *pass, const float *x, int tokens,
                            const float *keep, float *attention);

/* Adds dz times the gradient of the last value_forward(), called with the same
 * arguments, to grad (shaped like the weights). */
extern void value_backward(ValuePass *pass, const float *x, int tokens,
                           const float *keep, const float *attention, double dz,
                           float *grad);

/* Adds what value_backward() gathered for query and keys. */
extern void value_pass_end(ValuePass *pass, float *grad);

/* low + (high - low) * sigmoid(z). */
extern double value_of(const ValueHead *head, double z);
