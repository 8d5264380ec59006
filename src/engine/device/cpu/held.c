/*
 * held.c
 *		Rows that several products read, packed by the first of them.
 */
#include "device/cpu/held.h"

#include <stdlib.h>

/* Tensors that a thread holds at most: as many maps read one input. */
#define HELD_MAX 3

typedef struct Rows
{
	Tensor of;
	const PairKernels *kernels; /* that packed them; NULL: they are not yet */
	float *pairs;
	size_t size; /* of pairs, in floats */
} Rows;

struct CpuHeld
{
	_Alignas(64) Rows rows[HELD_MAX];
	int count;
};

CpuHeld *
cpu_held_open(int threads)
{
	CpuHeld *held = aligned_alloc(64, (size_t) threads * sizeof(CpuHeld));

	for (int i = 0; held != NULL && i < threads; i++)
		held[i] = (CpuHeld){.count = 0};
	return held;
}

void
cpu_held_close(CpuHeld *held, int threads)
{
	for (int i = 0; i < threads; i++)
		for (int j = 0; j < HELD_MAX; j++)
			free(held[i].rows[j].pairs);
	free(held);
}

void
cpu_hold(Device *device, const Tensor *x, int count)
{
	CpuHeld *held = &((CpuDevice *) device)->held[cpu_thread()];

	/* Threads that share a product divide each in its own way. */
	held->count = cpu_threads(device) > 1 ? 0
	              : count > HELD_MAX      ? HELD_MAX
	                                      : count;
	for (int i = 0; i < held->count; i++)
	{
		held->rows[i].of = x[i];
		held->rows[i].kernels = NULL;
	}
}

static bool
is_same(const Tensor *a, const Tensor *b)
{
	return a->data == b->data && a->rows == b->rows && a->cols == b->cols &&
	       a->stride == b->stride;
}

uint32_t *
held_rows(Device *device, const Tensor *x, const PairKernels *kernels,
          size_t pairs, bool *is_packed)
{
	CpuHeld *held = &((CpuDevice *) device)->held[cpu_thread()];

	for (int i = 0; i < held->count; i++)
	{
		Rows *rows = &held->rows[i];

		if (!is_same(x, &rows->of))
			continue;
		*is_packed = rows->kernels == kernels;
		if (!*is_packed &&
		    (rows->kernels != NULL ||
		     cpu_grow(device, &rows->pairs, &rows->size, pairs) == NULL))
			return NULL;
		rows->kernels = kernels;
		return (uint32_t *) rows->pairs;
	}
	return NULL;
}
