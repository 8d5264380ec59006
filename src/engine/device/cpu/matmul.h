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
