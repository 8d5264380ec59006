/*
 * device.h
 *		The operation table that a backend fills in.
 *
 * Tensors lie in the device's memory; only upload and download see a host
 * pointer.  Operations may run asynchronously and return nothing: the first
 * failure is kept and sync() reports it, once a step.  All sums are fp32 or
 * better.  Every member is filled: what a backend lacks fails by name.
 *
 * Shapes: T tokens of a packed batch, H heads, G key/value heads, D head
 * dimension, C hidden size, V vocabulary, m, n, k free.
 */
#pragma once

#include "base/dtype.h"
#include "base/failure.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Rows of cols elements, stride elements apart, in device memory.  fp32,
 * except that the weights of matmul and matmul_input_grad and the table of
 * gather_rows may be of any dtype and are read as they are stored.
 */
typedef struct Tensor
{
	void *data; /* NULL: absent */
	DType dtype;
	int64_t rows;
	int64_t cols;
	int64_t stride;
} Tensor;

/* A matrix that maps cols inputs to rows outputs, W[n, k]; transposed means
 * that it is stored [k, n] (GPT-2's Conv1D). */
typedef struct Matrix
{
	Tensor tensor; /* as stored */
	bool transposed;
	const void *packed;      /* see pack; NULL: read as stored */
	const void *packed_grad; /* the same for matmul_input_grad */
} Matrix;

typedef enum NormKind
{
	NORM_LAYER, /* (x - mean) / sqrt(var + eps) * w + b */
	NORM_RMS    /* x / sqrt(mean(x^2) + eps) * w */
} NormKind;

typedef enum Activation
{
	ACTIVATION_GELU,      /* x * Phi(x), by erf */
	ACTIVATION_GELU_TANH, /* GPT-2's gelu_new */
	ACTIVATION_SILU,
	ACTIVATION_RELU,
	ACTIVATION_TANH
} Activation;

/*
 * What the distance of a query i to a key j adds to their product, before
 * scaling (DeBERTa): query[i, h B + b] + key[j, h B + b] for head h, b the
 * bucket of i - j.
 */
typedef struct RelativeScores
{
	Tensor query;  /* [T, H B]; absent: no such part */
	Tensor key;    /* [T, H B]; absent likewise */
	Tensor dquery; /* shaped alike; attention_grad adds to them */
	Tensor dkey;
	int buckets;           /* B */
	int reach;             /* the longest distance */
	const int32_t *bucket; /* device, [2 reach + 1]: of i - j + reach */
} RelativeScores;

/*
 * Attention over a packed batch: sequence s owns tokens
 * [offset[s], offset[s + 1]); each token sees its own sequence up to itself,
 * of a window only the last so many, or with is_bidirectional all of it.
 *
 * A sequence may continue an earlier one, a prompt that several share: its
 * tokens count as if all those of prefix[s] stood right before them, for what
 * is seen and for windows, and the prompt's dk and dv are the sums over itself
 * and all that continue it, in their order.  One level deep: prefix[prefix[s]]
 * is -1.  Sequences that continue another follow it directly.
 */
typedef struct AttentionShape
{
	int heads;
	int kv_heads; /* query head h reads key/value head h / (H / G) */
	int head_dim;
	float scale;
	int sequences;
	int max_length;        /* no sequence is longer, without its prefix */
	const int32_t *offset; /* device, [sequences + 1] */
	const int32_t *prefix; /* device, [sequences]: the sequence that it
	                        * continues, or -1; NULL: none does.  Not with
	                        * is_bidirectional, not for attention_cached */
	int window;            /* tokens seen, itself counted; 0: no window */
	bool is_bidirectional; /* and no window */
	const RelativeScores *relative; /* NULL: none; else is_bidirectional, H =
	                                 * G, and not for attention_cached */
} AttentionShape;

typedef struct AdamW
{
	float learning_rate;
	double beta1; /* 1 - 0.999f is not 0.001f: it is 1e-5 off */
	double beta2;
	float eps;
	float weight_decay;
	float correction1;    /* 1 - beta1^step */
	float correction2;    /* 1 - beta2^step */
	float gradient_scale; /* for clipping the norm */
} AdamW;

/*
 * Numbers of a parameter as bytes, in blocks of DYNAMIC8_BLOCK with a scale
 * each (base/dynamic8.h), in device memory.  Zero bytes are zeros.
 */
typedef struct Coded
{
	uint8_t *code; /* [n] */
	float *scale;  /* [blocks of n] */
} Coded;

/*
 * Rows of cols numbers, one after the other, as whole ones of 16 bits, in
 * blocks of FIXED16_BLOCK of a row with a scale each (base/fixed16.h), in
 * device memory.
 */
typedef struct Fixed
{
	int16_t *code; /* [rows, cols] */
	float *scale;  /* [rows, blocks of cols] */
} Fixed;

typedef struct Device Device;

struct Device
{
	const char *name;        /* "cpu", "cuda:0" */
	const char *description; /* instruction set, library: what roundings
	                          * depend on */
	int threads;             /* 0: not the host's */
	uint64_t memory;         /* bytes of its own, 0: the host's */

	/*
	 * How matmul, matmul_input_grad and matmul_weight_grad multiply from now
	 * on: DTYPE_F32, or DTYPE_BF16, where both factors are rounded to bf16
	 * (to nearest, ties to even) and summed in fp32; matmul may round them
	 * to other numbers of 16 bits that are nearer, and attention_grad may
	 * round probabilities and gradients alike.  A row of a result depends
	 * on neither the number nor the contents of the other rows, but for
	 * roundings of the sum.  Whoever begins a pass sets it, pass.c for its
	 * model.
	 */
	DType products;
	/* Set by passes over whole texts, whose log-probabilities are compared
	 * with those of other passes: a row of matmul's result is the same bits
	 * however many rows there are.  Not set, as in generation, few rows may
	 * have faster kernels of their own. */
	bool rows_alike;
	/* With products of bf16, passes had better keep what their way back needs
	 * by write_fixed: memory is scarcer than the time that takes. */
	bool keeps_fixed;
	bool has_bf16; /* it multiplies bf16 by itself, and faster than fp32 */

	/* Memory.  alloc gives zeroed bytes aligned to 64, or NULL with a failure
	 * kept for sync(). */
	void *(*alloc)(Device *device, size_t bytes);
	void (*free)(Device *device, void *memory);
	void (*upload)(Device *device, void *target, const void *source,
	               size_t bytes);
	void (*download)(Device *device, void *target, const void *source,
	                 size_t bytes);
	void (*fill_zero)(Device *device, void *target, size_t bytes);
	/* Read-only bytes of a mapped file as device memory: where they lie if
	 * the device can read there (then release does nothing), else a copy. */
	const void *(*adopt)(Device *device, const void *mapped, size_t bytes);
	void (*release)(Device *device, const void *adopted);
	/* Bytes that alloc could give now; UINT64_MAX: nothing limits it. */
	uint64_t (*room)(Device *device);
	/* Sees to it that allocs of so many bytes in all do not fail from now on,
	 * whatever other processes take from the same memory.  False, with both
	 * numbers, and nothing is kept, where there is less. */
	bool (*reserve)(Device *device, uint64_t bytes, Failure *failure);
	/* Waits for all that was asked; false with the first failure. */
	bool (*sync)(Device *device, Failure *failure);
	/*
	 * Slices: parts of work that need nothing of each other, such as rows of
	 * a pass.  Calls work(argument, slice) for each slice of [0, count), side
	 * by side; what a slice asks for is divided no further.  count is 1, or
	 * at most `threads`.  Slices write apart but for the weights' gradients of
	 * matmul_weight_grad and norm_grad, which all ask for in the same order,
	 * and which are added to in the order of slices.
	 */
	void (*run_slices)(Device *device, int count,
	                   void (*work)(void *argument, int slice), void *argument);
	void (*close)(Device *device);

	/* out[m, n] = beta * out + x[m, k] @ W^T + bias[n]; bias may be NULL */
	void (*matmul)(Device *device, Tensor out, Tensor x, const Matrix *w,
	               const Tensor *bias, float beta);
	/* dx[m, k] = beta * dx + dout[m, n] @ W */
	void (*matmul_input_grad)(Device *device, Tensor dx, Tensor dout,
	                          const Matrix *w, float beta);
	/* Says of `count` tensors (none: of none) that until the next call they do
	 * not change: as the x of matmul or the dout of matmul_input_grad they may
	 * be kept as products read them.  A slice says so for itself. */
	void (*hold)(Device *device, const Tensor *x, int count);
	/* dW += dout^T @ x, in W's storage order; dbias[n] += column sums of dout
	 * (NULL: no bias) */
	void (*matmul_weight_grad)(Device *device, const Matrix *dw,
	                           const Tensor *dbias, Tensor dout, Tensor x);

	/*
	 * Weights as products of bf16 read them best: pack fills target (device,
	 * packed_bytes of the same kind) with what may stand at w->packed or, for
	 * matmul_input_grad, at w->packed_grad until the weights change.  0 bytes,
	 * of both kinds: the device reads w as it is stored.  packing names the
	 * form: what pack fills is a matter of it and of the weights alone, for
	 * packed weights may be kept in files.  NULL: they may not.  packs_once:
	 * what is trained is packed as a whole, too, with every change of it.
	 * Without w->packed_grad matmul_input_grad reads w->packed where it is
	 * given: w as stored is not read then, and rounded twice.  That goes for
	 * all but some quantised blocks, and nothing is packed for it then.
	 */
	const char *packing;
	bool packs_once;
	size_t (*packed_bytes)(Device *device, const Matrix *w,
	                       bool is_for_input_grad);
	void (*pack)(Device *device, void *target, const Matrix *w,
	             bool is_for_input_grad);

	/* out[i] = beta * out[i] + table[index[i]] */
	void (*gather_rows)(Device *device, Tensor out, Tensor table,
	                    const int32_t *index, float beta);
	/* target[index[i]] = source[i]; the indexes differ */
	void (*scatter_rows)(Device *device, Tensor target, Tensor source,
	                     const int32_t *index);
	/* table[index[i]] += source[i], in the order of i where indexes repeat */
	void (*scatter_add_rows)(Device *device, Tensor table, Tensor source,
	                         const int32_t *index);
	/* out[T, parts * heads * D] = x's columns, from the order [heads][parts]
	 * to [parts][heads]; inverse: back.  out is not x. */
	void (*regroup_heads)(Device *device, Tensor out, Tensor x, int heads,
	                      int parts, bool inverse);
	/* out = a + b */
	void (*add)(Device *device, Tensor out, Tensor a, Tensor b);
	/* x in fewer bits; out receives what is left of it.  Not finite numbers
	 * make the others of their block NaN. */
	void (*write_fixed)(Device *device, Fixed target, Tensor x);
	void (*read_fixed)(Device *device, Tensor out, Fixed source);
	/* x *= factor */
	void (*scale)(Device *device, Tensor x, float factor);
	/*
	 * out = beta * out + x with each element made 0 with this probability
	 * and the others divided by 1 - probability.  Elements [i, 2 j] and
	 * [i, 2 j + 1] go by the lower and the upper half of
	 * random_bits(key[i], site, j): a gradient takes the same call as its
	 * output.
	 */
	void (*dropout)(Device *device, Tensor out, Tensor x, float beta,
	                double probability, const uint64_t *key, uint64_t site);

	/* stat[T, 2] receives mean (0 for RMS) and 1/sqrt(...) of each row */
	void (*norm)(Device *device, NormKind kind, float eps, Tensor out, Tensor x,
	             Tensor weight, const Tensor *bias, Tensor stat);
	/* dx = beta * dx + ...; dweight, dbias are added to, NULL: not wanted */
	void (*norm_grad)(Device *device, NormKind kind, Tensor dx, float beta,
	                  const Tensor *dweight, const Tensor *dbias, Tensor dout,
	                  Tensor x, Tensor weight, Tensor stat);

	/*
	 * Rotates the first `rotary` elements of each head of x[T, heads * D] in
	 * halves (element i with i + rotary/2) by the angles of its position.
	 * table[position, rotary]: rotary/2 cosines, then as many sines.
	 * inverse: by the negative angle (the gradient).
	 */
	void (*rotate)(Device *device, Tensor x, int heads, int rotary,
	               Tensor table, const int32_t *position, bool inverse);

	/* out[T, H*D]; lse[T, H] is each row's log-sum-exp of scaled scores.
	 * Never holds a T x T matrix. */
	void (*attention)(Device *device, const AttentionShape *shape, Tensor out,
	                  Tensor q, Tensor k, Tensor v, Tensor lse);
	void (*attention_grad)(Device *device, const AttentionShape *shape,
	                       Tensor dq, Tensor dk, Tensor dv, Tensor dout,
	                       Tensor out, Tensor q, Tensor k, Tensor v,
	                       Tensor lse);
	/* One new token each: row i of q[m, H*D] against cache rows
	 * [first[i], first[i] + length[i]), of a window the last of them. */
	void (*attention_cached)(Device *device, const AttentionShape *shape,
	                         Tensor out, Tensor q, Tensor k_cache,
	                         Tensor v_cache, const int32_t *first,
	                         const int32_t *length);

	/* out = act(gate) * up, or act(gate) where up is NULL.  kept[2]: gate and
	 * up as write_fixed left them, which are read in their place; NULL: they
	 * are not, nor where keeps_fixed is false. */
	void (*activation)(Device *device, Activation kind, Tensor out, Tensor gate,
	                   const Tensor *up, const Fixed *kept);
	/* dgate and dup from dout; dgate may be dout */
	void (*activation_grad)(Device *device, Activation kind, Tensor dgate,
	                        const Tensor *dup, Tensor dout, Tensor gate,
	                        const Tensor *up, const Fixed *kept);

	/* logp[i] = logits[i][target[i]] - lse[i], lse in fp32 from a sum in
	 * double; the first `vocabulary` columns count. */
	void (*logprob)(Device *device, Tensor logp, Tensor lse, Tensor logits,
	                const int32_t *target);
	/* logits[i][j] becomes coefficient[i] * ((j == target[i]) - softmax_j) */
	void (*logprob_grad)(Device *device, Tensor logits, Tensor lse,
	                     const int32_t *target, Tensor coefficient);

	/* *sum (device) += the sum of squares of x[1, n], in double */
	void (*add_squares)(Device *device, double *sum, Tensor x);
	/* p, m, v, g of one parameter, all [1, n] fp32; as torch.optim.AdamW */
	void (*adamw)(Device *device, const AdamW *settings, Tensor parameter,
	              Tensor gradient, Tensor m, Tensor v);
	/* The same where m (dynamic8_signed) and v (dynamic8_square) are kept as
	 * bytes: the step is that of the levels before it, and what comes out of
	 * it is coded anew.  The same bits on every device, but for numbers below
	 * 1e-38. */
	void (*adamw_coded)(Device *device, const AdamW *settings, Tensor parameter,
	                    Tensor gradient, Coded m, Coded v);
};

/* The rows x cols tensor at data, packed, fp32. */
static inline Tensor
tensor_at(float *data, int64_t rows, int64_t cols)
{
	return (Tensor){data, DTYPE_F32, rows, cols, cols};
}

/* Columns [first, first + cols) of an fp32 tensor. */
static inline Tensor
tensor_columns(Tensor x, int64_t first, int64_t cols)
{
	return (Tensor){(float *) x.data + first, x.dtype, x.rows, cols, x.stride};
}

/* Rows [first, first + rows) of an fp32 tensor. */
static inline Tensor
tensor_rows(Tensor x, int64_t first, int64_t rows)
{
	return (Tensor){(float *) x.data + first * x.stride, x.dtype, rows, x.cols,
	                x.stride};
}

/* The CPU; threads 0 means as many as the process may use. */
extern bool cpu_device_open(int threads, Device **device, Failure *failure);

/* The instruction set in use: "avx512_bf16", "avx2", ...; static storage. */
extern const char *cpu_isa(void);
