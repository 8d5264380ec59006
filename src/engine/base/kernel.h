/*
 * kernel.h
 *		Loops compiled for several instruction sets, and for GPUs.
 */
#pragma once

/*
 * Marks a loop that is compiled for several instruction sets, the best of
 * which is picked when the program starts.  (Not under sanitizers, whose
 * start-up comes after the picking; nor by clang, which the fuzzers are built
 * with.)
 */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#define CPU_KERNEL                                                             \
	__attribute__((                                                            \
		target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CPU_KERNEL
#endif

/* Marks a part of a loop: inlined, or constant arguments make no constants. */
#define INLINE __attribute__((always_inline)) static inline

/* Marks a function of a header that kernels of a GPU call too. */
#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif
