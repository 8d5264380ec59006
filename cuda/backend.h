/*
 * backend.h
 *		The CUDA backend's own declarations: one function an operation.
 *
 * Contracts stand at the members of struct Device (device.h).  Each operation
 * puts its kernels on the device's one stream.  No sum is made by adding to
 * memory from several threads: every one has a fixed order, so that the same
 * call on the same GPU gives the same bits.
 */
#pragma once

/* Before those of C, which include them where templates may not stand. */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

extern "C"
{
#include "device/module.h"
}

#include <cublas_v2.h>
#include <cuda_runtime.h>

/* Bytes of one scratch, at most: what is larger is done in pieces. */
#ifndef CUDA_SCRATCH_MOST
#define CUDA_SCRATCH_MOST ((size_t) 64 << 20)
#endif

/* Inputs of products that are kept in bf16: of a map's backward pass two, and
 * two more of what is about to be multiplied. */
#define ROUNDED_COUNT 4

/* Numbers of CudaDevice's turns. */
#define CUDA_TURNS (64 << 10)

/* What cuda_scratch() keeps apart. */
typedef enum CudaScratch
{
	SCRATCH_ROUNDED,                                 /* the first of them */
	SCRATCH_PANEL = SCRATCH_ROUNDED + ROUNDED_COUNT, /* rows of weights */
	SCRATCH_SUMS,                                    /* parts of sums */
	SCRATCH_COUNT
} CudaScratch;

/* Whose copy such a scratch has. */
typedef struct Rounded
{
	Tensor of; /* data is NULL: nothing's */
	uint64_t used;
} Rounded;

typedef struct CudaDevice
{
	Device device; /* first: the operation table */
	char name[32];
	char description[192];
	Failure failure; /* the first, until sync reports it */
	bool has_failed;
	int index;
	int processors;      /* multiprocessors */
	bool reads_pageable; /* the host's memory by itself, and when it likes */
	cudaStream_t stream;
	cublasHandle_t cublas;
	void *cublas_memory;
	struct CudaBlock *blocks; /* of reserved memory */
	void *scratch[SCRATCH_COUNT];
	size_t scratch_bytes[SCRATCH_COUNT];
	Rounded rounded[ROUNDED_COUNT];
	uint64_t rounded_clock;
	float *nf4_tables;    /* device: 16 codes, 256 levels (base/quant.h) */
	float *moment_levels; /* device: 256 of moments, 256 of their squares
	                       * (base/dynamic8.h) */
	int *turns;           /* device: CUDA_TURNS zeros, by which blocks that
	                       * work together know the last one (it leaves zeros) */
} CudaDevice;

static inline CudaDevice *
cuda_of(Device *device)
{
	return (CudaDevice *) device;
}

/* Keeps the first failure for sync: what, and where it is not NULL why. */
extern void cuda_fail(Device *device, FailureCode code, const char *what,
                      const char *why);

/* False, with a failure kept, if a call of the runtime failed. */
extern bool cuda_check(Device *device, cudaError_t error, const char *what);

/* At least so many bytes, until the next call for the same purpose, or NULL
 * (failure kept). */
extern void *cuda_scratch(Device *device, CudaScratch purpose, size_t bytes);

/* ------------------------------------------------------------ rounded.cu */

/* What an operation writes: every one says so before it asks for its kernels,
 * as copies of what was there are no longer true. */
extern void cuda_wrote(Device *device, const Tensor &x);
extern void cuda_wrote_bytes(Device *device, const void *memory, size_t bytes);
extern void cuda_forget_rounded(Device *device);

/* --------------------------------------------------------- collective.cu */

extern bool cuda_make_id(uint8_t id[COLLECTIVE_ID_SIZE], Failure *failure);
extern bool cuda_join(Device *device, const uint8_t id[COLLECTIVE_ID_SIZE],
                      int rank, int ranks, Collective **collective,
                      Failure *failure);

/* ------------------------------------------------------------- memory.cu */

extern void *cuda_alloc(Device *device, size_t bytes);
extern void cuda_free(Device *device, void *memory);
extern void cuda_upload(Device *device, void *target, const void *source,
                        size_t bytes);
extern void cuda_download(Device *device, void *target, const void *source,
                          size_t bytes);
extern void cuda_fill_zero(Device *device, void *target, size_t bytes);
extern const void *cuda_adopt(Device *device, const void *mapped, size_t bytes);
extern void cuda_release(Device *device, const void *adopted);
extern uint64_t cuda_room(Device *device);
extern bool cuda_reserve(Device *device, uint64_t bytes, Failure *failure);
/* Gives back reserves of which nothing is used. */
extern void cuda_drop_unused(Device *device);

/* ------------------------------------------------------------ the operations */

extern size_t cuda_packed_bytes(Device *device, const Matrix *w,
                                bool is_for_input_grad);
extern void cuda_pack(Device *device, void *target, const Matrix *w,
                      bool is_for_input_grad);
extern void cuda_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
                        const Tensor *bias, float beta);
extern void cuda_matmul_input_grad(Device *device, Tensor dx, Tensor dout,
                                   const Matrix *w, float beta);
extern void cuda_matmul_weight_grad(Device *device, const Matrix *dw,
                                    const Tensor *dbias, Tensor dout, Tensor x);
extern void cuda_gather_rows(Device *device, Tensor out, Tensor table,
                             const int32_t *index, float beta);
extern void cuda_scatter_rows(Device *device, Tensor target, Tensor source,
                              const int32_t *index);
extern void cuda_scatter_add_rows(Device *device, Tensor table, Tensor source,
                                  const int32_t *index);
extern void cuda_regroup_heads(Device *device, Tensor out, Tensor x, int heads,
                               int parts, bool inverse);
extern void cuda_attention(Device *device, const AttentionShape *shape,
                           Tensor out, Tensor q, Tensor k, Tensor v,
                           Tensor lse);
extern void cuda_attention_grad(Device *device, const AttentionShape *shape,
                                Tensor dq, Tensor dk, Tensor dv, Tensor dout,
                                Tensor out, Tensor q, Tensor k, Tensor v,
                                Tensor lse);
extern void cuda_attention_cached(Device *device, const AttentionShape *shape,
                                  Tensor out, Tensor q, Tensor k_cache,
                                  Tensor v_cache, const int32_t *first,
                                  const int32_t *length);
extern void cuda_add(Device *device, Tensor out, Tensor a, Tensor b);
extern void cuda_scale(Device *device, Tensor x, float factor);
extern void cuda_write_fixed(Device *device, Fixed target, Tensor x);
extern void cuda_read_fixed(Device *device, Tensor out, Fixed source);
extern void cuda_dropout(Device *device, Tensor out, Tensor x, float beta,
                         double probability, const uint64_t *key,
                         uint64_t site);
extern void cuda_norm(Device *device, NormKind kind, float eps, Tensor out,
                      Tensor x, Tensor weight, const Tensor *bias, Tensor stat);
extern void cuda_norm_grad(Device *device, NormKind kind, Tensor dx, float beta,
                           const Tensor *dweight, const Tensor *dbias,
                           Tensor dout, Tensor x, Tensor weight, Tensor stat);
extern void cuda_rotate(Device *device, Tensor x, int heads, int rotary,
                        Tensor table, const int32_t *position, bool inverse);
extern void cuda_activation(Device *device, Activation kind, Tensor out,
                            Tensor gate, const Tensor *up, const Fixed *kept);
extern void cuda_activation_grad(Device *device, Activation kind, Tensor dgate,
                                 const Tensor *dup, Tensor dout, Tensor gate,
                                 const Tensor *up, const Fixed *kept);
extern void cuda_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
                         const int32_t *target);
extern void cuda_logprob_grad(Device *device, Tensor logits, Tensor lse,
                              const int32_t *target, Tensor coefficient);
extern void cuda_add_squares(Device *device, double *sum, Tensor x);
extern void cuda_adamw(Device *device, const AdamW *settings, Tensor parameter,
                       Tensor gradient, Tensor m, Tensor v);
extern void cuda_adamw_coded(Device *device, const AdamW *settings,
                             Tensor parameter, Tensor gradient, Coded m,
                             Coded v);

static __device__ __forceinline__ float *
row_of(const Tensor &x, int64_t row)
{
	return (float *) x.data + row * x.stride;
}
