/*
 * random.c
 *		Random numbers by address.
 */
#include "base/random.h"

#include <math.h>

uint64_t
random_origin(uint64_t seed, uint64_t stream)
{
	uint64_t z = random_mix(seed + 0x9e3779b97f4a7c15u);

	return random_mix(z ^ (stream * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du));
}

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
