/*
 * matmul.h
 *		The ways that matmul.c chooses from to multiply matrices.
 */
#pragma once

#include "device/cpu/cpu.h"

/* True for so few rows that reading the weights once is best. */
extern bool cpu_are_few(const Device *device, Tensor out);

/* out = x @ W^T + beta out, for few rows, by numbers as they are. */
extern void cpu_multiply_few(Device *device, Tensor out, Tensor x,
                             const Matrix *w, float beta);

/*
 * The same for weights that are packed as small whole numbers with a scale for
 * each block, which stay exact, any number of rows (matmul_codes.h).  Bytes
 * and packing are those of cpu_packed_bytes() and cpu_pack() for such weights.
 */
extern bool cpu_takes_codes(const Matrix *w);
extern size_t cpu_codes_bytes(const Matrix *w);
extern void cpu_pack_codes(void *target, const Matrix *w);
extern void cpu_multiply_codes(Device *device, Tensor out, Tensor x,
                               const Matrix *w, float beta);

/*
 * Products of numbers rounded to 16 bits, for more rows: out = x @ W^T + beta
 * out, or for the gradient of inputs x @ W + beta out, by the weights that are
 * packed for it where there are any.
 */
extern void cpu_multiply_bf16(Device *device, Tensor out, Tensor x,
                              const Matrix *w, bool is_for_input_grad,
                              float beta);
/* target += rows^T @ cols */
extern void cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows,
                                   Tensor cols);
