/*
 * random.h
 *		Random numbers by address: the number at (seed, stream, counter) is
 *		always the same, so nothing has to be saved to go on after a crash.
 */
#pragma once

#include "base/kernel.h"

#include <stdint.h>

/* 64 uniform bits. */
extern uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t counter);

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
HOST_DEVICE static inline uint64_t
random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* The same in two parts, for loops over counters:
 * random_bits(s, t, i) = random_at(random_origin(s, t), i). */
HOST_DEVICE static inline uint64_t
random_origin(uint64_t seed, uint64_t stream)
{
	uint64_t z = random_mix(seed + 0x9e3779b97f4a7c15u);

	return random_mix(z ^ (stream * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du));
}

HOST_DEVICE static inline uint64_t
random_at(uint64_t origin, uint64_t counter)
{
	return random_mix(origin + counter * 0x9e3779b97f4a7c15u);
}

/* Uniform in [0, 1), 53 bits. */
extern double random_uniform(uint64_t seed, uint64_t stream, uint64_t counter);

/* Normal, mean 0 and variance 1 (Box and Muller). */
extern double random_normal(uint64_t seed, uint64_t stream, uint64_t counter);
