/*
 * held.c
 *		Rows that several products read, packed by the first of them.
 */
#include "device/cpu/held.h"

#include <stdlib.h>

struct CpuHeld
{
	_Alignas(64) Tensor of;
	const PairKernels *kernels; /* that packed them; NULL: they are not yet */
	uint32_t *pairs;
	size_t size; /* of pairs */
};

CpuHeld *
cpu_held_open(int threads)
{
	size_t bytes = (size_t) threads * sizeof(CpuHeld);
	CpuHeld *held = aligned_alloc(64, bytes);

	for (int i = 0; held != NULL && i < threads; i++)
		held[i] = (CpuHeld){.pairs = NULL};
	return held;
}

void
cpu_held_close(CpuHeld *held, int threads)
{
	for (int i = 0; i < threads; i++)
		free(held[i].pairs);
	free(held);
}

void
cpu_hold(Device *device, Tensor x)
{
	CpuHeld *held = &((CpuDevice *) device)->held[cpu_thread()];

	/* Threads that share a product divide each in its own way. */
	if (cpu_threads(device) > 1)
		x.data = NULL;
	held->of = x;
	held->kernels = NULL;
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

	if (x->data == NULL || !is_same(x, &held->of) ||
	    (held->kernels != NULL && held->kernels != kernels))
		return NULL;
	*is_packed = held->kernels != NULL;
	if (!*is_packed && held->size < pairs)
	{
		free(held->pairs);
		held->pairs =
			aligned_alloc(64, (pairs * sizeof(uint32_t) + 63) / 64 * 64);
		held->size = held->pairs == NULL ? 0 : pairs;
	}
	if (held->pairs != NULL)
		held->kernels = kernels;
	return held->pairs;
}
