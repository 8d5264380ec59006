/*
 * shim.h
 *		What tests ask the GPU in software, where a real one runs the kernels:
 *		it tells neither its calls nor which of its memory is ours.
 */
#pragma once

#include <stddef.h>

#define SHIM_IS_A_GPU

static inline void
shim_reset(void)
{
}

static inline size_t
shim_memory_in_use(void)
{
	return 0;
}

static inline const char *
shim_fault_text(void)
{
	return NULL;
}
