/*
 * random.c
 *		Random numbers by address.
 */
#include "base/random.h"

#include <math.h>

uint64_t
random_bits(uint64_t seed, uint64_t stream, uint64_t counter)
{
	return random_at(random_origin(seed, stream), counter);
}

double
random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
	return (double) (random_bits(seed, stream, counter) >> 11) * 0x1p-53;
}

double
random_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
	double radius = 1.0 - random_uniform(seed, stream, 2 * counter);
	double angle = random_uniform(seed, stream, 2 * counter + 1);

	return sqrt(-2.0 * log(radius)) * cos(6.283185307179586 * angle);
}
