/*
 * held.h
 *		Rows that several products read (device.h: hold), as they are packed for
 *		products of 16 bits.
 */
#pragma once

#include "device/cpu/cpu.h"
#include "device/cpu/matmul_bf16.h"

/*
 * This thread's place for so many pairs of the rows of x, as long as they are
 * held; NULL: they are not, or not for these kernels, or there is no memory.
 * With is_packed they are there, otherwise the caller packs all of them.
 */
extern uint32_t *held_rows(Device *device, const Tensor *x,
                           const PairKernels *kernels, size_t pairs,
                           bool *is_packed);
