/*
 * stored.h
 *		Random numbers, plain and as files store them.
 */
#pragma once

#include "near.h"
#include "on_cpu.h"

#include "base/random.h"

static inline float *
random_numbers(Arena *arena, int count, uint64_t seed)
{
	float *data = arena_alloc(arena, sizeof(float) * (size_t) count);

	for (int i = 0; i < count; i++)
		data[i] = (float) random_normal(seed, 0, (uint64_t) i);
	return data;
}

/* rows x cols numbers of the dtype; cols is a multiple of its block. */
static inline Tensor
random_stored(Arena *arena, DType dtype, int rows, int cols)
{
	int count = rows * cols;
	size_t bytes = dtype_bytes(dtype, count);
	size_t block = dtype_bytes(dtype, dtype_block(dtype));
	uint8_t *data = arena_alloc(arena, bytes);

	if (dtype_block(dtype) == 1)
		dtype_from_f32(data, random_numbers(arena, count, 1), dtype,
		               (size_t) count);
	else
		for (size_t i = 0; i < bytes; i++)
		{
			size_t at = i % block;

			data[i] = (uint8_t) random_bits(1, 2, i);
			/* Halves of about 2^-8 at either end: numbers of about 1. */
			if (at == 1 || at == 3 || at == block - 1)
				data[i] = (uint8_t) ((data[i] & 0x83) | 0x1c);
		}
	return (Tensor){data, dtype, rows, cols, cols};
}
