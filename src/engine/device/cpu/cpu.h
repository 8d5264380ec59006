/*
 * cpu.h
 *		The CPU backend's own declarations: one function an operation.
 *
 * Contracts stand at the members of struct Device (device.h).  Work below
 * CPU_PARALLEL_MIN element operations stays on one thread: waking a second
 * costs more.  Loops are divided statically and sums have a fixed order, so
 * results depend on the shapes and the number of threads alone.
 */
#pragma once

#include "base/kernel.h"
#include "device/device.h"

#include <stddef.h>

#define CPU_PARALLEL_MIN 32768

/* Asks for numbers that are read soon, and that nobody else sees coming.
 * (always_inline: else compilers take the call for one without effects.) */
INLINE void
cpu_fetch(const float *at, int64_t count)
{
	for (int64_t i = 0; i < count; i += 16)
		__builtin_prefetch(at + i, 0, 2);
}

/*
 * Calls work for i = 0, step, 2 step, ... below end: on all threads if that is
 * worth it.  (OpenMP's own clause for this, if, makes a team of one thread,
 * which is a quarter of what a single token of a small model costs.)
 */
#define CPU_EACH(i, end, step, is_worth, work)                                 \
	do                                                                         \
	{                                                                          \
		if (is_worth)                                                          \
		{                                                                      \
			_Pragma("omp parallel for schedule(static)")                       \
				CPU_LOOP(i, end, step, work);                                  \
		}                                                                      \
		else                                                                   \
			CPU_LOOP(i, end, step, work);                                      \
	} while (0)
#define CPU_LOOP(i, end, step, work)                                           \
	for (int64_t i = 0; i < (end); i += (step))                                \
	work

typedef struct CpuTurns CpuTurns;
typedef struct CpuHelpers CpuHelpers;
typedef struct CpuHeld CpuHeld;

typedef struct CpuDevice
{
	Device device; /* first: the operation table */
	char description[64];
	char packing[96];
	Failure failure; /* the first, until sync reports it */
	bool has_failed;
	float **scratch;      /* [threads], grown as needed */
	size_t *scratch_size; /* [threads], in floats */
	float *shared;        /* scratch of all threads, grown likewise */
	size_t shared_size;
	CpuHeld *held;       /* [threads] (held.c) */
	CpuTurns *turns;     /* of slices (slices.c) */
	CpuHelpers *helpers; /* helpers.c */
} CpuDevice;

/* The widest vectors that kernels are written for and this machine has,
 * whatever else it has beside them. */
typedef enum CpuVectors
{
	VECTORS_PORTABLE,
	VECTORS_AVX2,  /* and FMA: x86-64-v3 */
	VECTORS_AVX512 /* x86-64-v4 */
} CpuVectors;

extern CpuVectors cpu_vectors(void);

/* Keeps the first failure for sync. */
extern void cpu_fail(Device *device, FailureCode code, const char *what);

/* The number of this thread; call inside or outside of a parallel region or a
 * slice. */
extern int cpu_thread(void);

/* This thread's scratch of at least count floats, or NULL (failure kept);
 * call inside or outside of a parallel region or a slice. */
extern float *cpu_scratch(Device *device, size_t count);

/* Makes *scratch, of *size floats, hold at least count: what was in it is lost.
 * NULL: as cpu_scratch(). */
extern float *cpu_grow(Device *device, float **scratch, size_t *size,
                       size_t count);

/* The same for all threads together; call outside of parallel regions. */
extern float *cpu_shared_scratch(Device *device, size_t count);

/* NULL: no memory. */
extern CpuHeld *cpu_held_open(int threads);
extern void cpu_held_close(CpuHeld *held, int threads);

/* How many threads an operation may divide its work among: one in a slice. */
extern int cpu_threads(const Device *device);

/* Products of two numbers in a piece of shared work, at least: some
 * microseconds. */
#define CPU_PIECE_WORK 65536

/* Items [first, last) of some work that can be divided anywhere. */
typedef void (*CpuPart)(void *argument, int64_t first, int64_t last);

/*
 * Does items [0, count), count < 2^32, in pieces of about grain of them and
 * more; alone where there is but one piece, or within a slice.  For work whose
 * results do not depend on how it is divided: who does what is left to chance.
 */
extern void cpu_share(Device *device, int64_t count, int64_t grain,
                      CpuPart part, void *argument);
/* Which helper calls, from 1; 0: none of them. */
extern int cpu_helper_number(void);

/* So many threads at most, the caller's included; NULL: no memory. */
extern CpuHelpers *cpu_helpers_open(int threads);
extern void cpu_helpers_close(CpuHelpers *helpers);

/* Has this thread take numbers below 1e-38 as zero. */
extern void cpu_flush_denormals(void);

/* The turns of so many slices at most; NULL: no memory. */
extern CpuTurns *cpu_turns_open(int slices);
extern void cpu_turns_close(CpuTurns *turns);
/* Around what adds to gradients that slices share: waits for the slice before
 * to have ended its turn of the same number.  Without effect elsewhere. */
extern void cpu_turn_begin(Device *device);
extern void cpu_turn_end(Device *device);

extern void cpu_run_slices(Device *device, int count,
                           void (*work)(void *argument, int slice),
                           void *argument);

extern void cpu_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
                       const Tensor *bias, float beta);
extern void cpu_matmul_input_grad(Device *device, Tensor dx, Tensor dout,
                                  const Matrix *w, float beta);
extern void cpu_hold(Device *device, const Tensor *x, int count);
extern void cpu_matmul_weight_grad(Device *device, const Matrix *dw,
                                   const Tensor *dbias, Tensor dout, Tensor x);
extern size_t cpu_packed_bytes(Device *device, const Matrix *w,
                               bool is_for_input_grad);
extern void cpu_pack(Device *device, void *target, const Matrix *w,
                     bool is_for_input_grad);
extern void cpu_gather_rows(Device *device, Tensor out, Tensor table,
                            const int32_t *index, float beta);
extern void cpu_scatter_rows(Device *device, Tensor target, Tensor source,
                             const int32_t *index);
extern void cpu_scatter_add_rows(Device *device, Tensor table, Tensor source,
                                 const int32_t *index);
extern void cpu_regroup_heads(Device *device, Tensor out, Tensor x, int heads,
                              int parts, bool inverse);
extern void cpu_add(Device *device, Tensor out, Tensor a, Tensor b);
extern void cpu_scale(Device *device, Tensor x, float factor);
extern void cpu_write_fixed(Device *device, Fixed target, Tensor x);
/* x[cols] = one row of it. */
extern void cpu_read_fixed_row(float *x, const Fixed *source, int64_t row,
                               int64_t cols);
extern void cpu_read_fixed(Device *device, Tensor out, Fixed source);
extern void cpu_dropout(Device *device, Tensor out, Tensor x, float beta,
                        double probability, const uint64_t *key, uint64_t site);
extern void cpu_norm(Device *device, NormKind kind, float eps, Tensor out,
                     Tensor x, Tensor weight, const Tensor *bias, Tensor stat);
extern void cpu_norm_grad(Device *device, NormKind kind, Tensor dx, float beta,
                          const Tensor *dweight, const Tensor *dbias,
                          Tensor dout, Tensor x, Tensor weight, Tensor stat);
extern void cpu_rotate(Device *device, Tensor x, int heads, int rotary,
                       Tensor table, const int32_t *position, bool inverse);
extern void cpu_attention(Device *device, const AttentionShape *shape,
                          Tensor out, Tensor q, Tensor k, Tensor v, Tensor lse);
extern void cpu_attention_grad(Device *device, const AttentionShape *shape,
                               Tensor dq, Tensor dk, Tensor dv, Tensor dout,
                               Tensor out, Tensor q, Tensor k, Tensor v,
                               Tensor lse);
extern void cpu_attention_cached(Device *device, const AttentionShape *shape,
                                 Tensor out, Tensor q, Tensor k_cache,
                                 Tensor v_cache, const int32_t *first,
                                 const int32_t *length);
extern void cpu_activation(Device *device, Activation kind, Tensor out,
                           Tensor gate, const Tensor *up, const Fixed *kept);
extern void cpu_activation_grad(Device *device, Activation kind, Tensor dgate,
                                const Tensor *dup, Tensor dout, Tensor gate,
                                const Tensor *up, const Fixed *kept);
extern void cpu_logprob(Device *device, Tensor logp, Tensor lse, Tensor logits,
                        const int32_t *target);
extern void cpu_logprob_grad(Device *device, Tensor logits, Tensor lse,
                             const int32_t *target, Tensor coefficient);
extern void cpu_add_squares(Device *device, double *sum, Tensor x);
extern void cpu_adamw(Device *device, const AdamW *settings, Tensor parameter,
                      Tensor gradient, Tensor m, Tensor v);
extern void cpu_adamw_coded(Device *device, const AdamW *settings,
                            Tensor parameter, Tensor gradient, Coded m,
                            Coded v);

static inline float *
cpu_row(Tensor x, int64_t row)
{
	return (float *) x.data + row * x.stride;
}
