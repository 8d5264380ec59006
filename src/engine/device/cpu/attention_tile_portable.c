/*
 * attention_tile_portable.c
 *		The products inside attention, for any machine.
 */
#include <string.h>

/* What the compiler has instructions for almost everywhere. */
typedef float Vector __attribute__((vector_size(16)));

#define LANES 4
#define ROWS 4
#define VECTORS 2

#define vector_all(x) ((Vector){x, x, x, x})
#define vector_fma(a, b, c) ((a) * (b) + (c))

static inline Vector
vector_load(const float *at)
{
	Vector x;

	memcpy(&x, at, sizeof(x));
	return x;
}

static inline void
vector_store(float *at, Vector x)
{
	memcpy(at, &x, sizeof(x));
}

#include "device/cpu/attention_tile_loops.h"

const AttentionTiles attention_tiles_portable = {ROWS, multiply, NULL};
