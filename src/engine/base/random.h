/*
 * random.h
 *		Random numbers by address: the number at (seed, stream, counter) is
 *		always the same, so nothing has to be saved to go on after a crash.
 */
#pragma once

#include <stdint.h>

/* 64 uniform bits. */
extern uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t counter);

/* Uniform in [0, 1), 53 bits. */
extern double random_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

/* Normal, mean 0 and variance 1 (Box and Muller). */
extern double random_normal(uint64_t seed, uint64_t stream, uint64_t counter);
