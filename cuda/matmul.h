/*
 * matmul.h
 *		What the files of matrix products share.
 */
#pragma once

#include "cuda/launch.h"
#include "cuda/stored.h"
#include "cuda/sums.h"

/* Up to this many rows are multiplied by reading the weights once. */
#define CUDA_FEW_ROWS 8

/* out[m, n] = x[m, k] @ W^T + bias[n] + beta out, W[n, k] as stored, m at most
 * CUDA_FEW_ROWS (matmul_few.cu); bias on the device, NULL: none. */
extern void cuda_multiply_few(Device *device, Tensor out, Tensor x,
                              const Tensor &w, const float *bias, float beta);

/* to = rows [first, first + rows) of what is stored, as fp32 or bf16, a stride
 * apart that rounded_stride() gives (read_rows.cu). */
extern void cuda_read_rows(Device *device, void *to, bool is_bf16,
                           const Tensor &stored, int64_t first, int64_t rows);
