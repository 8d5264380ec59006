/*
 * matmul.h
 *		The ways that matmul.c chooses from to multiply matrices.
 */
#pragma once

#include "device/cpu/cpu.h"

/* Up to this many rows are multiplied by reading the weights once. */
#define CPU_FEW_ROWS 4

/* out = x @ W^T + beta out, for up to CPU_FEW_ROWS rows; fp32 products. */
extern void cpu_multiply_few(Device *device, Tensor out, Tensor x,
                             const Matrix *w, float beta);

/*
 * Products of numbers rounded to bf16, for any number of rows.
 *
 * out = x @ S + beta out if the sum runs along the rows of S (sums_rows),
 * x @ S^T + beta out if it runs along its columns; S as stored.
 */
extern void cpu_multiply_bf16(Device *device, Tensor out, Tensor x,
                              const Tensor *stored, bool sums_rows, float beta);
/* target += rows^T @ cols */
extern void cpu_multiply_bf16_grad(Device *device, Tensor target, Tensor rows,
                                   Tensor cols);
