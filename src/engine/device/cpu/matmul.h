/*
 * matmul.h
 *		The ways that matmul.c chooses from to multiply matrices.
 */
#pragma once

#include "device/cpu/cpu.h"

/* True for so few rows that reading the weights once is best. */
extern bool cpu_are_few(const Device *device, Tensor out);

/* out = x @ W^T + beta out, for few rows: their numbers as
 * they are, or rounded to bf16. */
extern void cpu_multiply_few(Device *device, Tensor out, Tensor x,
                             const Matrix *w, float beta);

/*
 * Products of numbers rounded to bf16, for more rows.
 *
 * out = x @ S + beta out if the sum runs along the rows of S (sums_rows),
 * x @ S^T + beta out if it runs along its columns; S as stored, and packed for
 * that sum or NULL.
 */
extern void cpu_multiply_bf16(Device *device, Tensor out, Tensor x,
                              const Tensor *stored, bool sums_rows,
                              const void *packed, float beta);
/* target += rows^T @ cols */
extern void cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows,
                                   Tensor cols);
